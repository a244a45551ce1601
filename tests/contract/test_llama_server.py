"""llama-server's own dialect: keys and texts as it gives them, recorded from its side by hand."""

import json
from typing import Any

import httpx
import pytest

from tests.support.dialects import COMPLETIONS
from tests.support.server import ALIAS, ForgeServer

PROMPT = "Once upon a time there was a little"
GREEDY = {"prompt": PROMPT, "n_predict": 12, "temperature": 0}

COMPLETED = {
    "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted",
    "tokens_evaluated", "generation_settings", "prompt", "has_new_line", "truncated", "stop_type",
    "stopping_word", "tokens_cached", "timings",
}  # fmt: skip
PIECE = {
    "index", "content", "tokens", "stop", "id_slot", "tokens_predicted", "tokens_evaluated"
}  # fmt: skip
TIMINGS = {
    "cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n",
    "predicted_ms", "predicted_per_token_ms", "predicted_per_second",
}  # fmt: skip
DEFAULTS = {
    "seed", "temperature", "dynatemp_range", "dynatemp_exponent", "top_k", "top_p", "min_p",
    "top_n_sigma", "xtc_probability", "xtc_threshold", "typical_p", "repeat_last_n",
    "repeat_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier", "dry_base",
    "dry_allowed_length", "dry_penalty_last_n", "mirostat", "mirostat_tau", "mirostat_eta",
    "adaptive_target", "adaptive_decay", "max_tokens", "n_predict", "n_keep", "n_discard",
    "ignore_eos", "stream", "n_probs", "min_keep", "chat_format", "reasoning_format",
    "reasoning_in_content", "generation_prompt", "samplers", "speculative.types",
    "timings_per_token", "post_sampling_probs", "backend_sampling", "lora",
}  # fmt: skip
SETTINGS = DEFAULTS | {
    "dry_sequence_breakers", "stop", "logit_bias", "grammar", "grammar_lazy", "grammar_triggers",
    "preserved_tokens",
}  # fmt: skip
PROPS = {
    "default_generation_settings", "total_slots", "model_alias", "model_ftype", "model_path",
    "modalities", "media_marker", "endpoint_slots", "endpoint_props", "endpoint_metrics", "ui",
    "abilities",  # Forge's own
    "ui_settings", "chat_template", "chat_template_caps", "bos_token", "eos_token", "build_info",
    "is_sleeping", "cors_proxy_enabled",
}  # fmt: skip


