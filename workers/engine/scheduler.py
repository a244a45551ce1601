"""Track which sequences hold KV cells, which wait for them, and which are parked.

A sequence is in one of three places. *Running*: it has cells, and each step may compute it.
*Waiting*: it has none, because it is new or because cells ran out; the line is ordered by base
priority, and a sequence that was put back stands first among its equals. *Parked*: the gateway took
its slot; it keeps its cells until a running sequence needs them. The scheduler is the only owner of
these places. It changes the KV cache as sequences move, and computes nothing.

An example with 1,024 cells. A (600 tokens, batch) runs; B (300 tokens, urgent) arrives and is
admitted, for 600 + 300 fits. The gateway parks A, whose 600 cells stay. C needs 500: 124 are free,
kept prefixes give none, so parked A gives up its cells (to host memory, if there is some) and C is
admitted. Later B and C grow beyond 1,024 cells together: of the running ones the least urgent and
youngest, C, is put back. It waits first in line and computes its tokens again when B has ended. The
one sequence that is left always goes on, so that every step computes something.
"""

from collections.abc import Iterator

from workers.engine.sequence import Chunk, EngineSequence
from workers.kv.kv import KVCache


class Scheduler:
    """The generations of one engine."""

    def __init__(self, kv: KVCache) -> None:
        self._kv = kv
        self.running: list[EngineSequence] = []
        """Sequences with cells, oldest first."""
        self.waiting: list[EngineSequence] = []
        """Sequences without cells: new ones, and those put back when cells ran out."""
        self.parked: dict[int, EngineSequence] = {}
        """Preempted sequences by request; they hold cells, but no slot."""
        self.suspects: list[EngineSequence] = []
        """Took part in a batch that failed; each is computed alone once."""

    @property
    def busy(self) -> bool:
        """Return whether there is anything to compute."""
        return bool(self.running or self.waiting)

    @property
    def next(self) -> list[EngineSequence]:
        """Sequences that the next step may compute."""
        suspects = [sequence for sequence in self.running if sequence in self.suspects]
        return suspects[:1] or self.running

    def of(self, request: int) -> EngineSequence | None:
        """The sequence of a request, wherever it is."""
        everywhere = (*self.running, *self.waiting, *self.parked.values())
        return next((s for s in everywhere if s.request.id == request), None)

    # ------------------------------------------------------------------ requests come and go

    def arrive(self, sequence: EngineSequence) -> None:
        """A new generation, or one that was parked here and goes on without computing anything."""
        parked = self.parked.pop(sequence.request.id, None)
        if parked is not None:
            parked.request = sequence.request
        if parked is not None and parked.seq is not None:
            self._kv.resume(parked.seq)
            self.running.append(parked)
        else:
            self._wait(parked or sequence)

    def _wait(self, sequence: EngineSequence, *, first: bool = False) -> None:
        """Into the line for cells, by base priority; ``first`` or last among equals."""
        rank = sequence.request.priority
        before = [
            s.request.priority > rank or (not first and s.request.priority == rank)
            for s in self.waiting
        ]
        self.waiting.insert(before.index(False) if False in before else len(before), sequence)

    def park(self, sequence: EngineSequence) -> bool:
        """Take it off its slot; False if it is parked already."""
        if sequence.request.id in self.parked:
            return False
        owner = self.waiting if sequence in self.waiting else self.running
        owner.remove(sequence)
        self.parked[sequence.request.id] = sequence
        if sequence.seq is not None:
            self._kv.park(sequence.seq)
        return True

    def leave(self, sequence: EngineSequence, *, sound: bool) -> None:
        """Let an ended sequence go; what it computed stays as a cache if it is ``sound``."""
        for owner in (self.running, self.waiting, self.suspects):
            if sequence in owner:
                owner.remove(sequence)
        self.parked.pop(sequence.request.id, None)
        sequence.close()
        if sequence.seq is None:
            return
        if sound:
            self._kv.keep(sequence.seq, sequence.tokens[: sequence.computed])
        else:
            self._kv.drop(sequence.seq)

    def doubt(self, chunks: list[Chunk]) -> None:
        """A batch failed, which may have left any of its cells: its sequences start over alone."""
        self.suspects = [sequence for sequence, _ in chunks]
        for sequence in reversed(self.suspects):
            self.evict_running(sequence)

    def clear(self, sequence: EngineSequence) -> None:
        """All its tokens were computed without a failure."""
        if sequence in self.suspects:
            self.suspects.remove(sequence)

    # ------------------------------------------------------------------ cells

    def admit(self) -> Iterator[EngineSequence]:
        """Give cells to waiting sequences, in their order, while there is room for their tokens.

        Yields each; it may leave at once. One whose prompt begins like another's that is being
        computed lets that happen first, and shares the cells. It loses a step at most: without it
        the other's part of the budget is larger. Those behind it go past it, but not into the
        cells that it will need.
        """
        owed = 0
        for sequence in list(self.waiting):
            coming = self._coming(sequence)
            if coming:
                owed += sequence.known - coming
                continue
            # What was admitted before is owed its cells too, even if nothing is computed yet.
            growth = owed + sum(running.known - running.computed for running in self.running)
            share = sequence.shares
            need = self._kv.need(sequence.tokens, share=share)
            if self.running and need + growth > self._kv.room(parked=True):
                return
            while self.running and need + growth > self._kv.room(parked=False):
                self.evict_parked()
            self.waiting.remove(sequence)
            self.running.append(sequence)
            if not self._kv.has_id:
                self.evict_parked()
            sequence.seq, sequence.computed = self._kv.attach(sequence.tokens, share=share)
            yield sequence

    def _coming(self, sequence: EngineSequence) -> int:
        """Return how many of its first tokens other sequences are computing for it; 0: none.

        Asked anew in every step, so it goes on by itself when they stop, for whatever reason.
        Suspects may fail, and a prompt that is judged is computed in small steps: no other counts
        on them.
        """
        if not sequence.shares:
            return 0
        trusted = (s for s in self.running if s not in self.suspects and not s.scoring)
        computing = (s.seq for s in trusted)
        return self._kv.coming(sequence.tokens, (seq for seq in computing if seq is not None))

    def make_room(self) -> bool:
        """Free some cells: of a cached sequence, a parked one, the least urgent and youngest."""
        if self._kv.evict() or self.evict_parked():
            return True
        if len(self.running) < 2:
            return False
        self.evict_running(min(reversed(self.running), key=lambda s: s.request.priority))
        return True

    def evict_running(self, sequence: EngineSequence) -> None:
        """Take a running sequence's cells; it waits, and computes its tokens again later."""
        self.running.remove(sequence)
        self._evict(sequence)
        self._wait(sequence, first=True)

    def evict_parked(self) -> bool:
        """Take the cells of the parked sequence that came last; it computes them again one day."""
        for sequence in reversed(self.parked.values()):
            if sequence.seq is not None:
                self._evict(sequence)
                return True
        return False

    def _evict(self, sequence: EngineSequence) -> None:
        """Others need its cells. What a suspect's hold is not known: that is never used again."""
        assert sequence.seq is not None
        if sequence in self.suspects:
            self._kv.drop(sequence.seq)
        else:
            self._kv.evict_sequence(sequence.seq, sequence.tokens[: sequence.computed])
        sequence.seq, sequence.computed = None, 0
