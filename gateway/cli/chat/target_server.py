"""The server that is talked to: one that runs, or one of our own that ends with us."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.cli.chat.client import Client, RequestFailed
from gateway.cli.console import obtain
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.model_files import catalog
from gateway.model_files.source import BadSource, parse
from workers.protocol import children

USUAL = f"http://127.0.0.1:{Config.model_fields['port'].default}"
READY = "Forge is ready at "
PLACES = ("FORGE_DATA_DIR", "FORGE_DATABASE")
"""Options of the environment that a server of our own does not take."""
POLL_S = 0.05
ENDING_S = 10.0
"""Seconds that our server may take to end its workers."""


def secret(key: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key of the command line, or of the environment. Raises ConfigError."""
    key = key or environment.get("FORGE_API_KEY")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError("--api-key, or FORGE_API_KEY: only visible ASCII characters can be sent")
    return key


@contextlib.contextmanager
def server(
    url: str | None, key: str | None, model: str | None, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[Client, str | None]]:
    """A client of the server to talk to, and the name that it knows the model by, if it matters.

    Raises :class:`gateway.cli.chat.client.RequestFailed` or
    :class:`gateway.config.config.ConfigError`.
    """
    key = secret(key, environment)
    with contextlib.ExitStack() as stack:
        if url is not None:
            client = stack.enter_context(Client(url, key))
            yield client, _known(client, model)
            return
        client = stack.enter_context(Client(USUAL, key))
        names = _names(client)
        if names is not None and (model is None or model in names):
            yield client, model
            return
        path = EMBEDDED_MODEL if model is None else _file(model, names)
        address = stack.enter_context(_own(path))
        yield stack.enter_context(Client(address, key)), None


def _known(client: Client, model: str | None) -> str | None:
    names = [each.id for each in client.models()]
    if model is not None and model not in names:
        raise RequestFailed(f"{client.url} has no model '{model}'; it has {', '.join(names)}")
    return model


def _names(client: Client) -> list[str] | None:
    """The models of a server where one usually is; None if there is none, or not one like ours."""
    try:
        return [each.id for each in client.models()]
    except RequestFailed:
        return None


def _file(model: str, names: list[str] | None) -> Path:
    """The file of a model for a server of our own. ``names``: what the running one has."""
    try:
        if parse(model) is not None:
            return obtain(model)
        return catalog.find(model).files[0]
    except BadSource as error:
        raise ConfigError(str(error)) from error
    except ConfigError as error:
        has = "" if names is None else f", nor of the server at {USUAL}: {', '.join(names)}"
        raise ConfigError(f"{error}{has}") from error


@contextlib.contextmanager
def _own(model: Path) -> Iterator[str]:
    """The address of a server that ends when this is left, or this process dies."""
    with tempfile.TemporaryDirectory(prefix="forge-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        serve = children.command("gateway.cli", "serve", "--model", str(model))
        command = [*children.command("workers.parent"), *serve]
        command += ["--host", "127.0.0.1", "--port", "0", "--log-level", "warning"]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            # A group of its own: Ctrl-C in the terminal is for the chat.
            process = subprocess.Popen(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,
            )
        try:
            with _waiting(f"loading {model.name}"):
                address = _address(process, out, err)
            yield address
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    """Return the environment of a server that keeps nothing: its users' folder is not its own."""
    found = children.environment()
    return {name: value for name, value in found.items() if name not in PLACES}


def _address(process: "subprocess.Popen[bytes]", out: Path, err: Path) -> str:
    """Wait until the server says where it is.

    Raises :class:`RequestFailed` with what it said instead.
    """
    while True:
        code = process.poll()
        for line in out.read_text("utf-8", "replace").splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        if code is not None:
            said = err.read_text("utf-8", "replace").strip()
            raise RequestFailed(
                said.removeprefix("forge serve: error: ") or f"its server ended: {code}"
            )
        time.sleep(POLL_S)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its workers see that, and end
        process.wait()


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Say what goes on, in a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # late: it takes a while to import

    with Console(stderr=True).status(what):
        yield