def complete(http: httpx.Client, **params: Any) -> Any:
    answer = http.post("/completion", json=GREEDY | params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(http: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = http.post("/completion", json=GREEDY | params | {"stream": True})
    assert answer.status_code == 200, answer.text
    events = [part.removeprefix("data: ") for part in answer.text.split("\n\n") if part]
    found = [json.loads(event) for event in events]
    assert [event["stop"] for event in found] == [False] * (len(found) - 1) + [True]
    return found


def refused(http: httpx.Client, **params: Any) -> dict[str, Any]:
    answer = http.post("/completion", json=GREEDY | params)
    assert 400 <= answer.status_code < 500
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == answer.status_code
    return error


# ------------------------------------------------------------------ whole answers


def test_an_answer_has_llama_servers_keys(http: httpx.Client) -> None:
    found = complete(http)
    assert found.keys() == COMPLETED
    assert found["timings"].keys() == TIMINGS
    assert found["generation_settings"].keys() == SETTINGS
    assert found["prompt"] == PROMPT
    assert found["model"] == ALIAS
    assert (found["stop"], found["stop_type"], found["stopping_word"]) == (True, "limit", "")
    assert (found["tokens"], found["tokens_predicted"], found["truncated"]) == ([], 12, False)
    assert found["tokens_cached"] == found["tokens_evaluated"] + 11
    counted = found["timings"]
    assert counted["cache_n"] + counted["prompt_n"] == found["tokens_evaluated"]


def test_the_text_is_that_of_other_dialects(exact_http: httpx.Client) -> None:
    other = COMPLETIONS.ask(exact_http, PROMPT, temperature=0, max_tokens=12)
    assert complete(exact_http)["content"] == other.text


def test_settings_are_the_requests(http: httpx.Client) -> None:
    given = {"seed": 7, "top_k": 9, "stop": ["zzz"], "samplers": ["top_k", "temperature"]}
    settings = complete(http, **given)["generation_settings"]
    assert {name: settings[name] for name in given} == given
    assert settings["n_predict"] == settings["max_tokens"] == 12
    assert (settings["top_p"], settings["min_p"], settings["repeat_last_n"]) == (0.95, 0.05, 64)


@pytest.mark.parametrize("name", ["n_predict", "max_tokens", "max_completion_tokens"])
def test_names_of_the_limit(http: httpx.Client, name: str) -> None:
    body = {"prompt": PROMPT, "temperature": 0, name: 3}
    assert http.post("/completion", json=body).json()["tokens_predicted"] == 3


def test_no_token_at_all(http: httpx.Client) -> None:
    found = complete(http, n_predict=0)
    assert (found["content"], found["tokens_predicted"], found["stop_type"]) == ("", 0, "limit")


def test_tokens_are_told_if_asked_for(http: httpx.Client) -> None:
    found = complete(http, return_tokens=True)
    text = http.post("/detokenize", json={"tokens": found["tokens"]}).json()["content"]
    assert (len(found["tokens"]), text) == (12, found["content"])


def test_why_it_stopped(http: httpx.Client) -> None:
    whole = complete(http)["content"]
    word = whole[5:9]
    found = complete(http, stop=[word, "zzz"])
    assert (found["stop_type"], found["stopping_word"]) == ("word", word)
    assert found["content"] == whole[: whole.index(word)]
    ended = complete(http, grammar='root ::= "yes"', n_predict=-1)
    assert (ended["content"], ended["stop_type"], ended["stopping_word"]) == ("yes", "eos", "")


def test_a_context_that_is_full(http: httpx.Client) -> None:
    n_ctx = http.get("/props").json()["default_generation_settings"]["n_ctx"]
    found = complete(http, n_predict=-1, ignore_eos=True, prompt=[5] * (n_ctx - 9))
    assert (found["tokens_predicted"], found["stop_type"]) == (9, "limit")
    assert found["truncated"] is True


def test_fields_that_are_wanted(http: httpx.Client) -> None:
    names = ["content", "generation_settings/n_predict", "prompt", "timings/predicted_n"]
    found = complete(http, response_fields=names)
    assert found.keys() == set(names)
    assert found["generation_settings/n_predict"] == found["timings/predicted_n"] == 12
    assert found["prompt"] == PROMPT
    assert complete(http, response_fields=[]).keys() == COMPLETED


# ------------------------------------------------------------------ prompts


def test_forms_of_a_prompt(exact_http: httpx.Client) -> None:
    ids = exact_http.post("/tokenize", json={"content": PROMPT}).json()["tokens"]
    text = complete(exact_http)["content"]
    found = complete(exact_http, prompt=[ids, PROMPT, {"prompt_string": PROMPT}])
    assert [each["content"] for each in found] == [text] * 3
    assert [each["index"] for each in found] == [0, 1, 2]
    first, rest = PROMPT[:16], PROMPT[16:]
    whole = exact_http.post("/tokenize", json={"content": rest}).json()["tokens"]
    mixed = complete(exact_http, prompt=[first, *whole])
    assert (mixed["prompt"], mixed["content"]) == (PROMPT, text)


def test_several_answers(exact_http: httpx.Client) -> None:
    found = complete(exact_http, temperature=1, seed=5, n_cmpl=2)
    alone = [complete(exact_http, temperature=1, seed=seed)["content"] for seed in (5, 6)]
    assert [each["content"] for each in found] == alone
    assert [each["generation_settings"]["seed"] for each in found] == [5, 6]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["x"]}}, "prompt"),
        ({"prompt": [[1, None]]}, "prompt"),
        ({"prompt": [10**6]}, "prompt"),
        ({"n_probs": 101}, "n_probs"),
        ({"n_indent": -1}, "n_indent"),
        ({"id_slot": 0}, "id_slot"),
        ({"n_cmpl": 128, "prompt": ["a", "b", "c"]}, "n_cmpl"),
        ({"response_fields": "content"}, "response_fields"),
        ({"logit_bias": [["a", "b"]]}, "logit_bias"),
        ({"logit_bias": [["", 1]]}, "logit_bias"),
        ({"logit_bias": [[["a"], 1]]}, "logit_bias"),
        ({"lora": [{"id": 0, "scale": 1}]}, "lora.0.id"),
        ({"mirostat": 2}, "mirostat"),
        ({"n": 0}, "n"),
    ],
)
def test_refusals_name_the_field(http: httpx.Client, params: dict[str, Any], param: str) -> None:
    error = refused(http, **params)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_a_slot_can_not_be_chosen(http: httpx.Client) -> None:
    error = refused(http, id_slot=1)
    assert error["reason"] == "unsupported_parameter"
    assert "slots come and go" in error["message"]
    assert complete(http, id_slot=-1)["id_slot"] == -1


