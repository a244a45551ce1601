"""The order of service: real time, real processes, one slot."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import openai
import pytest

from tests.support.dialects import CHAT
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.shared_servers import SharedServers
from tests.support.traffic import Hanging, Queued, jobs_waiting, occupied

RATE = 0.5
LEAD_S = 1 / RATE
"""Time after a normal job in which an urgent one may arrive and still overtake it."""
KEEPALIVE_S = 0.2


@pytest.fixture(scope="module")
def single(shared_servers: SharedServers) -> ForgeServer:
    """One worker with one slot."""
    options = ("--aging-rate", str(RATE), "--keepalive", str(KEEPALIVE_S))
    return shared_servers("--workers", "1", "--slots", "1", *options)


def test_a_normal_job_ages_past_later_urgent_ones(single: ForgeServer) -> None:
    with occupied(single) as release:
        normal = Queued(single, priority=1)
        soon = Queued(single, priority=2)
        # The test sleeps for the age itself; what counts is the age that the server shows.
        while normal.place(single.waiting())["waited_s"] < LEAD_S + 0.1:
            time.sleep(0.05)
        late = Queued(single, priority=2)
        places = single.waiting()
        # The arrivals really are on either side of the bound.
        age = normal.place(places)["waited_s"]
        assert age - soon.place(places)["waited_s"] < LEAD_S < age - late.place(places)["waited_s"]
        release()
        jobs = [soon, normal, late]
        served = [job.served(places) for job in jobs]
    assert [place["id"] for place in places if place["priority"] < 1000] == [j.id for j in jobs]
    for earlier, later in pairwise(served):
        assert earlier.ended <= later.started + 0.005  # /queue rounds to milliseconds


def test_the_queue_shows_effective_priorities(single: ForgeServer) -> None:
    with occupied(single):
        jobs = [Queued(single, priority=priority) for priority in (0, 2, 1, 1.5)]
        queue = single.get("/queue")
        places = queue["waiting"]
        assert {job.id for job in jobs} <= {place["id"] for place in places}
        for place in places:
            expected = place["priority"] + RATE * place["waited_s"]
            assert place["effective_priority"] == pytest.approx(expected, abs=0.01)
        effective = [place["effective_priority"] for place in places]
        assert effective == sorted(effective, reverse=True)
        assert queue["depth"] == len(places)
        assert queue["oldest_wait_s"] == max(place["waited_s"] for place in places)
        counts = queue["by_priority"]
        assert list(counts) == ["1000", "2", "1.5", "1", "0"]
        assert sum(counts.values()) == queue["depth"]


def test_urgent_overtakes_until_the_last_moment(single: ForgeServer) -> None:
    """Late binding: nobody is committed to a worker while its slot is taken."""
    with occupied(single) as release:
        batch = Queued(single, priority=0)
        normal = Queued(single, priority=1)
        urgent = Queued(single, priority=2)
        places = single.waiting()
        # None of the three is older than another by more than the bound.
        assert batch.place(places)["waited_s"] - urgent.place(places)["waited_s"] < LEAD_S
        release()
        jobs = [urgent, normal, batch]
        served = [job.served(places) for job in jobs]
    assert [s.started for s in served] == sorted(s.started for s in served)


def test_equals_are_served_in_order(single: ForgeServer) -> None:
    with occupied(single) as release:
        jobs = [Queued(single, priority=1) for _ in range(4)]
        places = single.waiting()
        release()
        starts = [job.served(places).started for job in jobs]
    assert starts == sorted(starts)


def test_a_waiting_stream_is_kept_alive(single: ForgeServer) -> None:
    body = CHAT.body(stream=True, temperature=0, ignore_eos=True, max_tokens=5)
    with occupied(single) as release:
        stream = Hanging(single, CHAT.path, body)
        early = stream.read_until(b": waiting\n")
        assert early.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"data:" not in early
        assert stream.read_until(b": waiting\n")  # and another
        assert len(jobs_waiting(single)) == 1
        release()
        rest = stream.read_until(b"data: [DONE]\n\n")
        stream.hang_up()
    assert b'"finish_reason":"length"' in rest
    told = re.search(rb": queue-wait ([0-9.]+)\n", rest)
    assert told is not None
    assert float(told[1]) >= 2 * KEEPALIVE_S
    assert rest.index(b": queue-wait") < rest.index(b"data:")
    assert b"\n\n:" not in early + rest, "after an event"
    assert re.search(rb"\n: waiting\n[0-9a-f\r\n]+: queue-wait [0-9.]+\ndata: ", early + rest)


def test_clients_read_a_stream_that_waited(single: ForgeServer) -> None:
    """One that takes each blank line for the end of an event with data, and the official one."""
    params: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 5}
    with occupied(single) as release, ThreadPoolExecutor() as threads:
        plain = threads.submit(events_at_blank_lines, single, CHAT.body(stream=True, **params))
        official = threads.submit(official_events, single, params)
        eventually(lambda: len(jobs_waiting(single)) == 2, "both wait")
        time.sleep(3 * KEEPALIVE_S)
        release()
        for found in (plain.result(DEADLINE_S), official.result(DEADLINE_S)):
            assert len(found) > 3
            assert found[-1]["choices"][0]["finish_reason"] == "length"


def events_at_blank_lines(server: ForgeServer, body: dict[str, Any]) -> list[Any]:
    found, data = [], ""
    with server.client() as client, client.stream("POST", CHAT.path, json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                data = line.removeprefix("data:").strip()
            elif line == "":
                if data != "[DONE]":
                    found.append(json.loads(data))  # of an event without data: an error
                data = ""
    return found


def official_events(server: ForgeServer, params: dict[str, Any]) -> list[Any]:
    extra = {"ignore_eos": params["ignore_eos"]}
    given = {key: value for key, value in params.items() if key not in extra}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        stream = client.chat.completions.create(
            model=server.get("/v1/models")["data"][0]["id"],
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_body=extra,
            **given,
        )
        return [chunk.model_dump() for chunk in stream]


def test_an_error_after_the_headers(single: ForgeServer) -> None:
    """Too late for a status: the stream ends with an error event instead."""
    with occupied(single) as release:
        stream = Hanging(single, CHAT.path, CHAT.body("7 + 7. " * 1000, stream=True))
        stream.read_until(b": waiting\n")
        release()
        rest = stream.read_until(b"}}\n\n")
        stream.hang_up()
    event, _, data = rest[rest.index(b"event:") :].partition(b"\ndata: ")
    assert event == b"event: error"
    error = json.loads(data.split(b"\n\n")[0])["error"]
    assert error["code"] == "context_length_exceeded"
    assert b"[DONE]" not in rest


def test_an_error_before_the_headers(single: ForgeServer) -> None:
    body = CHAT.body("7 + 7. " * 1000, stream=True)
    eventually(lambda: single.busy() == 0)
    response = httpx.post(single.url + CHAT.path, json=body, timeout=DEADLINE_S)
    assert response.status_code == 400


def test_bad_requests_do_not_queue(single: ForgeServer) -> None:
    """A fault that the gateway can see is answered at once, however long the queue is."""
    with occupied(single):
        bad = CHAT.body(temperature=-1)
        assert httpx.post(single.url + CHAT.path, json=bad, timeout=5).status_code == 400
        assert single.get("/health") == {"status": "ok"}
        assert jobs_waiting(single) == []
