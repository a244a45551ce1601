"""One measurement of a setting, in as many processes as it has workers."""

import contextlib
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

import msgspec

from gateway.cli.tune.plan import Setting, Visit
from gateway.cli.tune.search import VisitFailed
from gateway.config.config import Config
from gateway.system.host import memory_available
from workers.protocol import (
    FromMeasurer,
    Loaded,
    Measure,
    Measured,
    MeasureFailed,
    WorkerSpec,
    children,
)

STREAMS = [1, 2, 4, 8, 16, 32]
"""Of the batch-size curve, per worker."""
CHUNKS = [32, 128, 512]
"""Tokens of the prompts that are computed in one step."""
LONGEST_STAGE_S = 600.0
"""A process that says nothing for so long hangs."""
STOP_S = 10.0

_decoder = msgspec.json.Decoder(FromMeasurer)


class Trial:
    """The processes of one setting. They end with :meth:`close`, whatever they do."""

    def __init__(self, spec: WorkerSpec, count: int) -> None:
        """Raises :class:`VisitFailed`."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._spec = spec
        try:
            for _ in range(count):
                self._processes.append(self._start())
        except OSError as error:
            self.close()
            raise VisitFailed(f"can't start a process: {error.strerror}") from error

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            children.command("workers.tools.measure"),
            env=children.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def close(self) -> None:
        """End them now."""
        self._kill()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)  # one that hangs in the kernel can't even die
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._errors.close()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    def load(self) -> int:
        """Load the model everywhere; KV cells per worker. Raises :class:`VisitFailed`."""
        answers = self._ask(self._spec, self._processes)
        return min(answer.n_ctx for answer in answers if isinstance(answer, Loaded))

    def measure(self, wanted: Measure, *, one: bool = False) -> list[Measured]:
        """All at the same time; ``one``: one alone. Raises :class:`VisitFailed`."""
        answers = self._ask(wanted, self._processes[:1] if one else self._processes)
        return [answer for answer in answers if isinstance(answer, Measured)]

    def _ask(
        self, message: msgspec.Struct, processes: list[subprocess.Popen[bytes]]
    ) -> list[Loaded | Measured]:
        line = msgspec.json.encode(message) + b"\n"
        with self._limit():
            for process in processes:
                with contextlib.suppress(BrokenPipeError):  # it died; we shall hear of it
                    _pipe(process.stdin).write(line)
                    _pipe(process.stdin).flush()
            return [self._answer(process) for process in processes]

    def _answer(self, process: subprocess.Popen[bytes]) -> Loaded | Measured:
        line = _pipe(process.stdout).readline()
        if not line:
            raise VisitFailed(self._death(process))
        answer: Loaded | Measured | MeasureFailed = _decoder.decode(line)
        if isinstance(answer, MeasureFailed):
            raise VisitFailed(answer.message)
        return answer

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        """Return the reason why it ended, as well as can be told."""
        code = process.wait(STOP_S)
        if code == -signal.SIGKILL:
            return "killed: too little memory, or it hung"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
        return f"exit code {code}: {last[:200]}"

    @contextlib.contextmanager
    def _limit(self) -> Iterator[None]:
        """Kill the processes that hang, which ends the wait for them."""
        timer = threading.Timer(LONGEST_STAGE_S, self._kill)
        try:
            timer.start()  # waits for the thread: here, too, a signal may come
            yield
        finally:
            timer.cancel()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


class TrialMeasurer:
    """Measures settings of a model: a :class:`gateway.cli.tune.search.Measurer`."""

    def __init__(self, config: Config, slice_s: float) -> None:
        """``config``: what all settings have in common. ``slice_s``: how long each thing takes,
        where that is long enough for a result."""
        self._config = config
        self._slice = slice_s

    def __call__(self, setting: Setting, *, curves: bool) -> Visit:
        """Raises :class:`VisitFailed`."""
        self._check_room(setting)
        trial = Trial(spec_of(self._config, setting), setting.workers)
        try:
            return self._measure(trial, setting, curves)
        finally:
            trial.close()

    def _measure(self, trial: Trial, setting: Setting, curves: bool) -> Visit:
        cells = trial.load()
        (alone,) = trial.measure(Measure("decode", [1], self._slice), one=True)
        mix = trial.measure(Measure("mix", [setting.slots], 2 * self._slice))
        decode, prefill = dict[int, float](), dict[int, float]()
        if curves:
            decode = _sum(trial.measure(Measure("decode", STREAMS, self._slice / 2)))
            prefill = _sum(trial.measure(Measure("prefill", CHUNKS, self._slice / 2)))
        return Visit(
            output=_sum(mix)[setting.slots],
            alone=_sum([alone])[1],
            memory=sum(part.memory for part in mix),
            cells=cells,
            decode={streams * setting.workers: rate for streams, rate in decode.items()},
            prefill=prefill,
        )

    def _check_room(self, setting: Setting) -> None:
        """Repacked weights are each worker's own: don't drive the machine out of memory."""
        room = memory_available()
        copies = setting.workers if setting.repack else 1
        need = copies * self._config.model.stat().st_size
        if room is not None and need > room:
            gib = f"{need / 2**30:.1f} GiB of weights, {room / 2**30:.1f} available"
            raise VisitFailed(f"too little memory: {gib}")


def spec_of(config: Config, setting: Setting) -> WorkerSpec:
    """Return the settings of each worker of ``setting``, as :meth:`Config.worker_spec` would."""
    return msgspec.structs.replace(
        config.worker_spec(),
        slots=setting.slots,
        threads=setting.threads,
        n_ctx=setting.ctx,
        batch=max(config.batch, setting.slots),
        type_k=setting.cache_type_k,
        type_v=setting.cache_type_v,
        flash_attn=setting.flash_attn,
        repack=setting.repack,
    )


def _sum(parts: list[Measured]) -> dict[int, float]:
    """Rates of all workers together, at sizes that all of them reached."""
    rates = [{rate.size: rate.tokens_per_s for rate in part.rates} for part in parts]
    common = [size for size in rates[0] if all(size in each for each in rates)]
    return {size: sum(each[size] for each in rates) for size in common}
