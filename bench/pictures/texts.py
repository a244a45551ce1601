"""`python -m bench.pictures.texts --llama-server FILE`: the same answers as llama-server's?

Small models with random weights, one for each kind of projector, F32 cells, greedy. Each question
goes to both servers in every dialect that llama-server speaks, and in Ollama's to Forge, where the
text should be that of a chat. Without llama-server Forge's dialects are compared with its chat.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.environment import commit, machine
from bench.serving.client import Client
from bench.serving.settings import Settings
from bench.serving.systems import System, forge, llama_server
from gateway.config.config import EMBEDDED_MODEL
from tests.support.pictures import picture, sound
from tests.support.projectors import PROJECTORS, write_pair

RESULTS = Path(__file__).parent.parent / "results"
TOKENS = 16
EXACT = ("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off")


@dataclass(frozen=True, slots=True)
class Question:
    """A turn of the user: texts, and media as bytes; sound if ``heard``."""

    parts: tuple[str | bytes, ...]
    heard: bool = False


def questions(heard: bool) -> list[Question]:
    """Return some: before and after a text, alone, several, of other sizes."""
    if heard:
        sounds = [sound(at, seconds) for at, seconds in enumerate((0.5, 1.0, 2.0))]
        return [Question((one, "What is it?"), heard) for one in sounds] + [
            Question(("First: ", sounds[0], " and then: ", sounds[1], "?"), heard)
        ]
    small, wide, tall = picture(1, 96, 64), picture(2, 200, 50), picture(3, 40, 160)
    return [
        Question((small, "What is it?")),
        Question(("Look: ", wide, " what is it?")),
        Question((tall, "")),
        Question(("One ", small, " two ", wide, " one again ", small, ".")),
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _chat_part(part: str | bytes, heard: bool) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if heard:
        return {"type": "input_audio", "input_audio": {"data": _base64(part), "format": "wav"}}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_base64(part)}"}}


def _message_part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": _base64(part)},
    }


def _input_part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "image_url": f"data:image/png;base64,{_base64(part)}"}


@dataclass(frozen=True, slots=True)
class Way:
    """A dialect's path, its body for a question, and the text of its answer."""

    path: str
    body: Callable[[Question], dict[str, Any]]
    text: Callable[[Any], str]


def _chat(question: Question) -> dict[str, Any]:
    content = [_chat_part(part, question.heard) for part in question.parts if part]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": TOKENS}


def _messages(question: Question) -> dict[str, Any]:
    content = [_message_part(part) for part in question.parts if part]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": TOKENS}


def _responses(question: Question) -> dict[str, Any]:
    content = [_input_part(part) for part in question.parts if part]
    message = {"type": "message", "role": "user", "content": content}
    return {"input": [message], "max_output_tokens": TOKENS}


