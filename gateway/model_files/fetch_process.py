"""A download in a process of its own, as its parent sees it: lines of JSON, one after another.

The process is :mod:`gateway.model_files.fetching`. It ends when the one that started it does, and
what has come stays.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import msgspec

from workers.protocol import children


class FetchLine(msgspec.Struct, omit_defaults=True):
    """One line of the output."""

    name: str = ""
    """The file that the numbers are about."""
    done: int = 0
    total: int | None = None
    sha256: str | None = None
    note: str = ""
    path: str = ""
    """The model's first file, once all are here."""
    error: str = ""
    """The reason why they are not."""


async def bring(
    source: str, heard: Callable[[FetchLine], None], environment: Mapping[str, str] | None = None
) -> FetchLine:
    """Bring a model and return the last line, which has a path or an error.

    ``heard`` is called with each line, ``environment`` is more for the process. The source goes
    through a pipe: it may have a password in it, and a command line is for all to see. Raises
    OSError without a process, ValueError for a line that is none. A caller that is cancelled ends
    the process.
    """
    fetching = children.command("gateway.model_files.fetching")
    process = await asyncio.create_subprocess_exec(
        *children.command("workers.parent", *fetching),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**children.environment(), **(environment or {})},
    )
    end = FetchLine()
    try:
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        with contextlib.suppress(ConnectionError):  # it has ended: that is told below
            process.stdin.write(source.encode("utf-8", "surrogateescape"))
            process.stdin.write_eof()
        async for text in process.stdout:
            line = msgspec.json.decode(text, type=FetchLine)
            if line.path or line.error:
                end = line
            heard(line)
    except BaseException:  # its end is awaited below; one that has ended must not be killed
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    finally:
        await asyncio.shield(process.wait())
    if end.path or end.error:
        return end
    return FetchLine(error="the download ended, and gave no reason")
