"""Bodies made at random from a description that are valid by it, and can be served too.

A schema says what each field may be. That two fields contradict each other, or that one names what
this model has not, it can't say.
"""

from typing import Any

from tests.support.dialects import CHAT, COMPLETIONS, INFER, MESSAGES, RESPONSES
from tests.support.server import ALIAS

OLLAMA = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
LLAMA_SERVER = ("/completion", "/infill", "/embedding")
COUNTED = f"{CHAT.path}/input_tokens"
SAMPLED = (CHAT.path, COUNTED, COMPLETIONS.path, INFER.path, "/completion", "/infill")
SCORE = "/v1/score"
BUDGETS = (
    "thinking_budget_tokens", "reasoning_budget_tokens", "reasoning_budget", "thinking_budget",
    "thinking_token_budget",
)  # fmt: skip
"""Names of one limit."""
EMPTY = ("", {"prompt_string": ""})
TOKENS = 4
"""Most that a generation has here."""


def settle(path: str, body: dict[str, Any]) -> None:
    """Change ``body`` so that ``path`` serves it, at little cost."""
    body.update(_whole(body))
    _settle(body)
    body.pop("lora", None)  # numbers of adapters, of which there are none
    if path in (CHAT.path, COUNTED, "/apply-template"):
        _settle_tools(body)
        _keep_one(body, "reasoning_effort", "think", "enable_thinking", "thinking", "reasoning")
    if path == "/apply-template":  # there are more words about thinking than a prompt can follow
        body.pop("reasoning", None)
    if path == COMPLETIONS.path:
        _settle_completion(body)
    if path in ("/api/show", "/api/pull", "/api/delete"):  # one of two names must be there
        body["model"] = ALIAS
    if path in LLAMA_SERVER:
        _settle_llama_server(path, body)
    if path == "/api/copy":  # nothing is to be kept
        body.update(source="nothing", destination="copied")
    if path.startswith(RESPONSES.path):
        _settle_response(body)
    if path.endswith(("rerank", "reranking", "score")):
        _settle_ranking(path, body)
    if path in OLLAMA:
        _settle_ollama(body)
    if path.startswith(MESSAGES.path):
        _settle_tool_choice(body)
    if path in SAMPLED or path.startswith((RESPONSES.path, MESSAGES.path)):
        _settle_sampling(body)


def _settle_llama_server(path: str, body: dict[str, Any]) -> None:
    """One name of two that are given, and few answers with few alternatives."""
    if path == "/embedding":
        body["content"] = body.pop("content", None) or body.pop("input", None) or "a"
        body.pop("input", None)
    if path == "/completion":
        body["prompt"] = body.get("prompt") or "a"
    for name in ("n_probs", "logprobs", "n_cmpl", "n"):
        if body.get(name) is not None:
            body[name] = 1


def _settle_ollama(body: dict[str, Any]) -> None:
    """Ollama's names: the choice of tokens has a place of its own."""
    options = body["options"] = body.get("options") or {}
    _settle_sampling(options)
    options.update(num_predict=TOKENS, num_ctx=None, timeout=None)
    for name in ("suffix", "think", "images", "template", "system", "context"):
        body.pop(name, None)
    if body.get("messages"):
        body["messages"] = [{"role": "user", "content": "hello"}]
    if body.get("format"):
        options.update(grammar=None, json_schema=None)
        body["format"] = "json"
    for at, tool in enumerate(body.get("tools") or []):
        tool["function"]["name"] = f"f{at}"
    if isinstance(body.get("input"), list):
        body["input"] = [text or "hello" for text in body["input"]]


def _whole(value: Any) -> Any:
    """1.0 is an integer to JSON Schema, and a mistake to this server, which says so."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _known(value: Any) -> Any:
    """Token ids that this model has, in the form of ``value``."""
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return min(value, 42) if isinstance(value, int) else value


def _settle(body: dict[str, Any]) -> None:
    for name in ("prompt", "input", "tokens", "content"):
        if name in body:
            body[name] = _known(body[name])
    for name in ("input", "content"):  # a list of texts has none that is empty
        if isinstance(body.get(name), list):
            body[name] = ["a" if each in EMPTY else each for each in body[name]]
        elif body.get(name) in EMPTY:
            body[name] = "a"
    if body.get("dimensions") is not None:
        body["dimensions"] = 3
    _settle_messages(body.get("messages") or [])
    _keep_one(body, *BUDGETS)
    if any(name in body for name in BUDGETS):
        _keep_one(body, "reasoning_effort", "think", "enable_thinking")
        for name in ("thinking", "reasoning"):
            body.pop(name, None)
    if "items" in body:
        body["items"] = []
    if body.get("model") is not None:
        body["model"] = ALIAS
    if body.get("timeout") is not None:
        body["timeout"] = 60


def _settle_ranking(path: str, body: dict[str, Any]) -> None:
    """Documents by one name, and what is wanted of them once."""
    for name in ("texts", "rank_fields", "queries", "documents", "data_1", "data_2", "items"):
        body.pop(name, None)
    documents = ["a", {"text": "b"}]
    body |= {"text_1": "q", "text_2": documents} if path == SCORE else {"documents": documents}
    _keep_one(body, "normalize", "raw_scores", "use_activation", "activation")
    _keep_one(body, "return_documents", "return_text")
    if body.get("truncate_prompt_tokens") is not None:
        body["truncate_prompt_tokens"] = -1


def _settle_messages(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = "{}"
        if message["role"] == "assistant" and not message.get("tool_calls"):
            message["content"] = message.get("content") or "yes"


def _settle_tool_choice(body: dict[str, Any]) -> None:
    """A tool that is there is to be chosen, if any."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        choice["type"] = "auto"
    for at, tool in enumerate(body.get("tools") or []):
        tool["name"] = f"f{at}"


