"""A request's parameters as llama-server tells them: ``generation_settings``. Pure."""

import math
from typing import Any

from gateway.api.other_names import MAX_TOKENS
from workers.protocol import SAMPLERS, Dry, Grammar, Sampling
from workers.protocol import GenerationParams as Params

NO_DRY = Dry(0.0)
USUAL_LAST_N = 64


def common(sampling: Sampling, params: Params, *, stream: bool, per_token: bool) -> dict[str, Any]:
    """Return the settings without those that may be long, which /props tells as defaults."""
    dry = sampling.dry or NO_DRY
    last_n = sampling.repeat_last_n
    limit = -1 if params.max_tokens is None else params.max_tokens
    return {
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "dynatemp_range": sampling.dynatemp_range,
        "dynatemp_exponent": sampling.dynatemp_exponent,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": sampling.top_n_sigma or -1.0,
        "xtc_probability": sampling.xtc_probability,
        "xtc_threshold": sampling.xtc_threshold,
        "typical_p": sampling.typical_p,
        "repeat_last_n": USUAL_LAST_N if last_n is None else last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": dry.multiplier,
        "dry_base": dry.base,
        "dry_allowed_length": dry.allowed_length,
        "dry_penalty_last_n": dry.last_n,
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "max_tokens": limit,
        "n_predict": limit,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": params.ignore_eos,
        "stream": stream,
        "n_probs": params.logprobs or 0,
        "min_keep": sampling.min_keep,
        "chat_format": "Content-only",
        "reasoning_format": "none",
        "reasoning_in_content": False,
        "generation_prompt": "",
        "samplers": list(SAMPLERS if sampling.samplers is None else sampling.samplers),
        "speculative.types": "none",
        "timings_per_token": per_token,
        "post_sampling_probs": params.final_logprobs,
        "backend_sampling": False,
        "lora": [],
    }


def whole(params: Params, *, stream: bool, per_token: bool) -> dict[str, Any]:
    """Return all settings of a request."""
    sampling, constraint = params.sampling, params.constraint
    return {
        **common(sampling, params, stream=stream, per_token=per_token),
        "dry_sequence_breakers": list((sampling.dry or NO_DRY).breakers),
        "stop": list(params.stop),
        "logit_bias": [
            {"bias": -MAX_TOKENS if bias == -math.inf else bias, "token": token}
            for token, bias in sampling.logit_bias
        ],
        "grammar": constraint.source if isinstance(constraint, Grammar) else "",
        "grammar_lazy": False,
        "grammar_triggers": [],
        "preserved_tokens": [],
    }
