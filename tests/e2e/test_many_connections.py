"""Hundreds of connections at once: idle ones stay, waiting streams are all served."""

import json
from contextlib import ExitStack

from tests.conftest import Start
from tests.support.dialects import CHAT
from tests.support.server import eventually
from tests.support.traffic import jobs_waiting, occupied
from tests.support.wire import wire

IDLE, STREAMS = 500, 200
GET = b"GET /health HTTP/1.1\r\nHost: forge\r\n\r\n"


def test_nobody_is_forgotten(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "2", "--keepalive", "0.3")
    body = json.dumps(CHAT.body("hello", stream=True, max_tokens=2, ignore_eos=True)).encode()
    post = (
        b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (CHAT.path.encode(), len(body)) + body
    )
    with ExitStack() as stack:
        idle = [stack.enter_context(wire(server)) for _ in range(IDLE)]
        for client in idle:
            assert client.send(GET).answer().status == 200
        with occupied(server, slots=2):
            streams = [stack.enter_context(wire(server)).send(post) for _ in range(STREAMS)]
            eventually(lambda: server.get("/queue")["depth"] >= STREAMS, "all of them wait")
            assert jobs_waiting(server)
            for stream in streams:
                stream.read_until(rb": waiting\n")
            for client in idle[::10]:
                assert client.send(GET).answer().status == 200
        for stream in streams:
            answer = stream.answer()
            assert answer.status == 200
            assert b'"finish_reason":"length"' in answer.body
            assert b"data: [DONE]" in answer.body
        for client in idle:
            assert client.send(GET).answer().status == 200
    server.stop()