def test_a_prompt_that_is_too_long(http: httpx.Client) -> None:
    n_ctx = http.get("/props").json()["default_generation_settings"]["n_ctx"]
    error = refused(http, prompt=[5] * n_ctx)
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == (
        "exceed_context_size_error",
        n_ctx,
        n_ctx,
    )
    assert "exceeds the available context size" in error["message"]


# ------------------------------------------------------------------ sampling


def test_probabilities(http: httpx.Client) -> None:
    found = complete(http, n_probs=4)["completion_probabilities"]
    assert len(found) == 12
    for token in found:
        assert token.keys() == {"id", "token", "bytes", "logprob", "top_logprobs"}
        assert bytes(token["bytes"]).decode() == token["token"]
        best, *others = token["top_logprobs"]
        assert best == {name: token[name] for name in ("id", "token", "bytes", "logprob")}
        assert len(others) == 3
        assert 0 >= best["logprob"] >= others[0]["logprob"] >= others[1]["logprob"]


def test_probabilities_after_sampling(http: httpx.Client) -> None:
    params = {"n_probs": 10, "temperature": 1, "seed": 3, "post_sampling_probs": True}
    plain = complete(http, temperature=1, seed=3)
    answer = complete(http, **params)
    assert answer["content"] == plain["content"]
    for token in answer["completion_probabilities"]:
        assert token.keys() == {"id", "token", "bytes", "prob", "top_probs"}
        chances = [each["prob"] for each in token["top_probs"]]
        assert chances == sorted(chances, reverse=True)
        assert 0 < chances[-1] <= chances[0] <= 1
        assert len(chances) == 10 or sum(chances) == pytest.approx(1)
    greedy = complete(http, n_probs=3, post_sampling_probs=True)["completion_probabilities"]
    assert [token["prob"] for token in greedy] == [1.0] * 12
    assert [len(token["top_probs"]) for token in greedy] == [1] * 12


def test_a_text_is_banned(http: httpx.Client) -> None:
    first = complete(http, n_predict=1)["content"]
    for bias in ([[first, False]], {first: -100}):
        assert complete(http, n_predict=1, logit_bias=bias)["content"] != first


def test_a_token_may_be_biased_twice(http: httpx.Client) -> None:
    (first,) = complete(http, n_predict=1, return_tokens=True)["tokens"]
    both = complete(http, n_predict=1, return_tokens=True, logit_bias=[[first, -50], [first, 50]])
    assert both["tokens"] == [first]


def test_the_infill_sampler_is_one(http: httpx.Client) -> None:
    found = complete(http, samplers=["top_k", "top_p", "infill"], temperature=1, seed=1)
    assert found["generation_settings"]["samplers"] == ["top_k", "top_p", "infill"]
    # Comparing each pair of a whole vocabulary would stop the worker for seconds.
    assert complete(http, samplers=["infill"], top_k=0)["stop"] is True


# ------------------------------------------------------------------ streams


