"""The table of fields that Forge knows and does not serve under that name. Pure: data alone.

:mod:`gateway.api.field_policy` explains the kinds. The fields that are served are those of the
types that validate bodies. The page docs/reference/clients.md is made of both.
"""

from dataclasses import dataclass
from typing import Any, Literal

CHAT, COMPLETIONS, INFER, EMBEDDINGS = "chat", "completions", "infer", "embeddings"
TEMPLATE = "apply-template"
DEFAULTS = "defaults"
"""The sampling defaults of a model's table."""
OPENAI = (CHAT, COMPLETIONS)
GENERATING = (*OPENAI, INFER)
SAMPLED = (*GENERATING, DEFAULTS)
BODIES = (*GENERATING, EMBEDDINGS)
TALKS = (CHAT, TEMPLATE)
"""Bodies that hold a conversation."""
MESSAGES, PARTS, CALLS, TOOLS = "messages", "parts", "calls", "tools"
"""Objects inside one: contents' parts, and calls and tools with their functions."""


@dataclass(frozen=True, slots=True)
class Below:
    """Every number below a bound, among the values that ask for nothing."""

    bound: float


@dataclass(frozen=True, slots=True)
class Row:
    """A field, the places where the row holds, and what is done with it there."""

    name: str
    kind: Literal["mapped", "harmless", "told", "refused"]
    places: tuple[str, ...]
    """Dialects, for fields of the body; names of objects inside it; or "anywhere"."""
    clients: str
    """The programs that send it or have it."""
    note: str
    """What comes of it, or why nothing has to."""
    neutral: tuple[Any, ...] = ()
    """Of those told or refused, values beside null that ask for nothing."""


def _rows(
    names: str,
    kind: Literal["mapped", "harmless", "told", "refused"],
    places: tuple[str, ...],
    clients: str,
    note: str,
    *neutral: Any,
) -> list[Row]:
    """Return a row for each of several names, separated by spaces."""
    return [Row(name, kind, places, clients, note, neutral) for name in names.split()]


STATE = (
    "the inner state of this sampler can't be carried to another worker, where a generation may "
    "have to go on"
)

ROWS: tuple[Row, ...] = (
    # OpenAI's API.
    *_rows("store metadata", "harmless", OPENAI, "OpenAI", "nothing is stored"),
    *_rows("user safety_identifier", "harmless", (*OPENAI, EMBEDDINGS), "OpenAI", "a name only"),
    *_rows(
        "prompt_cache_key prompt_cache_retention prompt_cache_options",
        "harmless",
        OPENAI,
        "OpenAI",
        "prompts are shared by all clients",
    ),
    Row("prediction", "harmless", (CHAT,), "OpenAI", "it would make the same answer faster"),
    Row("verbosity", "told", (CHAT,), "OpenAI", "no template reads it", ("medium",)),
    *_rows("audio moderation web_search_options", "refused", (CHAT,), "OpenAI", "not offered"),
    Row("modalities", "refused", (CHAT,), "OpenAI", "text alone", (["text"],)),
    Row("functions", "refused", (CHAT,), "OpenAI, old code", "`tools` is the newer name", ([],)),
    Row(
        "function_call",
        "refused",
        (CHAT,),
        "OpenAI, old code",
        "`tool_choice` is the newer name",
        ("none", "auto"),
    ),
    Row("best_of", "refused", OPENAI, "OpenAI, vLLM", "no answer is thrown away", (1,)),
    # llama-server's.
    Row("mirostat", "refused", SAMPLED, "llama-server, Ollama", STATE, (0, 0.0)),
    Row("adaptive_target", "refused", SAMPLED, "llama-server", STATE, (Below(0),)),
    *_rows(
        "mirostat_tau mirostat_eta adaptive_decay",
        "harmless",
        SAMPLED,
        "llama-server, Ollama",
        "of samplers that are refused where they are on",
    ),
    # Inside conversations.
    *_rows(
        "reasoning thinking thinking_blocks reasoning_details",
        "mapped",
        (MESSAGES,),
        "OpenRouter, vLLM, Ollama, litellm",
        "`reasoning_content`, where the message has none",
    ),
    Row("function_call", "mapped", (MESSAGES,), "OpenAI, old code", "`tool_calls`, of one call"),
    *_rows(
        "annotations audio parsed",
        "harmless",
        (MESSAGES,),
        "OpenAI's clients",
        "a part of an answer that comes back",
    ),
    *_rows("index id", "harmless", (MESSAGES, CALLS, PARTS), "most", "a name or a place only"),
    Row("parsed_arguments", "harmless", (CALLS,), "OpenAI's clients", "repeats the arguments"),
    *_rows("annotations logprobs", "harmless", (PARTS,), "OpenAI's clients", "of an answer"),
    Row(
        "provider_specific_fields",
        "harmless",
        (MESSAGES, CALLS, PARTS),
        "litellm",
        "notes for other servers",
    ),
    *_rows("signature citations", "harmless", (PARTS,), "Anthropic's", "notes for other servers"),
    # Everywhere.
    Row("cache_control", "harmless", ("anywhere",), "Anthropic's, litellm", "caching is automatic"),
    Row("prompt_cache_breakpoint", "harmless", ("anywhere",), "OpenAI", "caching is automatic"),
)
