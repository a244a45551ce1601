"""KV bookkeeping against a memory that does as it is told, and knows what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.workers.kv.mirror import MirrorMemory, tokens_of
from workers.kv.kv import MOST_MARKS, WORTH, KVCache, LedgerMismatch, ResidentSequence
from workers.kv.snapshots import PINNED_BYTES, TOKEN_BYTES, PrefixSnapshot, SnapshotStore
from workers.planning.geometry import Geometries, Geometry

SLOTS, CELLS = 4, 1024


class Divisions(Geometries):
    """Small ones: what matters is what they hold, not that llama.cpp would round them."""

    def __init__(self) -> None:
        super().__init__(SLOTS, CELLS)
        self.base = Geometry(SLOTS, 16, unified=False)


GEOMETRIES = [
    Geometry(SLOTS, 16, unified=False),
    Geometry(2, 32, unified=False),
    Geometry(1, 64, unified=False),
    Geometry(SLOTS, 64, unified=True),
]


@dataclass
class Text:
    """A generation: its tokens, and where it is."""

    tokens: list[int]
    scope: str
    resident: ResidentSequence | None = None
    saved: PrefixSnapshot | None = None
    computed: int = 0
    """When it was paused."""
    borders: list[int] = field(default_factory=list)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common prefix, one token at a time."""
    size = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        size += 1
    return size


PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)


