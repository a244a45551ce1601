"""A prompt on its way back to the client. Pure."""

import math

import msgspec

from workers.protocol import Extra, Logprob, TokenChance


class Echo:
    """The prompt's text and, if wanted, how likely each of its tokens was after those before it.

    What was found out stays when the cells are lost.
    """

    def __init__(
        self, tokens: list[int], pieces: list[bytes], hidden: int, *, scored: bool
    ) -> None:
        """``pieces`` are the bytes of ``tokens``, before which ``hidden`` others stand."""
        self.text = b"".join(pieces).decode("utf-8", "replace")
        self._pieces = pieces
        self._hidden = hidden
        self._scored = scored
        self._found: list[Logprob] = []
        if scored and not hidden:
            self._found.append(Logprob(TokenChance(tokens[0], pieces[0], math.nan), []))

    @property
    def lacks(self) -> int | None:
        """The position, hidden tokens counted, of the first token that is still to be judged."""
        done = len(self._found)
        return self._hidden + done if self._scored and done < len(self._pieces) else None

    def add(self, found: Logprob) -> None:
        """The judgement of the token at :attr:`lacks`."""
        piece = self._pieces[len(self._found)]
        chosen = msgspec.structs.replace(found.chosen, piece=piece)
        self._found.append(Logprob(chosen, found.top))

    @property
    def extra(self) -> Extra:
        """The extras beside the text."""
        return Extra(logprobs=self._found, echo=True)
