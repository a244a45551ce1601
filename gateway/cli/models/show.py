"""A model's description, abilities and memory need; nothing is loaded."""

import json
import subprocess
from collections import Counter
from typing import Any

from gateway.core.byte_sizes import readable
from gateway.model_files import gguf, memory_fit
from gateway.model_files.catalog import CatalogEntry
from gateway.model_files.ggml import FILE_TYPES
from gateway.model_files.memory_estimate import GATEWAY, MemoryEstimate
from gateway.model_files.shape import HeaderValues, ModelShape, shape
from gateway.system.host import memory_available
from workers.protocol import children

HEADLESS = "no: its file has no head for scores"
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


def described(entry: CatalogEntry, model: gguf.Gguf) -> dict[str, Any]:
    """All that is told, as JSON has it."""
    said, sizes = HeaderValues(model.metadata), shape(model)
    weights = sum(tensor.size for tensor in model.tensors)
    parameters = sum(tensor.values for tensor in model.tensors)
    kinds = Counter[str]()
    for tensor in model.tensors:
        kinds[tensor.type.name] += tensor.values
    said_of_chats = (model.metadata.get(key) for key in TEMPLATES)
    template, for_tools = (it if isinstance(it, str) else None for it in said_of_chats)
    can = supports(model, said, sizes, [template, for_tools])
    return {
        "name": entry.name,
        "title": model.metadata.get("general.name"),
        "files": [str(file) for file in entry.files],
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


def memory(wanted: memory_fit.RequestedShape) -> dict[str, Any]:
    """The memory that `forge serve` will take, in bytes. Raises :class:`NotPlanned`."""
    asked, free = wanted.need(), memory_available()
    return {
        "workers": asked.workers,
        "slots": wanted.spec.slots,
        "ctx": asked.n_ctx,
        "cache_type_k": wanted.spec.type_k,
        "cache_type_v": wanted.spec.type_v,
        "gateway": GATEWAY,
        "spare": asked.spare,
        "weights_mapped": asked.mapped,
        "each_worker": asked.worker._asdict(),
        "total": asked.total,
        "cache_ram": asked.saved,
        "free": free,
        "advice": None if free is None else memory_fit.refusal(wanted, free),
    }


def rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for people: what it is, in words."""
    can = told["supports"]
    reasoning = can["reasoning"]
    recurrent = "recurrent: a state for each sequence" if told["recurrent"] else ""
    window = f"sliding window of {told['sliding_window']:,}" if told["sliding_window"] else ""
    shapes = [f"{told['layers']} layers", f"width {told['width']:,}", window, recurrent]
    template = "none: chats are written as ChatML" if can["chat"] else "none"
    if told["chat_template"]:
        another = ", and another for tools" if told["chat_template_tool_use"] else ""
        template = told["chat_template_error"] or f"yes (--template shows it){another}"
    kinds = ", ".join(f"{name} {share:.0%}" for name, share in _shares(told["types"]))
    lines = [
        ("model", told["name"]),
        ("title", told["title"] or ""),
        ("file", told["files"][0]),
        ("parts", str(len(told["files"])) if len(told["files"]) > 1 else ""),
        ("architecture", f"{told['architecture']}; {', '.join(filter(None, shapes))}"),
        ("parameters", f"{told['parameters'] / 1e6:,.1f} M"),
        ("quantisation", f"{told['quantisation'] or 'unknown'}, "
                         f"{told['bits_per_weight']} bits a weight ({kinds})"),
        ("size", readable(told["size"])),
        ("context", f"{told['context']:,} tokens"),
        ("vocabulary", f"{told['vocabulary']:,} tokens"),
        ("licence", told["license"] or ""),
        ("chat template", template),
        ("chats", "yes" if can["chat"] else "no"),
        ("tools", can["tools"] or "no"),
        ("reasoning", "between {} and {}".format(*reasoning) if reasoning else "no"),
        ("embeddings", "yes" if can["embeddings"] else "no: it ranks"),
        ("ranking", "yes" if can["ranking"] else "no" if can["embeddings"] else HEADLESS),
        ("infill", "yes" if can["infill"] else "no"),
    ]  # fmt: skip
    return [(name, text) for name, text in lines if text]


def _shares(types: dict[str, int]) -> list[tuple[str, float]]:
    total = sum(types.values()) or 1
    return [(name, count / total) for name, count in types.items() if count / total >= 0.005]


def memory_rows(asked: MemoryEstimate) -> list[tuple[str, str, str]]:
    """Return the parts of the memory: a name, for each worker, in all."""
    each = asked.worker

    def row(name: str, size: int) -> tuple[str, str, str]:
        return name, readable(size), readable(size * asked.workers)

    found = [
        ("weights, mapped and shared", "", readable(asked.mapped)),
        row("weights, not mapped", each.weights),
        row("weights, repacked", each.repacked),
        row(f"KV cache, {asked.n_ctx:,} tokens", each.cells),
        row("states of sequences", each.states),
        row("compute buffer", each.compute),
        row("logits", each.logits),
        row("process", each.process),
        ("spare process", "", readable(asked.spare)),
        ("gateway", "", readable(GATEWAY)),
        ("total", "", readable(asked.total)),
    ]
    return [one for one in found if one[2] != readable(0)]
