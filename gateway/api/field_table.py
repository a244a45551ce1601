"""The table of fields that Forge knows and does not serve under that name. Pure: data alone.

:mod:`gateway.api.field_policy` explains the kinds. The fields that are served are those of the
types that validate bodies. The page docs/reference/clients.md is made of both.
"""

from dataclasses import dataclass
from typing import Any, Literal

CHAT, COMPLETIONS, INFER, EMBEDDINGS = "chat", "completions", "infer", "embeddings"
TEMPLATE = "apply-template"
MESSAGES_API, COUNT_TOKENS = "anthropic", "count_tokens"
"""Anthropic's dialect."""
RESPONSES = "responses"
RERANK, SCORE = "rerank", "score"
RANKING = (RERANK, SCORE)
OLLAMA_CHAT, OLLAMA_GENERATE, OLLAMA_EMBED = "ollama chat", "ollama generate", "ollama embed"
OLLAMA_OPTIONS = "ollama options"
"""The object ``options`` in these."""
OLLAMA = (OLLAMA_CHAT, OLLAMA_GENERATE, OLLAMA_EMBED)
LLAMA_COMPLETION, INFILL_API = "completion", "infill"
"""llama-server's own dialect."""
DEFAULTS = "defaults"
"""The sampling defaults of a model's table."""
OPENAI = (CHAT, COMPLETIONS)
LLAMA = (LLAMA_COMPLETION, INFILL_API)
SLOTLESS = (*OPENAI, RESPONSES, INFER, MESSAGES_API)
GENERATING = (*SLOTLESS, *LLAMA)
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
    """The effect of the field, or the reason why it needs none."""
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
        "prompt_cache_retention prompt_cache_options",
        "harmless",
        OPENAI,
        "OpenAI",
        "prompts are shared within a key",
    ),
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
    # vLLM's.
    Row("repetition_penalty", "mapped", GENERATING, "vLLM, TGI, SGLang", "`repeat_penalty`"),
    *_rows("guided_json", "mapped", GENERATING, "vLLM", "`json_schema`; also as text"),
    *_rows("guided_grammar", "mapped", GENERATING, "vLLM", "`grammar`"),
    *_rows("guided_regex", "mapped", GENERATING, "vLLM", "the answer matches it as a whole"),
    *_rows("guided_choice", "mapped", GENERATING, "vLLM", "the answer is one of these texts"),
    Row(
        "structured_outputs",
        "mapped",
        GENERATING,
        "vLLM, outlines",
        "`json`, `regex`, `choice`, `grammar` or `json_object`: one of them",
    ),
    Row("structural_tag", "refused", ("structured_outputs",), "vLLM", "`tools` do that"),
    *_rows(
        "disable_fallback disable_any_whitespace disable_additional_properties "
        "whitespace_pattern backend",
        "told",
        ("structured_outputs",),
        "vLLM",
        "forms are enforced in one way",
        False,
    ),
    *_rows(
        "guided_decoding_backend guided_whitespace_pattern",
        "told",
        GENERATING,
        "vLLM",
        "forms are enforced in one way",
    ),
    *_rows(
        "logits_processors allowed_token_ids bad_words prompt_embeds",
        "refused",
        GENERATING,
        "vLLM",
        "`logit_bias` and `grammar` say which tokens are left",
        [],
    ),
    *_rows("prompt_logprobs", "refused", OPENAI, "vLLM", "`echo` of completions tells them"),
    *_rows("use_beam_search", "refused", GENERATING, "vLLM", "tokens are sampled", False),
    *_rows("length_penalty", "refused", GENERATING, "vLLM", "of beam search", 1, 1.0),
    *_rows(
        "include_stop_str_in_output return_tokens_as_token_ids return_token_ids",
        "refused",
        GENERATING,
        "vLLM",
        "answers have one form",
        False,
    ),
    *_rows(
        "skip_special_tokens spaces_between_special_tokens detokenize",
        "refused",
        GENERATING,
        "vLLM",
        "answers have one form",
        True,
    ),
    Row("echo", "refused", (CHAT, INFER), "vLLM", "completions have it", (False,)),
    *_rows(
        "truncate_prompt_tokens",
        "refused",
        BODIES,
        "vLLM",
        "a prompt is never cut",
    ),
    Row("chat_template", "refused", TALKS, "vLLM", "`--chat-template` sets the model's"),
    Row("documents", "refused", TALKS, "vLLM", "text belongs into messages", ([],)),
    *_rows(
        "request_id kv_transfer_params vllm_xargs",
        "harmless",
        (*OPENAI, EMBEDDINGS),
        "vLLM",
        "its own affair",
    ),
    Row("cache_salt", "harmless", (EMBEDDINGS,), "vLLM", "nothing is kept of inputs"),
    *_rows("include_reasoning", "told", (CHAT,), "vLLM, OpenRouter", "thoughts are told", True),
    # Switches for thoughts.
    *_rows("enable_thinking", "mapped", TALKS, "Qwen's", "whether the template lets it think"),
    *_rows("think", "mapped", TALKS, "Ollama", "the same, or the words of `reasoning_effort`"),
    *_rows("thinking", "mapped", TALKS, "Anthropic's, GLM, DeepSeek", "`type`: whether to think"),
    *_rows(
        "reasoning",
        "mapped",
        TALKS,
        "OpenRouter, OpenAI",
        "`effort` is `reasoning_effort`, `enabled` whether to think",
    ),
    *_rows("summary generate_summary", "harmless", ("reasoning",), "OpenAI", "thoughts are told"),
    Row("exclude", "told", ("reasoning",), "OpenRouter", "thoughts are told", (False,)),
    *_rows(
        "reasoning_budget_tokens reasoning_budget",
        "mapped",
        GENERATING,
        "llama-server",
        "`thinking_budget_tokens`",
    ),
    *_rows("thinking_budget", "mapped", GENERATING, "Qwen's", "`thinking_budget_tokens`"),
    *_rows("thinking_token_budget", "mapped", GENERATING, "vLLM", "`thinking_budget_tokens`"),
    Row("reasoning_control", "told", GENERATING, "llama-server", "a limit ends them", (False,)),
    # Ollama's and OpenRouter's.
    *_rows("n_predict", "mapped", GENERATING, "llama-server", "`max_tokens`; -1 and -2: no limit"),
    *_rows("num_predict", "mapped", GENERATING, "Ollama", "`max_tokens`; -1 and -2: no limit"),
    *_rows("usage", "mapped", OPENAI, "OpenRouter", "`include`: `stream_options.include_usage`"),
    *_rows("keep_alive", "told", BODIES, "Ollama", "`--keep-alive` sets the model's"),
    *_rows("num_ctx", "told", BODIES, "Ollama", "`--ctx` sets the model's"),
    *_rows("options", "told", BODIES, "Ollama", "its fields have places of their own here"),
    *_rows("id_slot", "harmless", SLOTLESS, "llama-server", "Forge finds a cached prefix itself"),
    *_rows(
        "id_slot",
        "refused",
        LLAMA,
        "llama-server",
        "a request goes to the worker that has most of its prompt, and slots come and go",
        -1,
    ),
    *_rows("max_completion_tokens", "mapped", LLAMA, "llama-server", "`max_tokens`"),
    *_rows("n", "mapped", LLAMA, "llama-server", "`n_cmpl`"),
    *_rows("logprobs", "mapped", LLAMA, "llama-server", "`n_probs`"),
    *_rows(
        "t_max_prompt_ms",
        "harmless",
        LLAMA,
        "llama.vim, llama.vscode",
        "llama-server does not read it either",
    ),
    *_rows("backend_sampling n_cache_reuse", "harmless", LLAMA, "llama-server", "a way, no answer"),
    *_rows("sse_ping_interval", "told", LLAMA, "llama-server", "`--keepalive` sets the server's"),
    Row("time", "harmless", ("input_extra",), "llama.vim", "a note of the editor's"),
    *_rows("n_keep n_discard", "harmless", GENERATING, "llama-server", "contexts are not shifted"),
    *_rows(
        "provider transforms route models plugins",
        "told",
        OPENAI,
        "OpenRouter",
        "there is one provider",
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
    # Anthropic's API.
    *_rows(
        "metadata service_tier inference_geo speed diagnostics user_profile_id workspace_id betas",
        "harmless",
        (MESSAGES_API, COUNT_TOKENS),
        "Anthropic's, Claude Code",
        "notes for Anthropic's servers",
    ),
    Row(
        "thread",
        "refused",
        (MESSAGES_API, COUNT_TOKENS),
        "Anthropic's tool runner",
        "no conversation is kept here; the client sends all of it instead",
    ),
    *_rows(
        "container context_management mcp_servers",
        "told",
        (MESSAGES_API, COUNT_TOKENS),
        "Anthropic's, Claude Code",
        "of services that are not offered",
        [],
        {},
    ),
    *_rows(
        "max_tokens stream stop_sequences temperature top_k top_p",
        "harmless",
        (COUNT_TOKENS,),
        "Anthropic's",
        "of the answer, which is not made",
    ),
    # OpenAI's Responses API.
    *_rows(
        "client_metadata access_programs prompt_cache_retention prompt_cache_options",
        "harmless",
        (RESPONSES,),
        "OpenAI, Codex",
        "notes for OpenAI's servers",
    ),
    *_rows(
        "background_options context_management moderation image prompt personality",
        "told",
        (RESPONSES,),
        "OpenAI",
        "of services that are not offered",
    ),
    # Rerankers.
    Row("raw_scores", "mapped", (RERANK,), "TEI", "the opposite of `normalize`"),
    Row("return_text", "mapped", (RERANK,), "TEI", "`return_documents`"),
    *_rows("use_activation activation", "mapped", RANKING, "vLLM", "`normalize`"),
    *_rows("user request_id", "harmless", RANKING, "vLLM", "a name only"),
    Row("truncation_direction", "refused", (RERANK,), "TEI", "the end is cut", ("right", "Right")),
    Row("max_chunks_per_doc", "told", (RERANK,), "Cohere", "a document is scored as a whole"),
    Row(
        "relevant_spans",
        "told",
        (RERANK,),
        "Cohere",
        "a document has one score",
        ({"mode": "disabled"},),
    ),
    # Ollama's API.
    Row("shift", "harmless", OLLAMA[:2], "Ollama", "contexts are not shifted: the answer ends"),
    Row("metadata", "harmless", OLLAMA, "Open WebUI", "notes for Open WebUI"),
    Row("template", "refused", (OLLAMA_GENERATE,), "Ollama", "the model's own is used", ("",)),
    Row("images", "refused", (OLLAMA_EMBED,), "Ollama", "texts alone", ([],)),
    *_rows(
        "num_batch num_gpu main_gpu num_thread use_mmap use_mlock numa low_vram f16_kv "
        "draft_num_predict",
        "harmless",
        (OLLAMA_OPTIONS,),
        "Ollama",
        "the server's options set the machine's",
    ),
    *_rows(
        "mirostat vocab_only logits_all embedding_only",
        "told",
        (OLLAMA_OPTIONS,),
        "Ollama, older clients",
        "Ollama does not have it any more",
        *(False, 0, 0.0),
    ),
    *_rows(
        "mirostat_tau mirostat_eta penalize_newline",
        "harmless",
        (OLLAMA_OPTIONS,),
        "Ollama, older clients",
        "of samplers that Ollama does not have any more",
    ),
    Row("tfs_z", "told", (OLLAMA_OPTIONS,), "Ollama, older clients", "`min_p` does that", (1, 1.0)),
    # Everywhere.
    Row("cache_control", "harmless", ("anywhere",), "Anthropic's, litellm", "caching is automatic"),
    Row("prompt_cache_breakpoint", "harmless", ("anywhere",), "OpenAI", "caching is automatic"),
)