def _settle_sampling(body: dict[str, Any]) -> None:
    if body.get("grammar") is not None:
        body["grammar"] = 'root ::= "a"'
    if body.get("logit_bias") is not None:
        body["logit_bias"] = {"5": 1}
    if body.get("samplers") is not None:  # two names of one stage
        body["samplers"] = [name for name in body["samplers"] if name != "typical_p"]
    if body.get("top_logprobs") is not None:
        body["logprobs"] = True
    body.update(mirostat=0, adaptive_target=-1)
    if body.get("stream_options") is not None:
        body["stream"] = True
    if body.get("min_tokens") is not None:
        body["min_tokens"] = 0
    if body.get("stop_token_ids") is not None:
        body["stop_token_ids"] = _known(body["stop_token_ids"])
    _keep_one(body, "max_completion_tokens", "max_tokens", "n_predict", "num_predict")
    _keep_one(body, "repeat_penalty", "repetition_penalty")
    _settle_forms(body)
    _shorten(body)


def _settle_forms(body: dict[str, Any]) -> None:
    simple = {
        "guided_regex": "a+",
        "guided_grammar": 'root ::= "a"',
        "guided_json": "{}",
        "structured_outputs": {"choice": ["a"]},
    }
    body.update({name: form for name, form in simple.items() if body.get(name) is not None})
    given = body.get("response_format") or {}
    if given.get("type") == "json_schema" and not (given.get("json_schema") or given.get("schema")):
        body["response_format"] = None
    names = ("response_format", "json_schema", "grammar", "output_format", "output_config")
    _keep_one(body, *names, "guided_choice", *simple)


def _keep_one(body: dict[str, Any], *names: str) -> None:
    """Leave the first of several fields that contradict each other."""
    for name in [name for name in names if body.get(name) is not None][1:]:
        body[name] = None


def _shorten(body: dict[str, Any]) -> None:
    limits = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict")
    for name in limits:
        if type(body.get(name)) is int:
            body[name] = min(body[name], TOKENS) if body[name] >= 0 else TOKENS
    if type(body.get("n")) is int:
        body["n"] = min(body["n"], 2)
    if all(body.get(name) is None for name in limits):
        body["max_tokens"] = TOKENS


def _settle_tools(body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        asked = choice.get("allowed_tools", {"tools": [choice]})["tools"]
        names = dict.fromkeys(tool["function"]["name"] for tool in asked)
        body["tools"] = [{"type": "function", "function": {"name": name}} for name in names]
    elif choice in ("any", "required") and not body.get("tools"):
        body["tool_choice"] = None
    else:
        for at, tool in enumerate(body.get("tools") or []):
            tool["function"]["name"] = f"f{at}"


def _settle_response(body: dict[str, Any]) -> None:
    """Items and tools are as open as the dialect: a schema can't tell which of them make sense."""
    body["input"] = body["input"] if isinstance(body.get("input"), str) else "hello"
    if isinstance(body.get("instructions"), list):
        body["instructions"] = None
    for name in ("tools", "tool_choice", "previous_response_id", "conversation", "store"):
        body[name] = None
    if body.get("text") is not None and body["text"].get("format") is not None:
        body["text"] = {"format": {"type": "json_object"}}
        body["json_schema"] = body["grammar"] = None
    _keep_one(body, "json_schema", "grammar")
    if body.get("max_output_tokens") is not None:
        body["max_output_tokens"] = body["max_tokens"] = TOKENS


def _settle_completion(body: dict[str, Any]) -> None:
    if body.get("max_tokens") == 0:
        body["echo"] = True
    if body.get("echo") or not isinstance(body.get("prompt"), str):
        body.pop("suffix", None)
