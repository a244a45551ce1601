"""KV bookkeeping in single cases, each with its reason; the laws are in ``test_kv.py``."""

import pytest

from tests.workers.kv.mirror import MirrorMemory
from workers.kv.kv import MOST_MARKS, WORTH, KVCache, LedgerMismatch, ResidentSequence
from workers.kv.snapshots import PINNED_BYTES, SnapshotStore
from workers.planning.geometry import Geometries, Geometry

SLOTS = 4


def cache(
    *, cuts: bool = True, capacity: int = 1 << 20, unified: bool = False, n_ctx: int = 2048
) -> tuple[KVCache, MirrorMemory, SnapshotStore]:
    """Four streams of 512 cells, or 2,048 together."""
    geometries = Geometries(SLOTS, n_ctx, "on" if unified else "off")
    memory, store = MirrorMemory(geometries.base, cuts=cuts), SnapshotStore(capacity)
    return KVCache(memory, geometries, store, cuts=cuts), memory, store


def compute(kv: KVCache, memory: MirrorMemory, resident: ResidentSequence) -> None:
    """All that it lacks, with a mark at each border."""
    for end in (*resident.borders, len(resident.tokens)):
        if end > resident.length:
            memory.compute(resident.number, resident.tokens[resident.length : end])
            kv.extend(resident, end - resident.length)
            if end in resident.borders:
                kv.mark(resident)


def serve(kv: KVCache, memory: MirrorMemory, tokens: list[int], *borders: int) -> int:
    """A sequence from its start to its end; the tokens that were cached."""
    resident = kv.attach(tokens, borders=borders)
    cached = resident.length
    compute(kv, memory, resident)
    kv.keep(resident)
    return cached


@pytest.mark.parametrize("unified", [False, True])
def test_a_system_prompt_in_a_longer_text_than_fits(unified: bool) -> None:
    """All of a snapshot is restored before it is cut: a shorter one is taken, if there is one."""
    kv, memory, _ = cache(unified=unified)
    system = list(range(100))
    kv.reshape(Geometry(2, 1024, unified=False))
    serve(kv, memory, [*system, *[7] * 800])
    kv.reshape(kv.geometries.base)
    beside = kv.attach([9] * 1500) if unified else None
    if beside is not None:
        compute(kv, memory, beside)
    assert serve(kv, memory, [*system[:50], 8, 8]) == 0
    assert serve(kv, memory, [*system, 6, 6]) == 50
    assert serve(kv, memory, [*system, 5, 5]) == 100
    assert memory.failed == 0


def test_the_shortest_is_copied() -> None:
    kv, memory, store = cache()
    for size in (300, 10, 200):
        serve(kv, memory, [*range(100), *[size] * size])
    assert serve(kv, memory, [*range(100), 1]) == 100
    last = list(store)[-2:]
    assert [len(snapshot.tokens) for snapshot in last] == [110, 101], "it was used last"


def test_a_few_tokens_of_a_long_text_are_not_worth_the_copy() -> None:
    kv, memory, _ = cache()
    serve(kv, memory, [1, *range(2, 300)])
    assert serve(kv, memory, [1, 1]) == 0
    assert serve(kv, memory, [1, 2, 1]) == 2


def test_a_snapshot_that_fails_is_tried_once() -> None:
    kv, memory, store = cache()
    serve(kv, memory, [1] * 50)
    memory.failing = True
    assert serve(kv, memory, [*[1] * 50, 2]) == 0
    assert serve(kv, memory, [*[1] * 50, 2, 3]) == 0
    assert memory.failed == 2, "once each"
    memory.failing = False
    assert serve(kv, memory, [*[1] * 50, 2, 3, 4]) == 52
    assert len(list(store)) == 1


def test_a_move_that_fails_computes_anew() -> None:
    kv, memory, _ = cache()
    residents = [kv.attach([n] * 20) for n in range(3)]
    for resident in residents:
        compute(kv, memory, resident)
    kv.drop(residents[0])
    memory.failing = True
    kv.pack()
    assert [(r.number, r.length) for r in residents[1:]] == [(1, 20), (0, 0)]
    kv.check()


def test_without_a_capacity_running_sequences_still_lend() -> None:
    kv, memory, store = cache(capacity=0)
    first = kv.attach([1] * 40)
    compute(kv, memory, first)
    assert kv.attach([*[1] * 40, 2]).length == 40
    assert not list(store)
    saved = memory.saved
    kv.keep(first)
    assert memory.saved == saved, "what would not be kept is not copied"


