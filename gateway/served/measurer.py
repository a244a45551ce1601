"""A process that loads a model in one way and measures how fast it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from workers.protocol import (
    FromMeasurer,
    Loaded,
    Measure,
    Measured,
    MeasureFailed,
    WorkerSpec,
    children,
)

PATIENCE_S = 600.0
"""A process that takes longer for an answer, or to load the model, hangs."""


class Unmeasured(Exception):
    """A way that could not be measured; one line that says why."""


Ask = Callable[[Measure], Awaitable[float]]
"""Measures a rate, in tokens a second. Raises :class:`Unmeasured`."""

_decoder = msgspec.json.Decoder(FromMeasurer)


@contextlib.asynccontextmanager
async def measurer(spec: WorkerSpec) -> AsyncIterator[Ask]:
    """A process with the model loaded; what it gives asks for one rate. Ends with the context.

    Raises :class:`Unmeasured`, also when it is asked.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *children.command("workers.tools.measure"),
            env=children.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise Unmeasured(str(error)) from error
    assert process.stdin is not None
    assert process.stdout is not None
    write, read = process.stdin, process.stdout

    async def answer(message: msgspec.Struct) -> Loaded | Measured:
        try:
            async with asyncio.timeout(PATIENCE_S):
                write.write(msgspec.json.encode(message) + b"\n")
                line = await read.readline()
            found: Loaded | Measured | MeasureFailed = (
                _decoder.decode(line) if line else MeasureFailed("the process ended")
            )
        except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
            # Also what a process says that is no answer, for instance at its very start.
            raise Unmeasured(str(error) or "it took too long") from error
        if isinstance(found, MeasureFailed):
            raise Unmeasured(found.message)
        return found

    async def ask(wanted: Measure) -> float:
        found = await answer(wanted)
        rates = found.rates if isinstance(found, Measured) else []
        if not rates:
            raise Unmeasured(f"no rate of {wanted.what}")
        return rates[0].tokens_per_s

    try:
        await answer(spec)
        yield ask
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
