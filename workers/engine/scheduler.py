"""Track which sequences hold KV cells, which wait for them, and which are parked.

A sequence is in one of three places. *Running*: it has cells, and each step may compute it.
*Waiting*: it has none, because it is new or because cells ran out; the line is ordered by base
priority, and a sequence that was put back stands first among its equals. *Parked*: the gateway took
its slot; what it computed is kept in host memory. The scheduler is the only owner of these places.
It changes the KV cache as sequences move, and computes nothing.

It also sees that the cells are divided as the sequences need it: each its own, as long as that
holds as many at once as cells in common would.

An example with 1,024 cells in common. A (600 tokens, batch) runs; B (300 tokens, urgent) arrives
and is admitted, for 600 + 300 fits. C needs 500 and waits. The gateway parks A, whose state goes to
host memory, and C is admitted. Later B and C grow beyond 1,024 cells together: of the running ones
the least urgent and youngest, C, is put back, its state saved. It waits first in line. The one
sequence that is left always goes on, so that every step computes something. Were A spare, C would
not wait for the gateway: A would be put back at once.
"""

from collections.abc import Iterator

from workers.engine.sequence import Chunk, EngineSequence
from workers.kv.kv import KVCache
from workers.planning.geometry import Geometry

CALM = 64
"""Steps for which another division of cells must have been better, if none needs it: it costs as
much as ten steps."""


class Scheduler:
    """The generations of one engine."""

    def __init__(self, kv: KVCache) -> None:
        self._kv = kv
        self.running: list[EngineSequence] = []
        """Sequences with cells, oldest first."""
        self.waiting: list[EngineSequence] = []
        """Sequences without cells: new ones, and those put back when cells ran out."""
        self.parked: dict[int, EngineSequence] = {}
        """Preempted sequences by request; they hold no slot."""
        self.suspects: list[EngineSequence] = []
        """Took part in a batch that failed; each is computed alone once."""
        self._calm = 0
        """Steps since another division of cells became better."""

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

    def using(self, adapter: str) -> list[EngineSequence]:
        """Return the sequences that need an adapter."""
        everywhere = (*self.running, *self.waiting, *self.parked.values())
        return [s for s in everywhere if any(digest == adapter for digest, _ in s.adapted)]

    # ------------------------------------------------------------------ requests come and go

    def arrive(self, sequence: EngineSequence) -> None:
        """A new generation, or one that was parked here and goes on without computing anything."""
        parked = self.parked.pop(sequence.request.id, None)
        if parked is not None:
            parked.request = sequence.request
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
        self._pause(sequence)
        return True

    def leave(self, sequence: EngineSequence, *, sound: bool) -> None:
        """Let an ended sequence go; what it computed stays as a cache if it is ``sound``."""
        for owner in (self.running, self.waiting, self.suspects):
            if sequence in owner:
                owner.remove(sequence)
        self.parked.pop(sequence.request.id, None)
        sequence.close()
        if sequence.saved is not None:
            self._kv.forget(sequence.saved)
        if sequence.resident is not None:
            (self._kv.keep if sound else self._kv.drop)(sequence.resident)
            sequence.resident = None

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
        computed lets that happen first, and copies it. It loses a step at most: without it the
        other's part of the budget is larger. Those behind it go past it, but not into the cells
        that it will need.
        """
        self._divide()
        owed = 0
        for sequence in list(self.waiting):
            coming = self._coming(sequence)
            if coming:
                owed += sequence.known
                continue
            if not self._fits(sequence, owed):
                return
            if not self._kv.has_number:
                return
            self.waiting.remove(sequence)
            self.running.append(sequence)
            self._attach(sequence)
            yield sequence

    def _fits(self, sequence: EngineSequence, owed: int) -> bool:
        """Return whether there are cells for a sequence, for which spare ones give theirs up."""
        while self.running:
            # What was admitted before is owed its cells too, even if nothing is computed yet.
            growth = owed + sum(running.lacks for running in self.running)
            if sequence.known <= self._kv.free(growth):
                break
            least = self._least()
            if sequence.request.spare or not least.request.spare:
                return False
            self.evict_running(least)
        return True

    def _attach(self, sequence: EngineSequence) -> None:
        saved, sequence.saved = sequence.saved, None
        sequence.resident = self._kv.attach(
            sequence.tokens,
            sequence.scope,
            share=sequence.shares,
            saved=saved,
            borders=sequence.borders,
            shift=sequence.shift,
            runs=sequence.media.runs,
        )
        sequence.begun = sequence.computed

    def _coming(self, sequence: EngineSequence) -> int:
        """Return how many of its first tokens other sequences are computing for it; 0: none.

        Asked anew in every step, so it goes on by itself when they stop, for whatever reason.
        Suspects may fail, and a prompt that is judged is computed in small steps: no other counts
        on them.
        """
        if not sequence.shares or sequence.saved is not None:
            return 0
        trusted = (s for s in self.running if s not in self.suspects and not s.scoring)
        computing = (s.resident for s in trusted if s.resident is not None)
        return self._kv.coming(sequence.tokens, sequence.scope, computing, sequence.shift)

    def _divide(self) -> None:
        """Divide the cells in another way, if that must be or has been better for long."""
        claims = [s.needs for s in (*self.running, *self.waiting)]
        current = self._kv.geometry
        wanted = self._kv.geometries.choose(claims)
        if not claims or wanted == current:
            self._calm = 0
            return
        self._calm += 1
        longest = max(s.known for s in (*self.running, *self.waiting))
        needed = longest > current.cells or wanted.holds(claims) > current.holds(claims)
        if needed or self._calm > CALM:
            self._calm = 0
            self._reshape(wanted)

    def _reshape(self, geometry: Geometry) -> None:
        # Rounding gives streams more cells in all than a unified cache has.
        while len(self.running) > geometry.sequences or self._kv.used > geometry.total:
            self.evict_running(self._least())
        self._kv.reshape(geometry)

    def _least(self) -> EngineSequence:
        """The running sequence that gives way first: the least urgent, of these the youngest."""
        return min(reversed(self.running), key=lambda s: s.request.priority)

    def make_room(self) -> bool:
        """Free the cells of the least urgent and youngest; False for the last one."""
        if len(self.running) < 2:
            return False
        self.evict_running(self._least())
        return True

    def evict_running(self, sequence: EngineSequence) -> None:
        """Take a running sequence's cells; it waits, and goes on from there later."""
        self.running.remove(sequence)
        self._pause(sequence)
        self._wait(sequence, first=True)

    def _pause(self, sequence: EngineSequence) -> None:
        """Save what it computed. What a suspect's cells hold is not known: that is never used."""
        resident, sequence.resident = sequence.resident, None
        if resident is None:
            return
        if sequence in self.suspects:
            self._kv.drop(resident)
        else:
            sequence.saved = self._kv.pause(resident)
