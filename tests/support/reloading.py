"""A server whose files a test changes and lets it read again, and clients that go on meanwhile."""

import itertools
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import Start
from tests.support.f32 import f32_copy
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually

PROMPTS = ("Once upon a time", "What is 2+2?", "The dog", "Write a list of")
ADMIN, CLIENT, LATER = "admin-secret", "client-secret", "later-secret"


class House:
    """A config file, a key file and a model's file, and the server that has them."""

    def __init__(self, folder: Path, *lines: str, model: Path) -> None:
        """``lines``: more options of the file."""
        self.folder = folder
        self.model = folder / "served.gguf"
        self.keys = folder / "keys.toml"
        self.file = folder / "forge.toml"
        self.lines = list(lines)
        os.link(model, self.model)
        self.key("admin", ADMIN, admin=True)
        self.key("client", CLIENT)
        self.write()

    def write(self, *more: str) -> None:
        """Write the config file: the usual lines, and ``more``."""
        text = [f"model = '{self.model}'", f"api-key-file = '{self.keys}'", *self.lines, *more]
        self.replace(self.file, "\n".join(text))

    def key(self, name: str, secret: str, *, admin: bool = False) -> None:
        """Add a key."""
        before = self.keys.read_text() if self.keys.exists() else ""
        table = f"[[key]]\nname = '{name}'\nkey = '{secret}'\nadmin = {str(admin).lower()}\n"
        self.replace(self.keys, before + table)

    def put(self, model: Path) -> None:
        """Let the model's name lead to another file, in one step."""
        other = self.folder / "other.gguf"
        os.link(model, other)
        other.replace(self.model)

    def replace(self, file: Path, text: str) -> None:
        """Write a file, in one step."""
        scratch = file.with_suffix(".new")
        scratch.write_text(text)
        scratch.replace(file)

    def start(self, start_server: Start) -> ForgeServer:
        return start_server("--config", str(self.file), model=None, key=ADMIN)


def two_models(folder: Path) -> tuple[Path, Path]:
    """Write two models whose texts are exact, and differ from the first word on."""
    one, other = folder / "one.gguf", folder / "another.gguf"
    f32_copy(MODEL, one)
    words = ("Ġthe", "Ġa", "Ġis", "Ġto", "Ġand", ".", ",")
    f32_copy(MODEL, other, renamed={word: f"{word}QZ" for word in words})
    return one, other


def reload(server: ForgeServer, **body: Any) -> httpx.Response:
    """Ask for a reload, and wait for its end."""
    with server.client() as client:
        return client.post("/models/reload", json=body)


def report(server: ForgeServer) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/models/reload")
    return found


def changes(told: dict[str, Any]) -> dict[str, str]:
    """Return what became of each model."""
    return {each["model"]: each["change"] for each in told["models"]}


def settled(server: ForgeServer, workers: int) -> None:
    """Wait until only the new workers are there, and all are ready."""

    def there() -> bool:
        found = server.workers()
        return len(found) == workers and all(each["state"] == "ready" for each in found)

    eventually(there, "the old workers are gone")


def completed(server: ForgeServer, prompt: str, *, key: str = CLIENT, **params: Any) -> str:
    """Return a text; the request must succeed."""
    body = {"prompt": prompt, "temperature": 0, "max_tokens": 24, "ignore_eos": True, **params}
    with server.client(Authorization=f"Bearer {key}") as client:
        response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["text"]
    return text


class Load:
    """Clients that ask one request after the other, until they are told to end."""

    def __init__(
        self, server: ForgeServer, clients: int, *, streamed: int = 0, **params: Any
    ) -> None:
        """``streamed``: each so manieth answer is a stream; 0: none is."""
        self._streamed = streamed
        self.texts: Counter[tuple[str, str]] = Counter()
        """Counts of the answers, by prompt and text."""
        self.failures: list[str] = []
        self._server, self._params = server, params
        self._numbers = itertools.count()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        body = {"temperature": 0, "max_tokens": 24, "ignore_eos": True, **self._params}
        headers = {"Authorization": f"Bearer {CLIENT}"}
        with httpx.Client(base_url=self._server.url, headers=headers, timeout=DEADLINE_S) as client:
            while not self._end.is_set():
                number = next(self._numbers)
                prompt = PROMPTS[number % len(PROMPTS)]
                stream = bool(self._streamed) and number // len(PROMPTS) % self._streamed == 0
                asked = {"prompt": prompt, "stream": stream, **body}
                try:
                    response = client.post("/v1/completions", json=asked)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code != 200:
                    self.failures.append(response.text)
                    continue
                try:
                    self.texts[prompt, _streamed(response) if stream else _text(response)] += 1
                except (KeyError, ValueError):
                    self.failures.append(response.text)

    @property
    def done(self) -> int:
        """The number of requests that were answered, in whatever way."""
        return self.texts.total() + len(self.failures)

    def more(self, requests: int) -> None:
        """Wait until so many more are answered."""
        wanted = self.done + requests
        eventually(lambda: self.done >= wanted, f"{requests} more answers", 10 * DEADLINE_S)

    def end(self) -> None:
        """Wait for the last answers."""
        self._end.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def _text(response: httpx.Response) -> str:
    text: str = response.json()["choices"][0]["text"]
    return text


def _streamed(response: httpx.Response) -> str:
    """Return the text of a stream. Raises KeyError or ValueError for one that ends in an error."""
    *events, last = [event for event in response.text.split("\n\n") if event.startswith("data: ")]
    if last != "data: [DONE]":
        raise ValueError("it has no end")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)
