"""`python -m bench.concurrency.host NAME [--wait S] [--model FILE]`: one of the servers compared.

`--wait`: seconds that each request waits for some I/O that is not there. `--model`: of those that
compute; the embedded one otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from . import blocking, evented
from .http import Work, reverse

# llama.cpp and httpx are imported late: most of these servers are to be there at once.

HOST = "127.0.0.1"
REVERSE, INFER = "/reverse", "/infer"
Host = Callable[[socket.socket, float], None]
"""Serves for ever on a socket, with the I/O wait of each request in seconds."""
Computing = Callable[[socket.socket, Path | None], None]
"""The same with the file of a model."""


def _slow(wait_s: float) -> Work:
    def work(body: bytes) -> bytes:
        time.sleep(wait_s)
        return reverse(body)

    return work if wait_s else reverse


def _sequential(listener: socket.socket, wait_s: float) -> None:
    # It hangs up after each answer: whoever stays connected would keep all others waiting.
    blocking.one_by_one(listener, blocking.conversation(REVERSE, _slow(wait_s), keep=False))


def _threads(listener: socket.socket, wait_s: float) -> None:
    blocking.thread_each(listener, blocking.conversation(REVERSE, _slow(wait_s), keep=True))


def _asyncio(listener: socket.socket, wait_s: float) -> None:
    talk = evented.conversation(REVERSE, reverse, wait_s)
    asyncio.run(evented.serve_streams(listener, talk))


def _starlette(listener: socket.socket, wait_s: float) -> None:
    async def work(body: bytes) -> bytes:
        if wait_s:
            await asyncio.sleep(wait_s)
        return reverse(body)

    app = evented.application(REVERSE, work)
    asyncio.run(evented.serve_application(listener, app))


def _study_threads(listener: socket.socket, wait_s: float) -> None:
    blocking.thread_each(listener, blocking.study_way(REVERSE, _slow(wait_s)))


def _study_asyncio(listener: socket.socket, wait_s: float) -> None:
    talk = evented.study_way(REVERSE, reverse, wait_s)
    asyncio.run(evented.serve_streams(listener, talk))


def _delays(listener: socket.socket, wait_s: float) -> None:
    from . import sites

    asyncio.run(sites.serve(listener))


def _infer(where: str) -> Computing:
    """In the event loop, or in a pool of threads or processes."""

    def serve(listener: socket.socket, model: Path | None) -> None:
        from . import inference

        make: Callable[[Path | None], evented.AsyncWork] = getattr(inference, where)
        app = evented.application(INFER, make(model))
        asyncio.run(evented.serve_application(listener, app))

    return serve


def _infer_study(listener: socket.socket, model: Path | None) -> None:
    from . import inference

    work = inference.study(model)
    blocking.thread_each(listener, blocking.conversation(INFER, work, keep=True))


HOSTS: dict[str, Host] = {
    "delays": _delays,
    "sequential": _sequential,
    "threads": _threads,
    "asyncio": _asyncio,
    "starlette": _starlette,
    "study-threads": _study_threads,
    "study-asyncio": _study_asyncio,
}
COMPUTING: dict[str, Computing] = {
    "infer-inline": _infer("inline"),
    "infer-threads": _infer("threads"),
    "infer-processes": _infer("processes"),
    "infer-study": _infer_study,
}


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.concurrency.host")
    parser.add_argument("name", choices=[*HOSTS, *COMPUTING])
    parser.add_argument("--wait", type=float, default=0.0)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    # With the protocol: asyncio turns Nagle's algorithm off only where it is told that it is TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind((HOST, 0))
        listener.listen(blocking.BACKLOG)
        port = listener.getsockname()[1]
        print(f"{args.name} is ready at http://{HOST}:{port}", flush=True)
        if args.name in HOSTS:
            HOSTS[args.name](listener, args.wait)
        else:
            COMPUTING[args.name](listener, args.model)


if __name__ == "__main__":
    main()
