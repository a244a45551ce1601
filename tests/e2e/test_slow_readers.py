"""Clients that ask for a stream and do not read it."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_same_text import alone
from tests.support.dialects import CHAT, DONE, data_of
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.shared_servers import SharedServers
from tests.support.traffic import ENDLESS

CHOICES = 4
TOKENS = 200
ALIAS = "forge-tiny" * 200
"""In every event of a stream: a few hundred of them fill all buffers on the way."""
PROMPT = "tell me a story about a fox"


@pytest.fixture(scope="module")
def patient(exact: tuple[Path, tuple[str, ...]], shared_servers: SharedServers) -> ForgeServer:
    """One worker; all its slots would be taken by one request of many choices."""
    model, options = exact
    shape = ("--workers", "1", "--slots", str(CHOICES), "--ctx", "16384")
    return shared_servers(*shape, *options, "--alias", ALIAS, model=model)


class Unread:
    """A chat stream of many choices on a socket with a small buffer, which nobody reads."""

    def __init__(self, server: ForgeServer, **params: Any) -> None:
        url = httpx.URL(server.url)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect((url.host, url.port))
        # With logprobs each token has a chunk of its own, however fast they come.
        body = CHAT.body(PROMPT, stream=True, n=CHOICES, logprobs=True, **params)
        content = json.dumps(body).encode()
        head = f"POST {CHAT.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def read(self) -> list[str]:
        """Read it all; the text of each choice."""
        raw = b""
        while data := self.socket.recv(1 << 16):
            raw += data
        self.socket.close()
        lines = raw.partition(b"\r\n\r\n")[2].decode().splitlines()  # chunk sizes lie between
        events = list(data_of(iter(lines)))
        assert events.pop() == DONE
        texts = [""] * CHOICES
        for event in events:
            for choice in json.loads(event)["choices"]:
                texts[choice["index"]] += choice["delta"].get("content", "")
        return texts


def paused(server: ForgeServer) -> int:
    """Sequences that wait for their readers."""
    headers = {"Accept": "text/plain"}
    text = httpx.get(server.url + "/metrics", headers=headers, timeout=DEADLINE_S).text
    (line,) = (line for line in text.splitlines() if line.startswith("forge_requests_paused "))
    return int(float(line.split()[1]))


def test_its_generations_pause_and_go_on(patient: ForgeServer) -> None:
    """Slots are free for others meanwhile; read at last, the texts are as they would have been."""
    params = {"temperature": 1, "seed": 5, "max_tokens": TOKENS, "ignore_eos": True}
    body = CHAT.body(PROMPT, n=CHOICES, **params)
    whole = httpx.post(patient.url + CHAT.path, json=body, timeout=DEADLINE_S).json()
    before = patient.decoded()
    stream = Unread(patient, **params)
    eventually(lambda: paused(patient) == CHOICES and patient.busy() == 0, "all of it pauses")
    made = patient.decoded() - before
    assert 0 < made < CHOICES * TOKENS
    # Others have all the slots, and what they take does not change the rest of the story.
    assert alone(patient, "what is 2+2?", temperature=0)
    texts = stream.read()
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert paused(patient) == 0


def test_it_hangs_up(patient: ForgeServer) -> None:
    stream = Unread(patient, **ENDLESS, max_tokens=TOKENS)
    eventually(lambda: paused(patient) == CHOICES, "it pauses")
    stream.socket.close()
    eventually(lambda: paused(patient) == 0 and patient.workers()[0]["parked"] == 0, "forgotten")
    assert patient.get("/metrics")["running"] == 0


def test_its_worker_dies(patient: ForgeServer) -> None:
    """A paused generation has no worker; it goes on anywhere, from the tokens it had."""
    params = {"temperature": 1, "seed": 6, "max_tokens": TOKENS, "ignore_eos": True}
    body = CHAT.body(PROMPT, n=CHOICES, **params)
    whole = httpx.post(patient.url + CHAT.path, json=body, timeout=DEADLINE_S).json()
    stream = Unread(patient, **params)
    eventually(lambda: paused(patient) == CHOICES, "it pauses")
    (pid,) = patient.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: patient.pids() not in ([], [pid]), "another worker starts")
    assert stream.read() == [choice["message"]["content"] for choice in whole["choices"]]
