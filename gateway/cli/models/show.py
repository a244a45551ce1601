"""A model's description and memory need, for people; nothing is loaded."""

from typing import Any

from gateway.core.byte_sizes import readable
from gateway.model_files import memory_fit
from gateway.model_files.memory_estimate import GATEWAY, MemoryEstimate
from gateway.system.host import memory_available

HEADLESS = "no: its file has no head for scores"


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
        row("LoRA adapters", each.adapters),
        row("process", each.process),
        ("spare process", "", readable(asked.spare)),
        ("gateway", "", readable(GATEWAY)),
        ("total", "", readable(asked.total)),
    ]
    return [one for one in found if one[2] != readable(0)]
