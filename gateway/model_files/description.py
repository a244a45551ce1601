"""A model's description and abilities, from its file; nothing is loaded."""

import json
import subprocess
from collections import Counter
from typing import Any

from gateway.model_files import gguf
from gateway.model_files.ggml import FILE_TYPES
from gateway.model_files.shape import HeaderValues, ModelShape, shape
from workers.protocol import children

TEMPLATES = ("tokenizer.chat_template", "tokenizer.chat_template.tool_use")
FIM_KEYS = {
    "pre": ("fim_pre_token_id", "prefix_token_id"),
    "suf": ("fim_suf_token_id", "suffix_token_id"),
    "mid": ("fim_mid_token_id", "middle_token_id"),
}
FIM_TOKENS = {
    "pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
            "<|code_prefix|>", "<|prefix|>"),
    "suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
            "<|code_suffix|>", "<|suffix|>"),
    "mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
            "<|code_middle|>", "<|middle|>"),
}  # fmt: skip
"""By which llama.cpp finds the tokens for infilling where no key names them."""


def described(name: str, model: gguf.Gguf, own_template: str | None = None) -> dict[str, Any]:
    """Return all that is told of a model, as JSON has it.

    ``own_template`` stands for those of the file, where the server has another one.
    """
    said, sizes = HeaderValues(model.metadata), shape(model)
    weights = sum(tensor.size for tensor in model.tensors)
    parameters = sum(tensor.values for tensor in model.tensors)
    kinds = Counter[str]()
    for tensor in model.tensors:
        kinds[tensor.type.name] += tensor.values
    found = [model.metadata.get(key) for key in TEMPLATES]
    if own_template is not None:
        found = [own_template, None]
    template, for_tools = (it if isinstance(it, str) else None for it in found)
    can = supports(model, said, sizes, [template, for_tools])
    return {
        "name": name,
        "title": model.metadata.get("general.name"),
        "files": [str(file) for file in model.files],
        "size": model.size,
        "architecture": sizes.architecture,
        "parameters": parameters,
        "quantisation": FILE_TYPES.get(model.metadata.get("general.file_type", -1))
        or next(iter(dict(kinds.most_common(1))), None),
        "bits_per_weight": round(8 * weights / max(1, parameters), 2),
        "types": dict(kinds.most_common()),
        "context": sizes.context,
        "vocabulary": sizes.vocabulary,
        "layers": sizes.layers,
        "width": sizes.width,
        "sliding_window": sizes.window or None,
        "recurrent": sizes.recurrent,
        "license": model.metadata.get("general.license"),
        "chat_template": template,
        "chat_template_tool_use": for_tools,
        "chat_template_error": can.pop("broken"),
        "supports": can,
    }


def supports(
    model: gguf.Gguf, said: HeaderValues, sizes: ModelShape, templates: list[str | None]
) -> dict[str, Any]:
    """Return the model's abilities in the API; ``broken``: the fault of its templates, if any."""
    causal = said.value("attention.causal") is not False
    generates = causal and not sizes.encoder and not sizes.ranks
    told = (
        chat_format(templates) if generates else {"tools": None, "reasoning": None, "broken": None}
    )
    return {
        "chat": generates and told["broken"] is None,
        **told,
        "embeddings": not sizes.ranks,
        "ranking": sizes.ranks and sizes.headed,
        "infill": generates and infills(model),
    }


def chat_format(templates: list[str | None]) -> dict[str, Any]:
    """Return how it calls tools and thinks. The workers know; this process has no templates."""
    done = subprocess.run(
        children.command("workers.chat_format"),
        env=children.environment(),
        input=json.dumps(templates).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def infills(model: gguf.Gguf) -> bool:
    """Tell if it has the three tokens for filling in the middle."""
    tokens = model.metadata.get("tokenizer.ggml.tokens") or ()
    there = set(tokens)
    return all(
        any(f"tokenizer.ggml.{key}" in model.metadata for key in keys)
        or any(text in there for text in FIM_TOKENS[part])
        for part, keys in FIM_KEYS.items()
    )