@pytest.mark.parametrize("capacity", [0, 2000, 1 << 20])
def test_paused_work_outlives_a_full_store(capacity: int) -> None:
    kv, memory, store = cache(capacity=capacity)
    tokens = [1] * 100
    resident = kv.attach(tokens)
    compute(kv, memory, resident)
    saved = kv.pause(resident)
    assert saved is not None
    for n in range(2, 12):
        serve(kv, memory, [n] * 100)
    tokens.append(1)
    assert kv.attach(tokens, share=False, saved=saved).length == 100
    assert saved not in store
    assert store.bytes <= capacity


def test_paused_work_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest loses its right, and its memory; it is computed again."""
    monkeypatch.setattr("workers.kv.snapshots.PINNED_BYTES", 3000)
    assert PINNED_BYTES > 3000
    kv, memory, store = cache(capacity=0)
    paused = []
    for n in range(4):
        resident = kv.attach([n] * 100)
        compute(kv, memory, resident)
        paused.append(kv.pause(resident))
    assert store.bytes <= 3000
    lost, *_, last = paused
    assert lost is not None
    assert lost.state.size == 0
    assert kv.attach([0] * 101, share=False, saved=lost).length == 0
    assert kv.attach([3] * 101, share=False, saved=last).length == 100


def test_a_turn_takes_the_place_of_the_one_before() -> None:
    """A chat is kept once, however many turns it has."""
    for cuts in (True, False):
        kv, memory, store = cache(cuts=cuts)
        tokens = [1] * 5
        for turn in range(6):
            assert serve(kv, memory, list(tokens)) == (len(tokens) - 3 if turn else 0)
            assert [snapshot.tokens for snapshot in store] == [tokens]
            tokens += [7, 8, 9]


def test_parking_leaves_the_borders_marks() -> None:
    """Where a sequence was parked no other will part from it."""
    kv, memory, _ = cache(cuts=False)
    tokens = list(range(50))
    resident = kv.attach(tokens, borders=[10, 30, 40])
    compute(kv, memory, resident)
    for n in range(2 * MOST_MARKS):
        saved = kv.pause(resident)
        tokens.append(n)
        resident = kv.attach(tokens, saved=saved, borders=[10, 30, 40])
        assert resident.length == len(tokens) - 1
        compute(kv, memory, resident)
    kv.keep(resident)
    assert serve(kv, memory, [*range(30), 9, 9]) == 30
    assert serve(kv, memory, [*range(45), 9, 9]) == 40


def test_the_first_mark_stays() -> None:
    """Of many, that at which agents' common prompt ends, and the last ones."""
    kv, memory, _ = cache(cuts=False)
    borders = list(range(10, 10 * 3 * MOST_MARKS, 10))
    resident = kv.attach(list(range(300)), borders=borders)
    compute(kv, memory, resident)
    assert [mark.end for mark in resident.marks] == [10, *borders[1 - MOST_MARKS :]]


@pytest.mark.parametrize("cuts", [True, False])
def test_what_is_coming(cuts: bool) -> None:
    kv, memory, _ = cache(cuts=cuts)
    first = kv.attach(list(range(60)), borders=[20, 40])
    expected = 50 if cuts else 40
    prompt = [*range(50), 99]
    assert kv.coming(prompt, "", [first]) == expected
    assert kv.coming(prompt, "other", [first]) == 0
    assert kv.coming(prompt, "", []) == 0
    assert kv.coming(prompt[: WORTH - 1], "", [first]) == 0, "not worth a wait"
    memory.compute(first.number, range(20))
    kv.extend(first, 20)
    kv.mark(first)
    assert kv.coming(prompt, "", [first]) == expected
    compute(kv, memory, first)
    assert kv.coming(prompt, "", [first]) == 0, "it is there"


def test_a_leak_is_found() -> None:
    """The account is ours; what it says is held against llama.cpp's own memory."""
    kv, memory, _ = cache()
    resident = kv.attach([1, 2, 3])
    compute(kv, memory, resident)
    kv.check()
    memory.cells[0].pop()
    with pytest.raises(LedgerMismatch, match="sequence 0 has 2 cells, we say 3"):
        kv.check()
    kv.drop(resident)
    kv.check()
    memory.cells[3] = [1]
    with pytest.raises(LedgerMismatch, match="sequence 3 has 1 cells, we say 0"):
        kv.check()
