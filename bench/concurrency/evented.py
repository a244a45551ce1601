"""Servers with an event loop: asyncio by itself, and starlette on uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .blocking import BACKLOG, study_answer
from .http import HEAD_END, Work, parse, respond

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
AsyncWork = Callable[[bytes], Awaitable[bytes]]


def conversation(path: str, work: Work, wait_s: float) -> Talk:
    """Answer request after request, each after a pause that stands for waiting on I/O."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, ValueError):
            keep = True
            while keep:
                request = parse(await reader.readuntil(HEAD_END))
                body = await reader.readexactly(request.length)
                if wait_s:
                    await asyncio.sleep(wait_s)
                keep = request.keep
                writer.write(respond(request, body, path, work, keep=keep))
                await writer.drain()

    return talk


def study_way(path: str, work: Work, wait_s: float) -> Talk:
    """One read of 1,024 bytes is the request, the end of the connection that of the answer."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError, IndexError):
            data = await reader.read(1024)
            await asyncio.sleep(wait_s)
            writer.write(study_answer(data, path, work))
            await writer.drain()

    return talk


async def serve_streams(listener: socket.socket, talk: Talk) -> None:
    """For ever."""
    server = await asyncio.start_server(talk, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


def application(path: str, work: AsyncWork) -> Starlette:
    """The same for starlette."""

    async def answer(request: Request) -> Response:
        try:
            return Response(await work(await request.body()), media_type="application/json")
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[Route(path, answer, methods=["POST"]), Route("/health", health, methods=["GET"])]
    )


async def serve_application(listener: socket.socket, app: Starlette) -> None:
    """Serve until SIGTERM."""
    settings = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        backlog=BACKLOG,
    )  # fmt: skip
    await uvicorn.Server(settings).serve(sockets=[listener])
