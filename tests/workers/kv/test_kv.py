"""KV bookkeeping against a memory that does as it is told, and knows what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.workers.kv.mirror import MirrorMemory, tokens_of
from workers.kv.kv import MOST_MARKS, KVCache, ResidentSequence
from workers.kv.snapshots import TOKEN_BYTES, PrefixSnapshot, SnapshotStore
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
    """Tokens that it had when it was paused."""
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
        """Check that when all is gone, all numbers are free, and nothing is pinned."""
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
