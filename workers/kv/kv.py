"""The KV cache as the engine sees it: sequence ids, cells, and prefixes that sequences share.

This module keeps three accounts in step and is the only one that changes them: llama.cpp's memory
(``Memory``, so that the rest is tested without it), the ledger, which counts cells because
llama.cpp does not tell, and the prefix cache, a radix tree over the tokens of every sequence with
cells.

An example: sequence 0 computed a system prompt of 400 tokens and an answer of 100, and finished.
Its 500 cells stay as a cache ("kept"). A second chat with the same system prompt and 50 tokens of
its own attaches: the tree finds 400 tokens in common, sequence 1 shares their cells without
copying, and only 50 are computed: ``attach`` returns ``(1, 400)``, and 550 cells are in use, not
950. When cells run short, the least recently used kept sequence is evicted: 100 cells become free,
for the 400 are sequence 1's as well. With host memory (--cache-ram) whole blocks of 64 tokens that
reach past the shared prefix are saved there first, here one, and a later prompt that begins alike
gets them back instead of computing them.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from workers.kv.cells import CellLedger, Claim, LedgerMismatch
from workers.kv.host_cache import HostCache
from workers.kv.prefix_cache import WORTH, PrefixCache


class Memory(Protocol):
    """The operations of llama.cpp's memory."""

    def share(self, source: int, target: int, count: int) -> None: ...
    def drop(self, sequence: int) -> None: ...
    def length(self, sequence: int) -> int: ...
    def save(self, sequence: int, first: int, end: int) -> bytearray: ...
    def restore(self, sequence: int, first: int, end: int, state: bytearray) -> bool: ...


