"""Token counts of a generation."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """``cached`` is the part of the prompt that was not computed."""

    prompt: int
    cached: int
    completion: int

    def openai(self) -> dict[str, Any]:
        """OpenAI's shape."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
