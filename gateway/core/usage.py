"""Token counts of a generation."""

from dataclasses import dataclass

from typing_extensions import TypedDict


class PromptTokensDetails(TypedDict):
    cached_tokens: int


class OpenAIUsage(TypedDict):
    """Token counts in OpenAI's shape."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


@dataclass(frozen=True, slots=True)
class Usage:
    """``cached`` is the part of the prompt that was not computed."""

    prompt: int
    cached: int
    completion: int

    def openai(self) -> OpenAIUsage:
        """OpenAI's shape."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
