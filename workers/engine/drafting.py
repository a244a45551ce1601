"""Drafts in the engine: which streams get some, and what a step with them taught."""

from collections.abc import Sequence

from workers.engine.sequence import Chunk, EngineSequence
from workers.kv.kv import KVCache
from workers.planning.speculation import Prospect, Speculation


class Drafting:
    """Gives streams their drafts before a step. A model whose memory can't be cut has none."""

    def __init__(self, rows: int) -> None:
        """``rows``: the most rows of logits of a step."""
        self._speculation = Speculation(rows)

    def propose(self, chunks: Sequence[Chunk], kv: KVCache, taken: int = 0) -> None:
        """Give all streams of a step without prompts equally many drafts, or none.

        ``taken``: cells that the step takes for something else.
        """
        streams = [sequence for sequence, _ in chunks]
        for stream in streams:
            stream.drafts = []
        if not any(stream.foresees for stream in streams) or not all(map(_decodes, streams)):
            return
        room = min(_room(kv, streams, taken), *(stream.room for stream in streams))
        length = self._speculation.length([_prospect(stream) for stream in streams], room)
        for stream in streams if length else ():
            stream.draft(length)

    def learn(self, chunks: Sequence[Chunk], drafts: int, tokens: int, ms: float) -> None:
        """A step of streams alone, with so many drafts each, brought ``tokens`` in ``ms``."""
        self._speculation.learn(len(chunks), drafts, tokens, ms)


def _room(kv: KVCache, streams: Sequence[EngineSequence], taken: int) -> int:
    """Return the most drafts that each stream has cells for, beside its own token."""
    if kv.geometry.unified:
        return (kv.geometry.total - kv.used - taken) // len(streams) - 1
    return kv.geometry.cells - max(stream.known for stream in streams)


def _decodes(sequence: EngineSequence) -> bool:
    return sequence.lacks == 1 and not sequence.scoring and sequence.medium is None


def _prospect(stream: EngineSequence) -> Prospect:
    rate = 0.0 if stream.lookup is None else stream.lookup.rate
    return Prospect(rate, stream.max_tokens - stream.sampled - 1)
