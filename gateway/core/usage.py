"""Token counts of a generation."""

from dataclasses import dataclass
from typing import NamedTuple, NotRequired

from typing_extensions import TypedDict


class PromptTokensDetails(TypedDict):
    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Of a request with a `prediction`."""

    accepted_prediction_tokens: int
    """Tokens of the prediction that were computed ahead and are in the answer."""
    rejected_prediction_tokens: int
    """Tokens of the prediction that were computed in vain. They are no part of the other counts."""


class OpenAIUsage(TypedDict):
    """Token counts in OpenAI's shape."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: NotRequired[CompletionTokensDetails]


class DraftCounts(NamedTuple):
    """Tokens that were computed before it was known that they would be sampled."""

    steps: int = 0
    drafted: int = 0
    accepted: int = 0

    def plus(self, other: "DraftCounts") -> "DraftCounts":
        """Return the sums of both."""
        steps, drafted, accepted = other
        return DraftCounts(self.steps + steps, self.drafted + drafted, self.accepted + accepted)


NO_DRAFTS = DraftCounts()


@dataclass(frozen=True, slots=True)
class Usage:
    """``cached`` is the part of the prompt that was not computed."""

    prompt: int
    cached: int
    completion: int
    drafts: DraftCounts = NO_DRAFTS
    predicted: DraftCounts | None = None
    """Drafts that were of the request's prediction; None: it has none."""

    def openai(self) -> OpenAIUsage:
        """OpenAI's shape."""
        usage: OpenAIUsage = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
        if self.predicted is not None:
            _, drafted, accepted = self.predicted
            usage["completion_tokens_details"] = {
                "accepted_prediction_tokens": accepted,
                "rejected_prediction_tokens": drafted - accepted,
            }
        return usage
