"""The tokens of a prompt with media, and where their rows are."""

from collections.abc import Iterator, Sequence

from workers.llama.tokenizer import Part, Tokenizer
from workers.media.marks import Marks, pieces
from workers.media.source import MediaSource, MediumSlot, PlacedRun, SequenceMedia
from workers.planning.media_runs import Run
from workers.protocol import Medium


class MediaPrompt:
    """Tokens with the runs of media among them; what is cut off or put before moves both."""

    def __init__(self, tokens: list[int], placed: Sequence[PlacedRun]) -> None:
        self.tokens = tokens
        self._placed = list(placed)

    @property
    def media(self) -> SequenceMedia:
        """Return the runs."""
        return SequenceMedia(self._placed)

    @property
    def slots(self) -> Iterator[MediumSlot]:
        """The media, in the order of the runs; one that is there twice, twice."""
        return (each.slot for each in self._placed)

    def fit(self, tokens: list[int]) -> None:
        """Take ``tokens``, which end like the present ones after others, in their place."""
        moved = len(tokens) - len(self.tokens)
        self.tokens = tokens
        self._placed = [_moved(each, moved) for each in self._placed]

    def cut(self, kept: int, room: int) -> None:
        """Leave the first ``kept`` tokens and the last, ``room`` in all: no part of a medium."""
        end = len(self.tokens) - room + kept
        for each in self._placed:
            if each.run.start < kept < each.run.end:
                kept = each.run.start
            if each.run.start < end < each.run.end:
                end = each.run.end
        self.tokens = [*self.tokens[:kept], *self.tokens[end:]]
        before = [each for each in self._placed if each.run.end <= kept]
        after = [_moved(each, kept - end) for each in self._placed if each.run.start >= end]
        self._placed = before + after


def _moved(placed: PlacedRun, by: int) -> PlacedRun:
    start, end, positions = placed.run
    return PlacedRun(Run(start + by, end + by, positions), placed.slot, placed.at)


def media_prompt(
    parts: list[Part],
    marks: Marks,
    media: Sequence[Medium],
    tokenizer: Tokenizer,
    source: MediaSource,
    scope: str = "",
) -> MediaPrompt:
    """Return a written prompt's tokens; nothing is encoded.

    Raises :class:`workers.refused.InputRefused`.
    """
    found = list(pieces(parts, marks))
    texts = iter(tokenizer.tokenize_texts([each for each in found if isinstance(each, list)]))
    slots = dict[int, MediumSlot]()
    tokens, placed = list[int](), list[PlacedRun]()
    for each in found:
        if isinstance(each, list):
            tokens += next(texts)
            continue
        if each not in slots:
            slots[each] = source.slot(media[each], scope)
        more, runs = source.placed(slots[each], len(tokens))
        tokens += more
        placed += runs
    return MediaPrompt(tokens, placed)


def count_tokens(
    parts: list[Part],
    marks: Marks,
    media: Sequence[Medium],
    tokenizer: Tokenizer,
    source: MediaSource,
) -> int:
    """Return how many tokens that prompt has; nothing is encoded. Raises InputRefused."""
    found = list(pieces(parts, marks))
    texts = tokenizer.tokenize_texts([each for each in found if isinstance(each, list)])
    counts = (source.count(media[each]) for each in found if not isinstance(each, list))
    return sum(map(len, texts)) + sum(counts)
