"""The plan: what is worth measuring, and what the results say. Pure.

No grid, but three stages, each of which starts from the winner of the one before, its incumbent:
how the cores are divided, with weights repacked or not; flash attention and the KV cache's type;
how many slots. The measure is the output of all streams together, in tokens a second, under full
load. Within a stage everything is measured in turns, several times, and medians are compared, for
machines are noisy; what is far behind after a turn is left out of the next.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

BEHIND = 0.85
"""Part of the best that a setting must reach to be measured again."""
WORTH = 1.05
"""Factor by which a setting must be faster, or the incumbent stays."""
MORE_SLOTS = 1.10
"""Factor that each doubling of the slots must bring: it halves every stream's speed."""
UNSURE = 1.2
"""Factor by which a change must bring more if it, or the incumbent, was measured only once."""
FEWER_SLOTS = 0.97
"""Part of the output that half of the slots must keep: it makes every stream faster."""
MOST_SLOTS = 128
LOSSY = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "bf16")
"""KV types that may change what a model says, compared with f16."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to serve; the fields are options of ``forge serve``."""

    workers: int
    threads: int
    slots: int
    repack: bool
    flash_attn: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    ctx: int | None = None
    """KV cells per worker; None: automatic."""

    def __str__(self) -> str:
        cache = {self.cache_type_k: None, self.cache_type_v: None}
        repack = "repack" if self.repack else "no repack"
        shape = f"{self.workers} x {self.threads} x {self.slots}, {repack}"
        return f"{shape}, flash attention {self.flash_attn}, KV {'/'.join(cache)}"


@dataclass(frozen=True, slots=True)
class Visit:
    """One measurement of a setting; rates are tokens a second of all workers."""

    output: float
    """Under full load."""
    alone: float
    """Of a single stream, when it runs alone."""
    memory: int
    """Bytes of the workers."""
    cells: int
    """KV cells per worker."""
    decode: dict[int, float] = field(default_factory=dict)
    """By streams; only where the curve was asked for."""
    prefill: dict[int, float] = field(default_factory=dict)
    """By tokens in a worker's step."""


@dataclass(slots=True)
class Result:
    """A setting and what was found of it within a stage."""

    setting: Setting
    visits: list[Visit] = field(default_factory=list)
    failure: str | None = None

    @property
    def output(self) -> float:
        """The median; 0 if it failed."""
        return self._median([visit.output for visit in self.visits])

    @property
    def alone(self) -> float:
        return self._median([visit.alone for visit in self.visits])

    @property
    def spread(self) -> float:
        """Return the distance between the visits, as a part of the median."""
        outputs = [visit.output for visit in self.visits]
        return (max(outputs) - min(outputs)) / self.output if self.output else 0.0

    @property
    def stream(self) -> float:
        """Return the rate of one stream under full load."""
        return self.output / (self.setting.workers * self.setting.slots)

    @property
    def memory(self) -> int:
        return max((visit.memory for visit in self.visits), default=0)

    @property
    def decode(self) -> dict[int, float]:
        return next((visit.decode for visit in self.visits if visit.decode), {})

    @property
    def prefill(self) -> dict[int, float]:
        return next((visit.prefill for visit in self.visits if visit.prefill), {})

    def _median(self, values: list[float]) -> float:
        return statistics.median(values) if values and self.failure is None else 0.0


def shapes(base: Setting, fixed: frozenset[str], cores: int) -> list[Setting]:
    """Other ways to divide the cores, with the same slots in all, and weights repacked or not.

    ``base``, the cheap rule's way, comes first. Options in ``fixed`` stay as they are there.
    """
    divisions = dict.fromkeys([(base.workers, base.threads), *_divisions(base, fixed, cores)])
    total = base.workers * base.slots
    found = list[Setting]()
    for repack in (base.repack,) if "repack" in fixed else (base.repack, not base.repack):
        for workers, threads in divisions:
            slots = base.slots if "slots" in fixed else min(MOST_SLOTS, -(-total // workers))
            setting = replace(base, workers=workers, threads=threads, slots=slots, repack=repack)
            found.append(setting)
    return found


def _divisions(base: Setting, fixed: frozenset[str], cores: int) -> Iterator[tuple[int, int]]:
    """Workers and their threads; never more threads than cores."""
    counts = [base.workers, 1, 2, base.workers // 2, base.workers * 2]
    for workers in [base.workers] if "workers" in fixed else counts:
        threads = base.threads if "threads" in fixed else cores // max(1, workers)
        if workers and threads and workers * threads <= cores:
            yield workers, threads
    if base.threads > 1 and "threads" not in fixed:
        yield base.workers, base.threads // 2  # two threads of a core may be slower than one


def caches(base: Setting, fixed: frozenset[str]) -> list[Setting]:
    """Flash attention and the KV cache's type, after ``base``, which comes first."""
    found = [base]
    if "flash_attn" not in fixed:
        found.append(replace(base, flash_attn="off"))
    if not fixed & {"cache_type_k", "cache_type_v"}:
        found += [replace(base, cache_type_k=kind, cache_type_v=kind) for kind in ("f32", "q8_0")]
    return list(dict.fromkeys(found))


def crowds(base: Setting, fixed: frozenset[str], cells: int) -> list[Setting]:
    """Fewer and more slots after ``base``, which comes first; ``cells`` per worker stay."""
    if "slots" in fixed:
        return [base]
    wanted = [base.slots // 2, base.slots * 2, base.slots * 4]
    return [
        base,
        *(replace(base, slots=n, ctx=cells) for n in wanted if 1 <= n <= MOST_SLOTS),
    ]


def survivors(results: Sequence[Result]) -> list[Result]:
    """Return the results worth another turn; the incumbent, the first, among them."""
    best = max((result.output for result in results), default=0.0)
    return [
        result
        for index, result in enumerate(results)
        if result.failure is None and (index == 0 or result.output >= BEHIND * best)
    ]


def lossy(setting: Setting, than: Setting) -> bool:
    """Tell if its KV cache may change the model's words, and that of ``than`` does not."""
    types = {setting.cache_type_k, setting.cache_type_v}
    return bool((types - {than.cache_type_k, than.cache_type_v}) & set(LOSSY))


def fastest(results: Sequence[Result], *, allow_lossy: bool = False) -> Result:
    """The fastest, if it is worth a change; else the incumbent, which is the first.

    An incumbent that failed is replaced by anything that did not.
    """
    incumbent = results[0]
    allowed = [r for r in results if allow_lossy or not lossy(r.setting, incumbent.setting)]
    best = max(allowed, key=lambda result: result.output)
    return best if best.output > WORTH * _doubt(results) * incumbent.output else incumbent


def _doubt(results: Sequence[Result]) -> float:
    """A factor for what a change must bring: one look at a noisy machine says little."""
    looks = min((len(result.visits) for result in results if result.failure is None), default=0)
    return UNSURE if looks < 2 else 1.0


def enough_slots(results: Sequence[Result]) -> Result:
    """Choose as many slots as are worth it; the incumbent is the first."""
    chosen, doubt = results[0], _doubt(results)
    by_slots = sorted((r for r in results if r.failure is None), key=lambda r: r.setting.slots)
    for result in reversed(by_slots):
        fewer = result.setting.slots < chosen.setting.slots
        if fewer and result.output >= FEWER_SLOTS * doubt * chosen.output:
            chosen = result
    for result in by_slots if chosen is results[0] else ():
        doublings = math.log2(result.setting.slots / chosen.setting.slots)
        if doublings > 0 and result.output >= MORE_SLOTS**doublings * doubt * chosen.output:
            chosen = result
    return chosen
