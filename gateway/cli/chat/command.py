"""``forge chat`` and ``forge run``."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway.cli import console
from gateway.cli.chat.client import Answer, Client, RequestFailed
from gateway.cli.chat.conversation import Transcript
from gateway.cli.chat.session import ChatOptions, ChatSession, figures
from gateway.cli.chat.target_server import server
from gateway.cli.chat.terminal import Screen, harmless, typed
from gateway.config.config import ConfigError

TEXTS = ("prompt", "system", "priority", "url", "api_key")
"""Arguments that a server gets to read."""


class Wrong(Exception):
    """The user's input can't be used; nothing was asked."""


def run(command: str, given: dict[str, Any]) -> int:
    """The exit code of ``forge command``."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # and end our server
    talk = chat if command == "chat" else once

    def work() -> None:
        for name in TEXTS:
            if given.get(name) is not None:
                given[name] = _text(given[name], "--" + name.replace("_", "-"))
        talk(given)

    return console.run(command, work, refused=(ConfigError, Wrong), failed=(RequestFailed,))


def _text(argument: str, name: str) -> str:
    """Return an argument as UTF-8, whatever the locale. Raises :class:`Wrong`."""
    try:
        return argument if console.is_text(argument) else os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError as error:
        name = "the prompt" if name == "--prompt" else name
        raise Wrong(f"{name} is not UTF-8: byte {error.start} is no part of a text") from None


def chat(given: dict[str, Any]) -> None:
    """``forge chat``."""
    screen = Screen(sys.stdout)
    with server(given["url"], given["api_key"], given["model"]) as (client, model):
        wishes = _wishes(given, model)
        name = model or next((each.id for each in client.models()), "no model")
        screen.note(f"{name} at {client.url}; /help lists what can be typed, Ctrl-D leaves")
        try:
            ChatSession(client, screen, wishes, given["system"]).run(typed())
        except UnicodeDecodeError:
            raise Wrong("stdin is not UTF-8") from None


def once(given: dict[str, Any]) -> None:
    """``forge run``."""
    wishes = _wishes(given, None)
    if given["schema"] is not None:
        wishes.options["response_format"] = _format(given["schema"])
    talk = Transcript(given["system"])
    talk.ask(_prompt(given["prompt"]))
    with server(given["url"], given["api_key"], given["model"]) as (client, wishes.model):
        answer = _answer(client, wishes.body(talk), show=not given["json"])
    if given["json"]:
        print(json.dumps(_as_json(answer), ensure_ascii=False, indent=1))
    if given["verbose"]:
        print(figures(answer), file=sys.stderr)


def _answer(client: Client, body: dict[str, Any], *, show: bool) -> Answer:
    """Ask, and show the answer as it comes; raw if a program reads it."""
    answer, out = Answer(), sys.stdout
    seen = out.isatty()

    def hear(text: str, _: str) -> None:
        if show:
            out.write(harmless(text) if seen else text)
            out.flush()

    client.chat(body, answer, hear)
    if show and not answer.text.endswith("\n"):
        hear("\n", "")
    return answer


def _wishes(given: dict[str, Any], model: str | None) -> ChatOptions:
    fields = ("max_tokens", "temperature", "seed")
    options = {name: given[name] for name in fields if given[name] is not None}
    return ChatOptions(model, given["priority"], options)


def _prompt(argument: str | None) -> str:
    """The argument, and what comes on stdin. Raises :class:`Wrong` if that is nothing."""
    parts = [] if argument in (None, "-") else [str(argument)]
    if argument in (None, "-") and sys.stdin.isatty() and argument is None:
        raise Wrong('nothing to ask: forge run "PROMPT", or something on stdin')
    if argument == "-" or not sys.stdin.isatty():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise Wrong(f"stdin is not UTF-8: byte {error.start} is no part of a text") from None
    text = "\n\n".join(part.strip("\n") for part in parts if part.strip())
    if not text:
        raise Wrong("nothing to ask: the prompt is empty")
    return text


def _format(file: Path) -> dict[str, Any]:
    """A file with a JSON schema as OpenAI's ``response_format``."""
    try:
        schema = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise Wrong(f"--schema: can't read {file}: {error.strerror}") from error
    except ValueError as error:
        raise Wrong(f"--schema: {file} is not JSON: {error}") from error
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _as_json(answer: Answer) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    return {
        "text": answer.text,
        "reasoning": answer.reasoning or None,
        "finish_reason": answer.reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "tokens": answer.tokens,
        "queue_wait_s": rounded(answer.queue_wait_s),
        "first_token_s": rounded(answer.first_s),
        "seconds": rounded(answer.seconds),
        "tokens_per_second": rounded(answer.rate),
    }
