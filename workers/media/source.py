"""Rows of media for prompts: from the cache, or from the encoder.

A medium that this worker has not met is encoded while its prompt is prepared, in a thread that no
other prompt waits for; but first its layout is asked for, so that nothing is encoded for a prompt
that is too long. Of one that it has met the layout is known, which is all that the prompt
needs: as a rule its cells are found in the prefix cache, and no row is needed. Where they are not,
the engine asks for the rows, goes on with what else there is, and is woken when they are there.

A medium is met anew in each cache scope, as prefixes are: how soon an answer comes must not tell
one client that another has sent the same picture.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence

from workers.media.cache import MediaCache
from workers.media.encoder import MediaEncoder
from workers.media.messages import Encoded, MediumRows, Words
from workers.planning.media_runs import Run, Runs, pseudo_tokens
from workers.protocol import NOT_SUPPORTED, Medium, WorkerSpec
from workers.refused import InputRefused


class MediumSlot:
    """A medium of one prompt: what the engine needs of it until its rows have cells."""

    def __init__(
        self, medium: Medium, key: str, layout: Encoded, encoded: Encoded | None, *, new: bool
    ) -> None:
        """``key``: its name in the cache. ``encoded``: with its rows, if these are there.

        ``new``: this worker has not met it.
        """
        self.medium = medium
        self.key = key
        self.layout = layout
        self.encoded = encoded
        self.new = new
        self.refused: InputRefused | None = None
        """The reason why there will be no rows."""
        self.asked = False
        """True while the rows are being fetched."""


class PlacedRun:
    """A run of a prompt, and whose rows it is."""

    __slots__ = ("at", "run", "slot")

    def __init__(self, run: Run, slot: MediumSlot, at: int) -> None:
        """``at``: which piece of the medium it is."""
        self.run, self.slot, self.at = run, slot, at

    @property
    def rows(self) -> MediumRows:
        """Return the rows, with their values if these are there."""
        piece = (self.slot.encoded or self.slot.layout).pieces[self.at]
        assert isinstance(piece, MediumRows)
        return piece


class MediaSource:
    """The media of one worker. For any thread, :meth:`ask` for the engine's."""

    def __init__(self, encoder: MediaEncoder, spec: WorkerSpec) -> None:
        """Waits until the encoder is ready. Raises :class:`workers.media.encoder.EncoderFailed`."""
        self._encoder = encoder
        opened = encoder.open()
        self._key = opened.key
        self.sees, self.hears = opened.sees, opened.hears
        self._name = spec.name
        self._lock = threading.Lock()
        self._cache = MediaCache(spec.media.cache_bytes)
        self._eager = not spec.disk_bytes
        """False: cells of what this process has not met may be in files."""
        self._asked: queue.SimpleQueue[MediumSlot] = queue.SimpleQueue()
        self.wake: Callable[[], None] = lambda: None
        """Called when rows that were asked for are there, or will never be."""

    def slot(self, medium: Medium, scope: str = "") -> MediumSlot:
        """Return what a prompt of a cache scope needs of a medium. Raises InputRefused."""
        self._check(medium)
        key = f"{medium.digest} {scope}" if scope else medium.digest
        with self._lock:
            known = self._cache.layout(key)
            encoded = self._cache.get(key)
        layout = known or self._encoder.encode(medium, rows=False)
        if known is None:
            with self._lock:
                self._cache.put_layout(key, layout)
        return MediumSlot(medium, key, layout, encoded, new=known is None)

    def encode_new(self, slots: Iterable[MediumSlot]) -> None:
        """Encode what is new, unless its cells may have been kept by another process.

        Raises InputRefused.
        """
        for slot in slots if self._eager else ():
            if slot.new and slot.encoded is None:
                slot.encoded = self._encode(slot.medium, slot.key)

    def count(self, medium: Medium) -> int:
        """Return how many tokens a medium takes, without encoding it. Raises InputRefused.

        The cache is not asked: nobody says for which scope that would be.
        """
        self._check(medium)
        return self._encoder.encode(medium, rows=False).count

    def placed(self, slot: MediumSlot, start: int) -> tuple[list[int], list[PlacedRun]]:
        """Return a medium's tokens, and its runs in a prompt where it begins at ``start``."""
        tokens, runs = list[int](), list[PlacedRun]()
        for at, piece in enumerate(slot.layout.pieces):
            if isinstance(piece, Words):
                tokens += piece.ids
                continue
            first = start + len(tokens)
            key = f"{self._key} {slot.medium.digest} {at}"
            tokens += pseudo_tokens(key, piece.count)
            run = Run(first, first + piece.count, piece.positions)
            runs.append(PlacedRun(run, slot, at))
        return tokens, runs

    def ask(self, slot: MediumSlot) -> None:
        """Have a medium's rows fetched; :attr:`wake` is called when that is over."""
        if slot.asked:
            return
        with self._lock:
            slot.encoded = self._cache.get(slot.key)
        if slot.encoded is None:
            slot.asked = True
            self._asked.put(slot)

    def fetch(self) -> None:
        """Fetch what the engine asks for, for ever, in a thread of its own."""
        while True:
            slot = self._asked.get()
            try:
                slot.encoded = self._encode(slot.medium, slot.key)
            except InputRefused as refused:
                slot.refused = refused
            slot.asked = False
            self.wake()

    def _encode(self, medium: Medium, key: str) -> Encoded:
        encoded = self._encoder.encode(medium)
        with self._lock:
            self._cache.put(key, encoded)
        return encoded

    def _check(self, medium: Medium) -> None:
        if not (self.sees if medium.kind == "image" else self.hears):
            raise not_taken(medium, self._name)


def not_taken(medium: Medium, name: str) -> InputRefused:
    """Return the refusal of a medium by a model that takes none of its kind."""
    kind = "pictures" if medium.kind == "image" else "sound"
    message = f"'{medium.param}': {name} does not take {kind}"
    return InputRefused(NOT_SUPPORTED, message, medium.param)


class SequenceMedia:
    """The runs of a sequence, for the engine."""

    def __init__(self, placed: Sequence[PlacedRun] = ()) -> None:
        self.placed = placed
        self.runs = Runs(each.run for each in placed)
        self.starts = tuple(each.run.start for each in placed)

    def at(self, index: int) -> PlacedRun | None:
        """Return the run that token ``index`` is in, if it is a row."""
        return next((p for p in self.placed if p.run.start <= index < p.run.end), None)


NO_MEDIA = SequenceMedia()
