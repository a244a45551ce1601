"""`python -m bench.gateway.host forge|echo [options]`: the two that are compared.

*forge*: the gateway as it is, heap, dispatcher, links and all, over a worker that computes nothing.
*echo*: starlette's least, which reads JSON and writes it, under the same uvicorn settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from functools import partial

from . import null_worker

# The servers are imported late: a worker's process imports this module too.

HOST = "127.0.0.1"
NAME = "null"
OBSERVE = ("nothing", "metrics", "usage", "log", "traces")
"""No metrics and no usage; metrics; and usage, a line of log, or spans, for each request too."""


def tracing(collector: str, ratio: float) -> dict[str, str]:
    """Return the variables that switch traces on."""
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(ratio)}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, **sampler}


async def forge(sock: socket.socket, slots: int, pace_s: float, observe: str) -> None:
    """The gateway; it says itself that it is ready. ``observe``: one of OBSERVE."""
    from gateway.config.api_keys import Keyring
    from gateway.config.config import Config
    from gateway.pool.local import LocalPool
    from gateway.server import serve
    from gateway.system import log_setup

    queue = 2 * slots
    config = Config(
        workers=1, alias=NAME, max_queue=queue, max_queue_bytes=queue * 1024,
        metrics=observe != "nothing", log_level="info" if observe == "log" else "warning",
        usage_days=400 if observe == "usage" else 0,
    )  # fmt: skip
    log_setup.configure(config.log_level, "json", "%(name)s")
    worker = partial(null_worker.main, slots=slots, pace_s=pace_s)
    silence_s, step_s = config.stuck_timeout, config.step_timeout
    pool = LocalPool(config.worker_spec(), 1, silence_s=silence_s, step_s=step_s, main=worker)
    failure = await serve(config, [sock], Keyring(), None, pool)
    assert failure is None, failure


async def echo(sock: socket.socket) -> None:
    """An application that does nothing else."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        return JSONResponse(await request.json())

    settings = uvicorn.Config(
        Starlette(routes=[Route("/", answer, methods=["POST"])]),
        http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False,
    )  # fmt: skip
    print(f"echo is ready at http://{HOST}:{sock.getsockname()[1]}", flush=True)
    await uvicorn.Server(settings).serve(sockets=[sock])


def main() -> None:
    """The command line."""
    import uvloop

    from gateway.http.listening import bind

    parser = argparse.ArgumentParser(prog="python -m bench.gateway.host")
    parser.add_argument("what", choices=("forge", "echo"))
    parser.add_argument("--slots", type=int, default=1024)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--observe", choices=OBSERVE, default="metrics")
    parser.add_argument("--collector", default="", help="URL for --observe traces")
    parser.add_argument("--ratio", type=float, default=1.0, help="traces that are kept")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    if args.observe == "traces":
        os.environ |= tracing(args.collector, args.ratio)
    (sock,) = bind(HOST, 0)
    serving = (
        echo(sock) if args.what == "echo" else forge(sock, args.slots, args.pace, args.observe)
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main()
