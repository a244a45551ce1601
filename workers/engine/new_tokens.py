"""The results of a step for one sequence. Pure."""

from typing import NamedTuple

from workers.chat_format import ParsedOutput, together
from workers.protocol import Drafts, Extra


class NewTokens(NamedTuple):
    """Tokens, and what they brought."""

    ids: list[int]
    text: str
    extra: Extra | None
    reason: str | None
    """Reason of the generation's end, if it ends."""
    drafts: Drafts | None = None
    kept: int = 0
    """Drafts that came true: they have cells."""

    def then(self, later: "NewTokens") -> "NewTokens":
        """Return these and the next ones, as those of one step."""
        if not self.ids:
            return later
        extra = self.extra or later.extra
        if self.extra is not None and later.extra is not None:
            parts = [
                ParsedOutput("", each.reasoning, each.calls) for each in (self.extra, later.extra)
            ]
            _, reasoning, calls = together(*parts)
            extra = Extra(reasoning, calls, [*self.extra.logprobs, *later.extra.logprobs])
        return NewTokens([*self.ids, *later.ids], self.text + later.text, extra, later.reason)


NO_TOKENS = NewTokens([], "", None, None)