def _said_in_output(answer: Any) -> str:
    return "".join(
        part["text"]
        for item in answer["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


WAYS = {
    "chat": Way(
        "/v1/chat/completions", _chat, lambda answer: answer["choices"][0]["message"]["content"]
    ),
    "messages": Way(
        "/v1/messages",
        _messages,
        lambda answer: "".join(part.get("text", "") for part in answer["content"]),
    ),
    "responses": Way("/v1/responses", _responses, _said_in_output),
}


def _ollama(question: Question) -> dict[str, Any]:
    """Its pictures stand before the text, so only such a question can be asked."""
    images, text = question.parts
    assert isinstance(images, bytes)
    message = {"role": "user", "content": text, "images": [_base64(images)]}
    options = {"num_predict": TOKENS, "temperature": 0}
    return {"messages": [message], "options": options, "stream": False}


OLLAMA = Way("/api/chat", _ollama, lambda answer: answer["message"]["content"])


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts of one question that should be equal."""

    kind: str
    way: str
    mine: str
    theirs: str

    @property
    def equal(self) -> bool:
        """Return whether they are, but for a character at the end that the limit cut in two."""
        return self.mine.rstrip("\ufffd") == self.theirs.rstrip("\ufffd")


async def _ask(http: httpx.AsyncClient, url: str, way: Way, question: Question) -> str:
    body = {"model": "bench", "temperature": 0, "stream": False, **way.body(question)}
    if way is OLLAMA:
        del body["temperature"]
    answer = await http.post(url + way.path, json=body)
    if answer.status_code != 200:
        raise RuntimeError(f"{way.path}: {answer.status_code} {answer.text[:300]}")
    return way.text(answer.json())


async def compared(kind: str, folder: Path, binary: Path | None) -> list[Pair]:
    """Ask both servers for all questions to a kind of projector."""
    model, mmproj = write_pair(kind, EMBEDDED_MODEL, folder)
    settings = Settings(model, 1, 4096, 1, 512)
    options = ["--mmproj", str(mmproj), *EXACT]
    systems: list[System] = [forge("forge", options, workers=1)]
    if binary is not None:
        alone = [*options, "--cache-ram", "0", "--jinja"]
        systems.append(llama_server("llama-server", binary, alone, alike=False, plain=False))
    heard = PROJECTORS[kind].hears
    found: list[Pair] = []
    async with AsyncExitStack() as stack, httpx.AsyncClient(timeout=120) as http:
        urls = []
        for system in systems:
            up = await stack.enter_async_context(system.up(settings))
            assert isinstance(up.asker, Client)
            urls.append(up.asker.url)
        for question in questions(heard):
            chat = await _ask(http, urls[0], WAYS["chat"], question)
            for name, way in WAYS.items():
                if heard and name != "chat":
                    continue
                mine = await _ask(http, urls[0], way, question)
                theirs = chat if binary is None else await _ask(http, urls[1], way, question)
                found.append(Pair(kind, name, mine, theirs))
            if not heard and isinstance(question.parts[0], bytes) and len(question.parts) == 2:
                found.append(
                    Pair(kind, "ollama", await _ask(http, urls[0], OLLAMA, question), chat)
                )
    return found


def report(pairs: list[Pair], beside: str) -> str:
    """Return the results as Markdown."""
    equal = sum(pair.equal for pair in pairs)
    lines = [
        "# Answers to pictures and sound", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Forge {commit()}, {machine()['cpu']}. Greedy answers of "
        f"{TOKENS} tokens by small models of random weights, F32 cells, Forge beside {beside}; "
        "Ollama's beside Forge's chat. Equal texts of all, but for a character at the end that "
        "the limit cut in two:", "",
        "| projector | dialect | equal |", "|---|---|---:|",
    ]  # fmt: skip
    for kind, way in dict.fromkeys((pair.kind, pair.way) for pair in pairs):
        some = [pair for pair in pairs if (pair.kind, pair.way) == (kind, way)]
        same = sum(pair.equal for pair in some)
        lines.append(f"| {kind} | {way} | {same} of {len(some)} |")
    lines += ["", f"In all {equal} of {len(pairs)}."]
    for pair in pairs:
        if not pair.equal:
            lines += ["", f"- {pair.kind}, {pair.way}: {pair.mine!r}, and {pair.theirs!r}"]
    return "\n".join([*lines, ""])


async def run(kinds: list[str], binary: Path | None) -> list[Pair]:
    """Compare all kinds, one after the other."""
    found: list[Pair] = []
    with TemporaryDirectory() as folder:
        for kind in kinds:
            found += await compared(kind, Path(folder), binary)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.pictures.texts", description=__doc__)
    parser.add_argument("--llama-server", type=Path, help="the program to compare with")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    binary = None if args.llama_server is None else args.llama_server.absolute()
    pairs = asyncio.run(run([*PROJECTORS], binary))
    text = report(pairs, "Forge's own chat" if binary is None else "llama-server")
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "picture-texts.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