def test_a_stream(exact_http: httpx.Client) -> None:
    whole = complete(exact_http, return_tokens=True)
    *pieces, end = stream(exact_http)
    assert {frozenset(piece) for piece in pieces} == {frozenset(PIECE)}
    assert "".join(piece["content"] for piece in pieces) == whole["content"]
    assert [id_ for piece in pieces for id_ in piece["tokens"]] == whole["tokens"]
    assert [piece["tokens_predicted"] for piece in pieces] == sorted(
        {piece["tokens_predicted"] for piece in pieces}
    )
    assert (end["content"], end["tokens"]) == ("", [])
    same = COMPLETED - {"content", "tokens", "timings", "generation_settings"}
    assert {name: end[name] for name in same} == {name: whole[name] for name in same}


def test_a_stream_with_probabilities_and_timings(http: httpx.Client) -> None:
    *pieces, end = stream(http, n_probs=2, timings_per_token=True)
    assert len(pieces) == 12
    for at, piece in enumerate(pieces, start=1):
        assert piece.keys() == PIECE | {"timings", "completion_probabilities"}
        assert len(piece["completion_probabilities"]) == len(piece["tokens"]) == 1
        assert piece["timings"]["predicted_n"] >= at
    assert "completion_probabilities" not in end


def test_progress(http: httpx.Client) -> None:
    prompt = "the quick brown fox jumps over the lazy dog " * 40
    events = stream(http, prompt=prompt, return_progress=True, cache_prompt=False)
    told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert told[0]["processed"] == told[0]["cache"] == 0
    done = [progress["processed"] for progress in told]
    assert done == sorted(set(done))
    assert done[-1] == told[-1]["total"] == events[-1]["tokens_evaluated"]
    assert [event["tokens"] for event in events[: len(told)]] == [[]] * len(told)


def test_an_error_in_a_stream_has_a_status(http: httpx.Client) -> None:
    answer = http.post("/completion", json={"prompt": [10**6], "stream": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


# ------------------------------------------------------------------ the server


def test_props(http: httpx.Client, server: ForgeServer) -> None:
    found = http.get("/props").json()
    assert found.keys() == PROPS
    defaults = found["default_generation_settings"]
    assert defaults.keys() == {"params", "n_ctx"}
    assert defaults["params"].keys() == DEFAULTS
    assert defaults["params"]["temperature"] == 0.8
    assert found["model_ftype"] == "F16"
    assert found["total_slots"] == sum(each["slots"] for each in server.get("/workers"))
    assert found["model_alias"] == ALIAS
    assert found["model_path"] == "forge-tiny.gguf"
    assert "<|im_start|>" in found["chat_template"]
    assert found["eos_token"] == "<|im_end|>"
    assert http.get(f"/props?model={ALIAS}").json() == found
    assert http.get("/props?model=other").status_code == 404


def test_slots(http: httpx.Client) -> None:
    found = http.get("/slots").json()
    assert len(found) == http.get("/props").json()["total_slots"]
    assert [slot["id"] for slot in found] == list(range(len(found)))
    assert {frozenset(slot) for slot in found} == {
        frozenset({"id", "n_ctx", "speculative", "is_processing"})
    }
    assert http.get("/slots?fail_on_no_slot=1").status_code == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/slots/0?action=save", "--cache-disk"),
        ("/slots/0?action=erase", "--cache-disk"),
        ("/props", "options"),
    ],
)
def test_not_offered(http: httpx.Client, path: str, words: str) -> None:
    answer = http.post(path, json={"filename": "slot.bin"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (501, 501, "not_supported_error")
    assert words in error["message"]


def test_short_paths(http: httpx.Client) -> None:
    assert http.get("/v1/health").json() == http.get("/health").json()
    assert http.get("/models").json() == http.get("/v1/models").json()
    assert http.get("/lora-adapters").json() == []
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "temperature": 0}
    chat = http.post("/chat/completions", json=body).json()
    counted = http.post("/chat/completions/input_tokens", json=body).json()
    assert counted == {
        "object": "response.input_tokens",
        "input_tokens": chat["usage"]["prompt_tokens"],
    }
    assert http.post("/v1/chat/completions/input_tokens", json=body).json() == counted
    counted = http.post("/responses/input_tokens", json={"input": "hi"}).json()
    assert counted["input_tokens"] > 0