class Generations(RuleBasedStateMachine):
    """Sequences come, are computed, pause and end, while cells are divided anew."""

    @initialize(cuts=st.booleans(), tokens=st.integers(0, 60))
    def create(self, cuts: bool, tokens: int) -> None:
        geometries = Divisions()
        self.cuts = cuts
        self.capacity = tokens * TOKEN_BYTES
        self.memory = MirrorMemory(geometries.base, cuts=cuts)
        self.store = SnapshotStore(self.capacity)
        self.kv = KVCache(self.memory, geometries, self.store, cuts=cuts)
        self.running: list[Text] = []
        self.paused: list[Text] = []
        self.restored = 0

    def usable(self, tokens: list[int], scope: str) -> int:
        """Brute force: the most tokens that can be had of what is there and fits."""
        room = self.kv.free()
        prompt, best = tokens[:-1], 0
        found = [(s.tokens, s.marks) for s in self.store if s.scope == scope]
        found += [
            (t.tokens[: t.resident.length], t.resident.marks if not self.cuts else None)
            for t in self.running
            if t.scope == scope and t.resident is not None
        ]
        for held, marks in found:
            same = common(held, prompt)
            ends = range(same + 1) if marks is None else [mark.end for mark in marks]
            ends = [end for end in (*ends, len(held)) if end <= same]
            if len(held) <= room:
                best = max(best, *ends, 0)
        return best

    # ------------------------------------------------------------------ sequences come and go

    @precondition(lambda self: self.kv.has_number)
    @rule(
        tokens=PROMPTS,
        scope=st.sampled_from("ab"),
        share=st.booleans(),
        failing=st.integers(0, 9).map(lambda n: n == 0),
        borders=st.lists(st.integers(1, 14), max_size=3),
    )
    def attach(
        self, tokens: list[int], scope: str, share: bool, failing: bool, borders: list[int]
    ) -> None:
        expected = self.usable(tokens, scope) if share and not failing else 0
        text = Text(tokens, scope, borders=borders)
        self.memory.failing = failing
        text.resident = self.kv.attach(tokens, scope, share=share, borders=borders)
        self.memory.failing = False
        self.running.append(text)
        assert text.resident.length == expected
        self.restored += expected

    @precondition(lambda self: self.paused and self.kv.has_number)
    @rule(pick=st.integers(0, 9), share=st.booleans())
    def resume(self, pick: int, share: bool) -> None:
        text = self.paused[pick % len(self.paused)]
        if text.computed > self.kv.free():
            return
        self.paused.remove(text)
        others = self.usable(text.tokens, text.scope) if share else 0
        text.resident = self.kv.attach(
            text.tokens, text.scope, share=share, saved=text.saved, borders=text.borders
        )
        assert text.resident.length == max(text.computed, others), "paused work is not lost"
        assert text.saved is None or text.saved not in self.store
        self.restored += text.resident.length
        text.saved = None
        self.running.append(text)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9), count=st.integers(1, 10))
    def compute(self, pick: int, count: int) -> None:
        """Some of what is lacking, up to the next border; maybe a new token."""
        text = self.running[pick % len(self.running)]
        resident = text.resident
        assert resident is not None
        first = resident.length
        ends = [border for border in text.borders if border > first]
        end = min(first + count, len(text.tokens), *ends)
        if end == first or not self.memory.fits(resident.number, end - first):
            return
        self.memory.compute(resident.number, text.tokens[first:end])
        self.kv.extend(resident, end - first)
        if end in text.borders:
            self.kv.mark(resident)
        if end == len(text.tokens):
            text.tokens.append(count % 2)

    @precondition(lambda self: self.cuts and self.running)
    @rule(pick=st.integers(0, 9), count=st.integers(1, 3))
    def cut(self, pick: int, count: int) -> None:
        """Drafts that were wrong."""
        text = self.running[pick % len(self.running)]
        assert text.resident is not None
        if text.resident.length > count:
            length = text.resident.length - count
            self.kv.cut(text.resident, length)
            del text.tokens[length:]
            text.tokens.append(1)

    def leave(self, pick: int) -> tuple[Text, ResidentSequence]:
        text = self.running.pop(pick % len(self.running))
        resident, text.resident = text.resident, None
        assert resident is not None
        return text, resident

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def pause(self, pick: int) -> None:
        text, resident = self.leave(pick)
        text.computed = resident.length
        text.saved = self.kv.pause(resident)
        assert (text.saved is None) == (text.computed == 0)
        self.paused.append(text)

    @precondition(lambda self: self.paused)
    @rule(pick=st.integers(0, 9))
    def forget(self, pick: int) -> None:
        text = self.paused.pop(pick % len(self.paused))
        if text.saved is not None:
            self.kv.forget(text.saved)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def keep(self, pick: int) -> None:
        text, resident = self.leave(pick)
        tokens = text.tokens[: resident.length]
        size = (TOKEN_BYTES + 4) * len(tokens) + sum(m.state.size for m in resident.marks)
        self.kv.keep(resident)
        if tokens and size <= self.capacity:
            assert (
                self.usable([*tokens, 0], text.scope) == len(tokens) or len(tokens) > self.kv.free()
            )

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def drop(self, pick: int) -> None:
        """It failed."""
        _, resident = self.leave(pick)
        self.kv.drop(resident)

    # ------------------------------------------------------------------ where sequences are

    def lengths(self) -> list[int]:
        return [text.resident.length for text in self.running if text.resident is not None]

    @rule()
    def pack(self) -> None:
        before = self.lengths()
        self.kv.pack()
        assert self.lengths() == before, "nothing is lost"
        if not self.kv.geometry.unified:
            assert sorted(self.kv._residents) == list(range(len(self.running)))

    @rule(geometry=st.sampled_from(GEOMETRIES))
    def reshape(self, geometry: Geometry) -> None:
        """As the scheduler does it: only if it holds what is there."""
        before = self.lengths()
        if geometry.holds(before) == len(before):
            self.kv.reshape(geometry)
            assert self.lengths() == before, "nothing is lost"
            assert sorted(self.kv._residents) == list(range(len(before))), "no holes"

    # ------------------------------------------------------------------ laws

    @invariant()
    def memory_is_as_told(self) -> None:
        if not hasattr(self, "kv"):
            return
        self.kv.check()
        held = dict(self.memory.cells)
        for text in self.running:
            assert text.resident is not None
            cells = held.pop(text.resident.number, [])
            assert cells == text.tokens[: text.resident.length]
        assert not held, "cells of a sequence that is gone"
        assert self.kv.used == sum(self.lengths())
        assert self.kv.restored == self.restored

    @invariant()
    def marks_are_of_their_texts(self) -> None:
        for text in self.running if hasattr(self, "kv") else ():
            assert text.resident is not None
            marks = text.resident.marks
            assert len(marks) <= MOST_MARKS
            ends = [mark.end for mark in marks]
            assert ends == sorted(set(ends))
            assert all(tokens_of(mark.state) == text.tokens[: mark.end] for mark in marks)

    @invariant()
    def store_is_bounded(self) -> None:
        if not hasattr(self, "kv"):
            return
        pinned = [text.saved for text in self.paused if text.saved is not None]
        assert all(snapshot in self.store for snapshot in pinned), "paused work stays"
        assert self.store.bytes == sum(snapshot.size for snapshot in self.store)
        assert self.store.bytes <= self.capacity + sum(snapshot.size for snapshot in pinned)
        for snapshot in self.store:
            assert tokens_of(snapshot.state) == snapshot.tokens
            for mark in snapshot.marks or ():
                assert tokens_of(mark.state) == snapshot.tokens[: mark.end]

    def teardown(self) -> None:
        """When all is gone, all numbers are free, and nothing is pinned."""
        if not hasattr(self, "kv"):
            return
        while self.running:
            self.drop(0)
        while self.paused:
            self.forget(0)
        assert self.memory.cells == {}
        assert self.store.bytes <= self.capacity
        slots = self.kv.geometry.sequences
        found = [self.kv.attach([1], share=False).number for _ in range(slots)]
        assert found == list(range(slots)), "the lowest free number first"


Generations.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestGenerations = Generations.TestCase


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
