"""KV bookkeeping against a naive model: sets of cells, and a memory that does as it is told."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workers.kv.cells import LedgerMismatch
from workers.kv.host_cache import HostCache
from workers.kv.kv import KVCache
from workers.kv.prefix_cache import WORTH


class MirrorMemory:
    """Implements :class:`workers.kv.kv.Memory`: the cells as llama.cpp has them."""

    def __init__(self) -> None:
        self.cells: dict[int, list[int]] = {}
        self.shared: tuple[int, int, int] | None = None
        self.texts: dict[int, tuple[int, ...]] = {}
        """What a cell was computed from, for tests that want to know: all tokens up to its own."""
        self.states: list[tuple[int, list[int]]] = []
        self._next = 0

    def compute(self, sequence: int, count: int, tokens: list[int] | None = None) -> None:
        fresh = range(self._next, self._next + count)
        self._next += count
        held = self.cells.setdefault(sequence, [])
        for cell in fresh:
            held.append(cell)
            self.texts[cell] = tuple(tokens[: len(held)]) if tokens is not None else ()

    def save(self, sequence: int, first: int, end: int) -> bytearray:
        assert end <= len(self.cells[sequence]), "cells that nobody computed"
        self.states.append((first, self.cells[sequence][first:end]))
        return bytearray((len(self.states) - 1).to_bytes(4, "big"))

    def restore(self, sequence: int, first: int, end: int, state: bytearray) -> bool:
        start, cells = self.states[int.from_bytes(state, "big")]
        assert start <= first == self.length(sequence) < end == start + len(cells)
        for cell in cells[first - start :]:
            self.compute(sequence, 1)
            self.texts[self.cells[sequence][-1]] = self.texts[cell]
        return True

    def share(self, source: int, target: int, count: int) -> None:
        assert not self.cells.get(target), "the target of a copy must be empty"
        assert len(self.cells.get(source, [])) >= count, "cells that nobody computed"
        self.cells[target] = self.cells[source][:count]
        self.shared = (source, target, count)

    def drop(self, sequence: int) -> None:
        self.cells.pop(sequence, None)

    def length(self, sequence: int) -> int:
        return len(self.cells.get(sequence, []))

    def held_by(self, sequences: set[int]) -> set[int]:
        return {cell for seq in sequences for cell in self.cells.get(seq, [])}


def common(left: list[int], right: list[int]) -> int:
    """Length of the common prefix, one token at a time."""
    size = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        size += 1
    return size


LONG = st.builds(
    lambda n, more: [0] * n + more, st.integers(15, 40), st.lists(st.integers(0, 1), max_size=9)
)


class Generations(RuleBasedStateMachine):
    """Sequences come, are computed and finish or fail, in a small cache."""

    @initialize(
        n_ctx=st.integers(8, 90),
        n_seq=st.integers(2, 6),
        shares=st.booleans(),
        states=st.integers(0, 6),
    )
    def create(self, n_ctx: int, n_seq: int, shares: bool, states: int) -> None:
        self.n_ctx, self.n_seq, self.shares = n_ctx, n_seq, shares
        self.memory = MirrorMemory()
        self.host = HostCache(4 * states, block=5) if states else None
        self.kv = KVCache(self.memory, n_ctx, n_seq, shares_prefixes=shares, host=self.host)
        self.max_kept = n_ctx // (8 if states and shares else 4)
        self.running: dict[int, list[int]] = {}
        self.kept: dict[int, list[int]] = {}
        """Finished sequences, least recently used first."""
        self.parked: set[int] = set()
        self.said_first: dict[int, int] = {}
        """How many tokens of a running sequence others may have: not what it says, yet."""

    def computed(self, seq: int) -> int:
        return len(self.memory.cells.get(seq, []))

    def best_donor(self, prompt: list[int]) -> int:
        """Brute force: the most tokens that any sequence could share; one is always left over."""
        running = {s: tokens[: self.said_first[s]] for s, tokens in self.running.items()}
        donors = {**self.kept, **running} if self.shares else {}
        limit = len(prompt) - 1
        if not self.shares:
            whole = [t for t in self.kept.values() if len(t) <= limit and t == prompt[: len(t)]]
            return max(map(len, whole), default=0)
        sizes = [min(limit, self.computed(s), common(t, prompt)) for s, t in donors.items()]
        return max(sizes, default=0)

    @precondition(lambda self: len(self.running) < self.n_seq)
    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=10) | LONG)
    def attach(self, prompt: list[int]) -> None:
        whole = not self.shares and self.best_donor(prompt) > 0
        if len(self.running) + len(self.kept) == self.n_seq and not whole:
            self.oldest_goes()
        expected = self.best_donor(prompt)
        self.memory.shared = None
        need, room = self.kv.need(prompt), self.kv.room(parked=False)
        assert self.memory.shared is None, "asking changes nothing"
        seq, shared = self.kv.attach(prompt)
        # With all of the prompt computed, that much less is free or can be freed; never more.
        assert room - self.kv.room(parked=False) + len(prompt) - shared <= need
        if len(prompt) <= WORTH:
            assert self.kv.coming(prompt, [seq]) == 0, "short prompts are not worth a wait"
        back = shared - expected
        assert back == 0 or (self.host is not None and self.shares and back >= 1)
        shared -= back
        kept = list(self.kv._prefixes.kept)
        assert seq not in self.running
        if whole:
            assert self.kept.pop(seq) == prompt[:shared]
        elif shared:
            assert self.memory.shared is not None
            source, target, count = self.memory.shared
            assert (target, count) == (seq, shared)
            donor = self.running.get(source) or self.kept[source]
            assert donor[:shared] == prompt[:shared]
            if source in self.kept:  # used just now
                self.kept[source] = self.kept.pop(source)
        self.running[seq] = prompt
        self.said_first[seq] = len(prompt)
        self.spare(prompt[:shared])
        if back:  # others may have made room for it, the oldest first
            assert kept == list(self.kept)[len(self.kept) - len(kept) :]
            self.kept = {seq: self.kept[seq] for seq in kept}

    @precondition(lambda self: set(self.running) - self.parked)
    @rule(pick=st.integers(0, 9), count=st.integers(1, 10))
    def compute(self, pick: int, count: int) -> None:
        """A step of the engine: some of what is lacking, if cells are free; maybe a new token."""
        active = sorted(set(self.running) - self.parked)
        seq = active[pick % len(active)]
        tokens = self.running[seq]
        count = min(count, len(tokens) - self.computed(seq), self.kv.free)
        if count <= 0:
            return
        self.memory.compute(seq, count, tokens)
        self.kv.extend(seq, count)
        if self.computed(seq) == len(tokens):
            tokens.append(count % 2)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def park_or_resume(self, pick: int) -> None:
        seq = sorted(self.running)[pick % len(self.running)]
        if seq in self.parked:
            self.kv.resume(seq)
            self.parked.remove(seq)
        else:
            self.kv.park(seq)
            self.parked.add(seq)
            self.said_first[seq] = len(self.running[seq])

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def finish(self, pick: int) -> None:
        seq = sorted(self.running)[pick % len(self.running)]
        tokens = self.running.pop(seq)[: self.computed(seq)]
        self.parked.discard(seq)
        cells = {s: set(c) for s, c in self.memory.cells.items()}
        self.kv.keep(seq, tokens)
        if not tokens:
            return
        if not self.shares:
            self.kept[seq] = tokens
            return
        self.spare(tokens)
        donors = {**self.kept, **self.running}
        if not any(self.cut(t, cells, s)[: len(tokens)] == tokens for s, t in donors.items()):
            self.kept[seq] = tokens

    @rule(streams=st.integers(0, 4))
    def trim(self, streams: int) -> None:
        """Who alone has too much goes first, then the oldest."""
        cells = {s: set(c) for s, c in self.memory.cells.items()}
        saved = self.host is not None and self.shares
        most = self.max_kept // max(1, streams) if saved else self.max_kept
        self.kv.trim(streams)
        assert self.kv.cached <= most
        for seq in list(self.kept):
            everyone = {**self.kept, **self.running}
            others = {cell for s in everyone if s != seq for cell in cells.get(s, ())}
            over = self.only_kept(cells) > most
            if over and len(cells[seq] - others) > most:
                del self.kept[seq]
        while self.only_kept(cells) > most:
            self.oldest_goes()

    def cut(self, tokens: list[int], cells: dict[int, set[int]], seq: int) -> list[int]:
        """What others can see of a sequence, and has cells."""
        seen = tokens[: self.said_first[seq]] if seq in self.running else tokens
        return seen[: len(cells.get(seq, ()))]

    def spare(self, tokens: list[int]) -> None:
        """Who only holds a prefix of ``tokens`` is not kept beside them."""
        kept = self.kept.items() if self.shares else ()
        for seq in [s for s, t in kept if t == tokens[: len(t)]]:
            del self.kept[seq]

    def only_kept(self, cells: dict[int, set[int]]) -> int:
        """Cells that would be free without the kept sequences, given who held what."""
        kept: set[int] = set().union(*(cells.get(seq, set()) for seq in self.kept))
        return len(kept.difference(*(cells.get(seq, set()) for seq in self.running)))

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9))
    def drop(self, pick: int) -> None:
        """Failed, or put back into the queue."""
        seq = sorted(self.running)[pick % len(self.running)]
        del self.running[seq]
        self.parked.discard(seq)
        self.kv.drop(seq)

    @rule()
    def evict(self) -> None:
        had = bool(self.kept)
        assert self.kv.evict() == had
        if had:
            self.oldest_goes()

    def oldest_goes(self) -> None:
        del self.kept[next(iter(self.kept))]

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "kv"):
            return
        self.kv.check()
        everyone = set(self.running) | set(self.kept)
        assert set(self.memory.cells) <= everyone, "cells of a sequence that is gone"
        assert all(self.computed(seq) == len(tokens) for seq, tokens in self.kept.items())
        for seq, tokens in {**self.running, **self.kept}.items():
            for index, cell in enumerate(self.memory.cells.get(seq, [])):
                assert self.memory.texts[cell] == tuple(tokens[: index + 1])
        running = self.memory.held_by(set(self.running))
        kept = self.memory.held_by(set(self.kept))
        assert self.kv.used == len(running)
        assert self.kv.cached == len(kept - running)
        assert self.kv.free == self.n_ctx - len(running | kept)
        assert self.kv.room(parked=False) == self.n_ctx - len(running)
        active = self.memory.held_by(set(self.running) - self.parked)
        assert self.kv.room(parked=True) == self.n_ctx - len(active)

    def teardown(self) -> None:
        """When all is gone, all is free: ids and cells."""
        if not hasattr(self, "kv"):
            return
        for seq in list(self.running):
            self.kv.drop(seq)
        while self.kv.evict():
            pass
        assert self.kv.free == self.n_ctx
        assert self.memory.cells == {}
        seqs = {self.kv.attach([1])[0] for _ in range(self.n_seq)}
        assert seqs == set(range(self.n_seq))


Generations.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestGenerations = Generations.TestCase


def test_running_donors_cells_are_not_needed_again() -> None:
    """What is shared with a running sequence costs nothing; with a kept or parked one it does."""
    kv = cache(n_ctx=200)
    first, _ = kv.attach(list(range(30)))
    compute(kv, first, 30)
    prompt = [*range(29), 99]
    assert kv.need(prompt) == 1
    kv.park(first)
    assert kv.need(prompt) == 30, "the room beside it counts these cells as free"
    kv.resume(first)
    assert kv.need(prompt) == 1
    kv.keep(first, list(range(30)))
    assert kv.need(prompt) == 30
    second, _ = kv.attach([*range(20), 98])
    assert kv.need(prompt) == 10, "a running sequence holds 20 of the kept one's"
    kv.drop(second)


def test_a_turn_takes_the_place_of_the_one_before() -> None:
    """A chat is kept once, however many turns it has; what only it had is not lost."""
    kv = cache()
    tokens = [1] * 5
    for turn in range(6):
        seq, shared = kv.attach(tokens)
        assert shared == (len(tokens) - 3 if turn else 0)
        assert not kv._prefixes.kept
        compute(kv, seq, len(tokens) - shared)
        kv.keep(seq, tokens)
        assert list(kv._prefixes.kept) == [seq]
        assert kv.cached == len(tokens)
        tokens = [*tokens, 7, 8, 9]


def test_what_another_holds_is_not_kept_twice() -> None:
    """Two that computed the same at once; the shorter, or the first of equals, is not kept."""
    kv = cache()
    a, b = (kv.attach([1] * 10)[0] for _ in range(2))
    for seq in (a, b):
        compute(kv, seq, 10)
    kv.keep(a, [1] * 8)
    assert (list(kv._prefixes.kept), kv.cached) == ([], 0), "the running one has them"
    kv.keep(b, [1] * 10)
    assert (list(kv._prefixes.kept), kv.cached) == ([b], 10)


def test_donor_is_evicted_last() -> None:
    kv = cache()
    for token in (1, 2):
        seq, _ = kv.attach([token] * 10)
        compute(kv, seq, 10)
        kv.keep(seq, [token] * 10)
    kv.attach([1] * 10 + [3])
    kv.evict()
    assert kv.need([1] * 10 + [4]) == 1
    assert kv.attach([2] * 10 + [4])[1] == 0


@pytest.mark.parametrize("shares", [True, False])
def test_what_is_coming(shares: bool) -> None:
    kv = KVCache(MirrorMemory(), 100, 4, shares_prefixes=shares)
    first, _ = kv.attach(list(range(60)))
    prompt = [*range(50), 99]
    assert kv.coming(prompt, [first]) == (50 if shares else 0)
    assert kv.coming(prompt, []) == 0
    compute(kv, first, 30)
    assert kv.coming(prompt, [first]) == (50 if shares else 0)
    compute(kv, first, 20)
    assert kv.coming(prompt, [first]) == 0, "it is there"


def compute(kv: KVCache, seq: int, count: int) -> None:
    memory = kv._memory
    assert isinstance(memory, MirrorMemory)
    memory.compute(seq, count)
    kv.extend(seq, count)


def cache(n_ctx: int = 100, n_seq: int = 4) -> KVCache:
    return KVCache(MirrorMemory(), n_ctx, n_seq, shares_prefixes=True)


def test_check_finds_a_lost_sequence_id() -> None:
    kv = cache()
    kv._free_ids.pop()
    with pytest.raises(AssertionError, match="3 sequence ids accounted for, there are 4"):
        kv.check()


def test_check_finds_cells_without_owner() -> None:
    kv = cache()
    kv._ledger.extend(9, 5)
    with pytest.raises(AssertionError, match="5 cells held by no sequence"):
        kv.check()


def test_check_finds_wrong_references() -> None:
    kv = cache()
    seq, _ = kv.attach([1, 2])
    kv.extend(seq, 2)
    kv._ledger._last[seq].holders[0] += 1
    with pytest.raises(AssertionError, match="runs of cells and holders disagree"):
        kv.check()


def test_long_finished_sequence_is_not_kept() -> None:
    """Resident cells slow every step down, so the cache is a quarter of the context at most.

    Nor does it drive out the others.
    """
    memory = MirrorMemory()
    kv = KVCache(memory, 100, 4, shares_prefixes=True)
    for size, kept in ((25, 25), (26, 0)):
        tokens = list(range(size))
        seq, _ = kv.attach(tokens)
        memory.compute(seq, size - kv._ledger.length(seq))
        kv.extend(seq, size - kv._ledger.length(seq))
        kv.keep(seq, tokens)
        assert kv.cached == size, "it may go on before others come"
        kv.trim()
        assert kv.cached == kept


def test_cells_that_llama_cpp_lacks_are_noticed() -> None:
    """The ledger is ours; what it says is held against llama.cpp's own memory."""
    memory = MirrorMemory()
    kv = KVCache(memory, 64, 4, shares_prefixes=True)
    seq, _ = kv.attach([1, 2, 3])
    memory.compute(seq, 3)
    kv.extend(seq, 3)
    kv.check()
    memory.cells[seq].pop()
    with pytest.raises(LedgerMismatch, match=f"sequence {seq} has 2 cells, the ledger says 3"):
        kv.check()
