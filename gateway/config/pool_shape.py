"""The division of the machine among workers, by rule. Pure.

One worker of all cores up to eight; beyond that one for every eight. All threads of a worker
compute one step, so with more threads a prompt is done sooner, a single stream runs faster, and all
slots share one batch. Two workers of one thread gave one client of a 135M model 51 tokens a second
and a first token after 0.67 s, one worker of two threads 74 and 0.36 s; eight clients got 93 after
1.21 s, and 97 after 0.71 s. A worker's death is then seen by all streams: they pause until its
successor has started.

=====  =================  =============
cores  workers x threads  small model
=====  =================  =============
2      1 x 2              2 x 1
8      1 x 8              2 x 1
32     4 x 8              8 x 1
64     8 x 8              16 x 1
=====  =================  =============

Two cores were measured. Eight is a judgement: so many cores share an L3 cache on most servers, a
stream is bound by memory before a ninth thread helps, every thread waits for the slowest at some
hundred barriers of each step, and a worker that lies within a NUMA node has its memory near.

The steps of a small model are shorter than their barriers: two threads take 0.6 ms, one takes 0.6
(the embedded model). Processes gain more there, also for the Python between two steps. On a GPU
every worker has its own copy of the weights, and threads hardly matter: it gets one worker.
"""

from dataclasses import dataclass

CORES_PER_WORKER = 8
SMALL = 64 << 20
"""Bytes of a model's file below which threads don't pay."""
CORES_PER_SMALL_WORKER = 4
SLOTS, SLOTS_ALONE = 8, 16
"""Slots of a worker, and of one that the rule made the only one: 16 in all at least."""


@dataclass(frozen=True, slots=True)
class PoolShape:
    """The division of the machine."""

    workers: int
    slots: int
    threads: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options about the division; None is for the rule to choose."""

    workers: int | None = None
    slots: int | None = None
    threads: int | None = None


def divide(cores: int, said: Wanted, *, small: bool, gpu: bool) -> PoolShape:
    """Return the shape for a machine with ``cores``. Chosen threads never exceed them.

    ``small``: the model's file is smaller than SMALL; ``gpu``: a GPU computes some of it.
    """
    single = small and not gpu and said.workers is None
    workers = said.workers or _workers(cores, said.threads, small=small, gpu=gpu)
    threads = said.threads or (1 if single else _threads(cores, workers, gpu=gpu))
    alone = workers == 1 and said.workers is None
    return PoolShape(workers, said.slots or (SLOTS_ALONE if alone else SLOTS), threads)


def _threads(cores: int, workers: int, *, gpu: bool) -> int:
    share = max(1, cores // workers)
    return min(share, CORES_PER_WORKER) if gpu else share


def _workers(cores: int, threads: int | None, *, small: bool, gpu: bool) -> int:
    """Return the number of workers, of so many ``threads`` if that is said."""
    if gpu:
        return 1
    if threads is None and not small:
        return max(1, cores // CORES_PER_WORKER)
    several = min(cores, max(2, cores // CORES_PER_SMALL_WORKER))
    return several if threads is None else max(1, min(several, cores // threads))