class KVCache:
    """Sequences with cells: running and parked ones, and finished ones kept for their prefixes."""

    def __init__(
        self,
        memory: Memory,
        n_ctx: int,
        n_seq: int,
        *,
        shares_prefixes: bool,
        host: HostCache | None = None,
    ) -> None:
        """``n_seq`` must exceed the running sequences, so that one can be evicted for a new one.

        ``host``: where prefixes go that lose their cells, if the model shares prefixes.
        """
        self._memory = memory
        self._shares_prefixes = shares_prefixes
        self._ledger = CellLedger(n_ctx)
        self._prefixes = PrefixCache(self._ledger.length)
        self._free_ids = list(range(n_seq - 1, -1, -1))
        self._n_seq = n_seq
        self._running: set[int] = set()
        """Parked ones included."""
        self._host = host if shares_prefixes else None
        self._max_kept = n_ctx // (4 if self._host is None else 8)
        """A cache is not free: each stream's attention walks over all resident cells in every step.
        Those that can come back from host memory are worth less."""
        self.restored = 0
        """Tokens whose cells came back from there, since the start."""

    @property
    def free(self) -> int:
        """Cells that no sequence holds."""
        return self._ledger.free

    @property
    def has_id(self) -> bool:
        """Return whether :meth:`attach` will find a sequence id."""
        return bool(self._free_ids or self._prefixes.kept)

    @property
    def cached(self) -> int:
        """Cells that only kept sequences hold: evicting them all would free these."""
        return self._ledger.count(Claim.KEPT)

    @property
    def used(self) -> int:
        """Cells that running and parked sequences hold."""
        return self._ledger.count(Claim.RUNNING) + self._ledger.count(Claim.PARKED)

    @property
    def host_bytes(self) -> int:
        """The host memory that saved prefixes take."""
        return 0 if self._host is None else self._host.bytes

    def room(self, *, parked: bool) -> int:
        """Cells that would be free without the kept sequences, and without the ``parked`` ones."""
        more = self._ledger.count(Claim.PARKED) if parked else 0
        return self.free + self.cached + more

    def need(self, tokens: Sequence[int], *, share: bool = True) -> int:
        """Cells of the :meth:`room` that ``tokens`` would take.

        What they would share with a running sequence is there, and stays. ``share``: as for
        :meth:`attach`.
        """
        donor, shared = self._donor(tokens) if share else (-1, 0)
        return len(tokens) - min(shared, self._ledger.running(donor))

    def coming(self, tokens: Sequence[int], computing: Iterable[int]) -> int:
        """Return how many first ``tokens`` to await and share, rather than compute twice.

        ``computing`` are the sequences that will be computed in the next steps.
        """
        return self._prefixes.coming(tokens, computing) if self._shares_prefixes else 0

    def _donor(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Find the sequence whose cells ``tokens`` can share, and how many; (-1, 0) if none."""
        return self._prefixes.longest(tokens) if self._shares_prefixes else (-1, 0)

    def attach(self, tokens: Sequence[int], *, share: bool = True) -> tuple[int, int]:
        """A sequence id for ``tokens`` (a live list) and how many of them already have cells.

        ``share``: cells of a common prefix may be those of another sequence.
        """
        if share and not self._shares_prefixes:
            whole = self._prefixes.whole(tokens)
            if whole >= 0:
                return self._take_over(whole, tokens)
        if not self._free_ids:
            self.evict()  # before the look-up, or the donor might be the one to go
        donor, shared = self._donor(tokens) if share else (-1, 0)
        seq = self._free_ids.pop()
        if shared:
            self._prefixes.use(donor)
            self._memory.share(donor, seq, shared)
            self._ledger.share(donor, seq, shared)
        self._running.add(seq)
        self._prefixes.run(seq, tokens)
        if self._shares_prefixes:
            self._drop_spare(seq)
        return seq, self._restore(seq, tokens, shared) if share else 0

    def _take_over(self, seq: int, tokens: Sequence[int]) -> tuple[int, int]:
        """Go on with a kept sequence itself: also a memory that can't be cut or shared allows that.

        Recurrent states and sliding windows are those of the last token.
        """
        self._running.add(seq)
        self._prefixes.run(seq, tokens)
        self._ledger.claim(seq, Claim.RUNNING)
        return seq, self._ledger.length(seq)

    def _restore(self, seq: int, tokens: Sequence[int], known: int) -> int:
        """Bring back what host memory has of ``tokens`` after the first ``known``.

        Returns how many have cells then. At least one is left over, as by the prefix cache.
        """
        if self._host is None:
            return known
        found = self._host.find(tokens[:-1], known)
        if not found or found[-1][0] - known < WORTH:
            return known
        block = self._host.block
        for end, state in found:
            while self.free < block and self.evict():
                pass
            if self.free < block or not self._memory.restore(seq, known, end, state):
                break
            self._ledger.extend(seq, end - known)
            self.restored += end - known
            known = end
        return known

    def _drop_spare(self, seq: int) -> None:
        """A turn of a chat goes on from the one before, which need not be kept then."""
        for other in self._prefixes.spare(seq):
            self.drop(other)

    def extend(self, seq: int, count: int) -> None:
        """``count`` more tokens of ``seq`` were computed."""
        self._ledger.extend(seq, count)

    def park(self, seq: int) -> None:
        """``seq`` pauses, and lends its cells or yields them."""
        self._prefixes.pause(seq)
        self._ledger.claim(seq, Claim.PARKED)

    def resume(self, seq: int) -> None:
        """``seq``, which was parked, goes on."""
        self._ledger.claim(seq, Claim.RUNNING)

    def keep(self, seq: int, tokens: list[int]) -> None:
        """``seq`` finished and its cells hold ``tokens``; they stay as a cache."""
        if not tokens:
            self.drop(seq)
            return
        self._running.discard(seq)
        self._prefixes.keep(seq, tokens)
        self._ledger.claim(seq, Claim.KEPT)
        if not self._shares_prefixes:
            return
        self._drop_spare(seq)
        if self._prefixes.covered(seq):
            self.drop(seq)

    def trim(self, streams: int = 1) -> None:
        """Bound the cache, before a step of so many ``streams``, each of which would pay for it.

        Not as soon as something is kept: if a lone chat goes on, nothing had to move. What can't
        come back from host memory stays, however many streams there are.
        """
        most = self._max_kept if self._host is None else self._max_kept // max(1, streams)
        if self.cached > most:
            for seq in [*self._prefixes.kept]:
                if self._ledger.length(seq) - self._ledger.shared(seq) > most:
                    self._evict(seq)  # it would drive out all others, and go all the same
        while self.cached > most:
            self.evict()

    def drop(self, seq: int) -> None:
        """``seq`` gives up its cells and its id."""
        self._memory.drop(seq)
        self._ledger.drop(seq)
        self._prefixes.forget(seq)
        self._running.discard(seq)
        self._free_ids.append(seq)

    def evict(self) -> bool:
        """Drop the kept sequence that was not used for longest; False if there is none."""
        seq = next(iter(self._prefixes.kept), None)
        if seq is None:
            return False
        self._evict(seq)
        return True

    def _evict(self, seq: int) -> None:
        self.evict_sequence(seq, self._prefixes.kept[seq])

    def evict_sequence(self, seq: int, tokens: Sequence[int]) -> None:
        """Drop ``seq`` because others need its cells, which hold ``tokens``; save them if possible.

        What others hold too need not be saved: that is done when they go.
        """
        if self._host is not None:
            self._host.save(tokens, self._ledger.shared(seq), partial(self._memory.save, seq))
        self.drop(seq)

    def check(self) -> None:
        """Raise :class:`LedgerMismatch` on a leak; for idle moments and tests."""
        self._ledger.check()
        ids = len(self._free_ids) + len(self._running) + len(self._prefixes.kept)
        if ids != self._n_seq:
            raise LedgerMismatch(f"{ids} sequence ids accounted for, there are {self._n_seq}")
        if not self._running and self.used:
            raise LedgerMismatch(f"{self.used} cells held by no sequence")
        for seq in range(self._n_seq) if self._shares_prefixes else ():
            ours, theirs = self._ledger.length(seq), self._memory.length(seq)
            if ours != theirs:
                raise LedgerMismatch(f"sequence {seq} has {theirs} cells, the ledger says {ours}")
