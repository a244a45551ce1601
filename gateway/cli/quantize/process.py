"""A job in a process of its own, which ends with this one."""

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

import msgspec

from workers.protocol import Done, Error, FromJob, Job, JobFailed, Scored, Tick, children

_decoder: msgspec.json.Decoder[FromJob] = msgspec.json.Decoder(FromJob)


class QuantizeJobError(Exception):
    """The reason why it was not done, in one line."""


def run(job: Job) -> Iterator[Tick | Error | Scored]:
    """Do a job, and yield what it tells meanwhile.

    Left early, it ends early. Raises :class:`QuantizeJobError`.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            children.command("workers.tools.quantize"),
            env=children.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin as pipe:
                pipe.write(msgspec.json.encode(job))
            for line in process.stdout:
                told = _decoder.decode(line)
                if isinstance(told, Done):
                    return
                if isinstance(told, JobFailed):
                    raise QuantizeJobError(told.message)
                yield told
            raise QuantizeJobError(_death(process.wait(), errors))
        except BrokenPipeError:
            raise QuantizeJobError(_death(process.wait(), errors)) from None
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _death(code: int, errors: IO[bytes]) -> str:
    """Return the reason why a process ended, as well as can be told."""
    errors.seek(0)
    said = errors.read()
    if code == -signal.SIGKILL:
        return "killed, perhaps for want of memory"
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"its process ended with {code}: {lines[-1][:200] if lines else 'no reason given'}"
