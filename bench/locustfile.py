"""Users for locust: `locust -f bench/locustfile.py --host http://127.0.0.1:8080 [USER ...]`.

Without names all kinds of users come. Statistics have a line for each kind, with its priority, and
for streams a line TTFT (from the request to the first text) and one ITL (between two pieces of
text). FORGE_API_KEY is sent as the key, if it is set.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import orjson
from locust import FastHttpUser, between, task

KEY = os.environ.get("FORGE_API_KEY")
TOPICS = ("threads", "event loops", "processes", "queues", "ageing", "fairness", "caches", "tokens")
DATA = b"data: "
LONG_WORDS = 600


def question(words: int = 12) -> str:
    """No two begin alike, or the prefix cache would answer for the model."""
    first = f"Question {random.getrandbits(32)}: what is said of"
    return " ".join([first, *random.choices(TOPICS, k=words)])


class ForgeUser(FastHttpUser):
    """Common part of all users."""

    abstract = True
    wait_time = between(0.1, 1.0)
    connection_timeout = 10.0
    network_timeout = 300.0

    def on_start(self) -> None:
        self.headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}

    def infer(self, priority: str, prompt: str, tokens: int, name: str) -> None:
        """One answer in one piece."""
        body = {"query": prompt, "priority": priority, "max_tokens": tokens, "ignore_eos": True}
        with self.rest("POST", "/infer", json=body, headers=self.headers, name=name) as answer:
            if answer.js is not None and "response" not in answer.js:
                answer.failure(answer.js.get("error", "no answer"))


class Infer(ForgeUser):
    """The study project's requests, of all priorities; each is a line of the statistics."""

    weight = 4

    @task(1)
    def urgent(self) -> None:
        self.infer("urgent", question(), 8, "/infer (urgent)")

    @task(6)
    def normal(self) -> None:
        self.infer("normal", question(), 16, "/infer (normal)")

    @task(3)
    def batch(self) -> None:
        self.infer("batch", question(), 32, "/infer (batch)")


class Chat(ForgeUser):
    """Reads streams, and measures their first text and their pauses."""

    weight = 4

    @task(1)
    def urgent(self) -> None:
        self.stream("urgent")

    @task(4)
    def normal(self) -> None:
        self.stream("normal")

    def stream(self, priority: str) -> None:
        """One chat, to its end."""
        name = f"/v1/chat/completions ({priority})"
        body = {
            "messages": [{"role": "user", "content": question()}],
            "stream": True, "max_tokens": 32, "ignore_eos": True, "priority": priority,
        }  # fmt: skip
        start = last = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", json=body, headers=self.headers, name=name, stream=True,
            catch_response=True,
        ) as answer:  # fmt: skip
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return
            ended = False
            while line := bytes(answer.stream.readline(b"\n")):
                if not line.startswith(DATA):
                    continue
                ended = line.rstrip() == DATA + b"[DONE]"
                if ended or not _text(orjson.loads(line[len(DATA) :])):
                    continue
                now = time.perf_counter()
                self.note("TTFT" if last == start else "ITL", name, now - last)
                last = now
            if ended:
                answer.success()
            else:
                answer.failure("the stream broke off")

    def note(self, what: str, name: str, seconds: float) -> None:
        """A line of the statistics that is no request."""
        self.environment.events.request.fire(
            request_type=what, name=name, response_time=1000 * seconds, response_length=0,
            exception=None, context=self.context(),
        )  # fmt: skip


class LongPrompt(ForgeUser):
    """Brings a prompt of hundreds of words: the others' streams should not notice."""

    weight = 1
    wait_time = between(2.0, 5.0)

    @task
    def long(self) -> None:
        self.infer("batch", question(LONG_WORDS), 8, "/infer (batch, long prompt)")


def _text(chunk: dict[str, Any]) -> str:
    """Return the content of a chunk."""
    choices = chunk.get("choices", [])
    return choices[0]["delta"].get("content") or "" if choices else ""
