"""Workers die under streams about pictures: each goes on where it was, with its own picture."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.e2e.test_pictures import chat, seen
from tests.support.killing import healthy, kill
from tests.support.pictures import picture
from tests.support.projectors import write_pair
from tests.support.server import DEADLINE_S, ForgeServer, eventually

pytestmark = pytest.mark.usefixtures("unmeasured")

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
PATH = "/v1/chat/completions"


class PictureStream(threading.Thread):
    """One stream, read beside the test."""

    def __init__(self, server: ForgeServer, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._server, self._body = server, body
        self.text = ""
        self.pieces = 0
        self.finish = ""
        self.start()

    def run(self) -> None:
        body = {**self._body, "stream": True}
        with self._server.client() as client, client.stream("POST", PATH, json=body) as answer:
            for line in answer.iter_lines():
                data = line.removeprefix("data: ")
                if data == line or data == "[DONE]":
                    continue
                choice = json.loads(data)["choices"][0]
                self.text += choice["delta"].get("content") or ""
                self.finish = choice["finish_reason"] or self.finish
                self.pieces += 1

    def whole(self) -> str:
        """Return the text of a stream that must have ended as it should."""
        self.join(DEADLINE_S)
        assert self.finish == "length"
        return self.text


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl"])
def test_in_mid_stream(
    start_server: Start, exact: tuple[Path, tuple[str, ...]], tmp_path: Path, kind: str
) -> None:
    """Also with positions that are not the places of cells (qwen2vl)."""
    model, _ = write_pair(kind, EMBEDDED_MODEL, tmp_path, template=TEMPLATE)
    server = start_server("--workers", "2", "--slots", "2", *exact[1], model=model)
    params = {"ignore_eos": True, "max_tokens": 300}
    bodies: list[dict[str, Any]] = [
        {"messages": chat(seen(picture(at))), **params, "temperature": at % 2, "seed": 3}
        for at in range(4)
    ]
    expected = [PictureStream(server, body).whole() for body in bodies]
    assert len({*expected}) == len(expected), "each picture has its own text"
    streams = [PictureStream(server, body) for body in bodies]
    for each in streams:
        eventually(lambda each=each: each.pieces > 10, "it has begun")  # type: ignore[misc]
    for victim in server.workers():
        kill(victim["pid"])
    assert [each.whole() for each in streams] == expected
    healthy(server, 2)
