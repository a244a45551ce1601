"""Drafts of a sequence's next tokens, looked up in its prompt, its prediction and its answer. Pure.

An answer that repeats what was said before (code with one change, a quotation, the same call again)
can be guessed: where its last three tokens stood before, the same tokens may follow again. As long
as the answer goes on like that place, it is followed; at the first difference the last three tokens
are looked up anew, and of the places found the first after the one that was lost is taken, because
an edited copy goes on behind the edit.

An example: the prompt holds "a b c d e f", the answer is "a b c x d e f". After its "a b c" the
draft is "d e f ...", and "x" is a miss. After "d e f" of the answer the place behind the prompt's
"d e f" is followed.

Each token that comes says whether the place was right, also if nothing was computed ahead: so the
rate of hits is known before the first draft costs anything. A token costs two look-ups.
"""

from collections.abc import Iterable, Sequence

MATCH = 3
"""Tokens that must agree before a place is followed."""
INDEXED = 1 << 15
"""The most tokens that are looked up, of each sequence: the last ones of a longer prompt."""
CHAIN = 16
"""The most places with the same tokens that are looked at, the last ones first."""
PRIOR = (1.0, 2.0)
"""Hits and tokens before the first: a guess of the rate, and its weight."""
PRIOR_PREDICTED = (4.5, 5.0)
"""Likewise where the client told what the answer will be."""
DECAY = 0.95
"""The weight of an older token beside the one that came after it."""

_BREAK = -1
"""Stands in the text where a prediction ends."""
_BITS = 32
_KEY = (1 << _BITS * MATCH) - 1


class PromptLookup:
    """The text of one sequence, and the place in it that its answer follows."""

    def __init__(
        self, prompt: Sequence[int], prediction: Sequence[int] = (), answer: Sequence[int] = ()
    ) -> None:
        """``prediction``: tokens that the answer is expected to begin with, and to resemble.

        ``answer``: tokens that it has already.
        """
        self._text: list[int] = []
        self._last: dict[int, int] = {}
        """Each group of tokens, and the place after it where it stood last."""
        self._earlier: dict[int, int] = {}
        """For such a place, the one before it with the same tokens."""
        self._key, self._run = 0, 0
        """The last tokens as a number, and how many there are."""
        self._hits, self._tries = PRIOR_PREDICTED if prediction else PRIOR
        self._predicted = self._extend(prediction[:INDEXED])
        """The places below are of the prediction."""
        if self._predicted:
            self._end_prediction()
        self._extend(prompt[-INDEXED:])
        self._at = 0 if self._predicted else -1
        """The place in the text that the answer follows; -1: none."""
        self._lost: int | None = None
        """The place where it was lost last."""
        for token in answer:
            self.push(token)

    def _end_prediction(self) -> None:
        """Nothing follows the last tokens of a prediction; the prompt is a text of its own."""
        earlier = self._earlier.pop(self._predicted, None)
        if earlier is not None:
            self._last[self._key] = earlier
        else:
            self._last.pop(self._key, None)
        self._text.append(_BREAK)
        self._key, self._run = 0, 0

    @property
    def rate(self) -> float:
        """The share of tokens that were as foreseen; 0 if none is foreseen now."""
        return self._hits / self._tries if self._at >= 0 else 0.0

    @property
    def predicted(self) -> bool:
        """Return whether the next draft is of the prediction."""
        return 0 <= self._at < self._predicted

    def draft(self, most: int) -> list[int]:
        """Return at most so many tokens that may come next.

        A text that repeats itself is taken to go on so: behind its end it begins again.
        """
        at = self._at
        if at < 0 or most <= 0:
            return []
        if at < self._predicted:
            return self._text[at : min(at + most, self._predicted)]
        found = self._text[at : at + most]
        return (found * (most // len(found) + 1))[:most]

    def push(self, token: int) -> None:
        """The answer goes on with ``token``."""
        if self._at >= 0:
            hit = self._text[self._at] == token
            self._hits = self._hits * DECAY + hit
            self._tries = self._tries * DECAY + 1
            self._follow(hit)
        found = self._append(token)
        if self._at < 0 and found is not None:
            self._at = self._behind(found)

    def _follow(self, hit: bool) -> None:
        """Go on to the next place, or lose it."""
        at = self._at + 1
        if not hit:
            self._lost = at
        self._at = at if hit and at != self._predicted else -1

    def _behind(self, found: int) -> int:
        """Return the first place after the lost one with the tokens of ``found``, or that."""
        best, place = found, self._earlier.get(found)
        if self._lost is None:
            return best
        for _ in range(CHAIN):
            if place is None or place < self._lost:
                break
            best, place = place, self._earlier.get(place)
        return best

    def _extend(self, tokens: Iterable[int]) -> int:
        """Add tokens; return the length of the text."""
        for token in tokens:
            self._append(token)
        return len(self._text)

    def _append(self, token: int) -> int | None:
        """Add a token; return the place after the last ones where they stood before, if any."""
        self._text.append(token)
        self._key = (self._key << _BITS | token) & _KEY
        self._run += 1
        if self._run < MATCH:
            return None
        found = self._last.get(self._key)
        if len(self._earlier) + len(self._last) < 3 * INDEXED:
            place = len(self._text)
            self._last[self._key] = place
            if found is not None:
                self._earlier[place] = found
        return found
