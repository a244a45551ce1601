"""llama-server's options: which are taken here, under which names, and what there is in place of
the others. The table of docs/guides/from-llama-server.md is made from this. Pure.

Names and meanings are those of llama.cpp's common/arg.cpp. An option that Forge does not have is
taken all the same where something here means the same, or where it changes no answer.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.config.llama_server_sampling import LIMIT, SAMPLING, Default
from gateway.config.numbers import number, whole

ALIASES = {
    "model": ("-m", "-mu", "--model-url"),
    "alias": ("-a",),
    "threads": ("-t",),
    "ctx": ("-c", "--ctx-size"),
    "cache_ram": ("-cram",),
    "batch": ("-b", "--batch-size"),
    "cache_type_k": ("-ctk",),
    "cache_type_v": ("-ctv",),
    "flash_attn": ("-fa",),
    "n_gpu_layers": ("-ngl", "--gpu-layers"),
    "main_gpu": ("-mg",),
    "split_mode": ("-sm",),
    "tensor_split": ("-ts",),
    "override_tensor": ("-ot",),
    "n_cpu_moe": ("-ncmoe",),
    "mmproj": ("-mm", "-mmu", "--mmproj-url"),
    "keep_alive": ("--sleep-idle-seconds",),
    "ssl_keyfile": ("--ssl-key-file",),
    "ssl_certfile": ("--ssl-cert-file",),
    "cors_origin": ("--cors-origins",),
}
"""Other names of options that mean the same here, on the command line only."""
SWITCHES = {
    "kv_offload": (("-kvo",), ("-nkvo",)),
    "kv_unified": (("-kvu",), ("-no-kvu", "--no-kv-unified")),
    "repack": ((), ("-nr", "--no-repack")),
    "cpu_moe": (("-cmoe",), ()),
}
"""Likewise: those that switch on, and those that switch off."""
HUB = ("-hf", "-hfr", "--hf-repo")
"""Names of --model whose value stands without hf: there."""

SAME = (
    "model", "alias", "host", "port", "threads", "ctx", "cache_ram", "batch", "cache_type_k",
    "cache_type_v", "flash_attn", "repack", "mmap", "mlock", "numa", "n_gpu_layers", "main_gpu",
    "split_mode", "tensor_split", "kv_offload", "kv_unified", "override_kv",
    "override_tensor", "cpu_moe", "n_cpu_moe", "rope_scaling",
    "rope_scale", "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", "yarn_ext_factor",
    "yarn_attn_factor", "yarn_beta_slow", "yarn_beta_fast", "chat_template", "chat_template_file",
    "keep_alive", "api_key", "api_key_file", "ssl_keyfile", "ssl_certfile", "cors_origin",
    "metrics", "reasoning_budget", "reasoning_budget_message", "lora", "lora_scaled",
    "lora_init_without_apply", "mmproj", "image_min_tokens", "image_max_tokens",
)  # fmt: skip
"""Options of both."""
OURS_ALONE = frozenset({
    "--ctx", "--batch", "--keep-alive", "--ssl-keyfile", "--ssl-certfile", "--cors-origin",
    "--no-mlock", "--no-metrics", "--no-cpu-moe",
})  # fmt: skip
"""Names of theirs that llama-server does not know."""
NOTES = {
    "model": "hf:ORG/REPO[:QUANT] and https addresses, too; -hf takes them without hf:",
    "alias": "one name",
    "host": "one address, no socket path",
    "threads": "of one worker, for prompts as for answers; there are --workers",
    "ctx": "of one worker, of which a request may have all; 0 is left out",
    "cache_ram": "the same; auto in place of -1",
    "batch": "what is computed at once, so -ub, too",
    "mmap": "and --load-mode mmap or none",
    "mlock": "and --load-mode mmap+mlock, without --no-mmap",
    "n_gpu_layers": "0 unless it is set, where llama-server fits them to the memory; all is all",
    "mmproj": "a source as --model's, auto or none, too",
    "lora": "each is also a model by its file's name",
    "lora_scaled": "likewise",
    "lora_init_without_apply": "requests that ask for nothing have none of them, as it says",
    "override_kv": "may also be said several times",
    "override_tensor": "may also be said several times",
    "chat_template": "Jinja, or one of many names such as chatml",
    "chat_template_file": "always Jinja",
    "kv_unified": "auto unless it is set: as without it there, while sequences are short enough",
    "keep_alive": "for one of several models",
    "api_key": "one key; several are in --api-key-file",
    "api_key_file": "TOML, with limits for each key",
    "cors_origin": "none unless it is set; localhost is any page of this machine",
    "metrics": "on unless --no-metrics is set; its names come with --llamacpp-metrics",
}


class Taken(NamedTuple):
    """The way in which an option is taken that is not here."""

    ours: Callable[[str], Sequence[str] | None]
    """Forge's words for its value: none where it is left out, None where it can't be taken."""
    values: int = 0
    """The arguments after it: 0, 1, or MAYBE."""
    default: Default | None = None
    """The default of requests that it sets, in place of ``ours``."""


MAYBE = -1
"""One argument may follow, or none."""


class Elsewhere(NamedTuple):
    """An option that is not here."""

    flags: tuple[str, ...]
    instead: str
    taken: Taken | None = None
    """None: it ends ``forge serve``."""


def _left_out(values: int = 0) -> Taken:
    return Taken(lambda _: (), values)


def _as(*words: str) -> Taken:
    """Return the way of an option without a value."""
    return Taken(lambda _: words)


def _one_of(words: dict[str, Sequence[str]]) -> Taken:
    """Return the way of an option whose other values can't be taken."""
    return Taken(words.get, 1)


def _default(default: Default, values: int = 1) -> Taken:
    """Return the way of an option that sets a default of requests."""
    return Taken(lambda _: (), values, default)


def _slots(value: str) -> Sequence[str]:
    return () if value.startswith("-") else ("--slots", value)


def _batch(value: str) -> Sequence[str]:
    """Return a number that Forge has: llama-server may compute fewer tokens at once.

    Raises ValueError.
    """
    return "--batch", str(min(max(whole(value), 128), 8192))


def _keepalive(value: str) -> Sequence[str]:
    return ("--keepalive", value) if whole(value) > 0 else ()


def _log_level(value: str) -> Sequence[str]:
    levels = {"0": "error", "1": "error", "2": "warning", "3": "info"}
    return "--log-level", levels.get(value, "debug")


ALWAYS = "it is always so"
DEFAULT = "requests that say nothing have it"
NOTHING = "it changes nothing here"
ELSEWHERE = (
    Elsewhere(("-np", "--parallel"), "slots are each worker's", Taken(_slots, 1)),
    Elsewhere(("-ub", "--ubatch-size"), "--batch is what is computed at once", Taken(_batch, 1)),
    Elsewhere(("-tb", "--threads-batch"), "--threads are for prompts as for answers",
              _left_out(1)),
    Elsewhere(("-lm", "--load-mode"), "--mmap and --mlock say it",
              _one_of({"auto": (), "none": ("--no-mmap",), "mmap": ("--mmap",),
                       "mlock": ("--no-mmap", "--mlock"), "mmap+mlock": ("--mmap", "--mlock"),
                       "dio": ("--no-mmap",)})),
    Elsewhere(("-cb", "--cont-batching", "--jinja", "--cache-prompt", "--embedding",
               "--embeddings", "--no-context-shift", "--cache-idle-slots"), ALWAYS, _left_out()),
    Elsewhere(("-sps", "--slot-prompt-similarity"), "the longest common beginning counts",
              _left_out(1)),
    Elsewhere(("-nocb", "--no-cont-batching", "--no-jinja"), "this can't be switched off",
              _left_out()),
    Elsewhere(("--no-cache-prompt",), "cache_prompt in a request says so", _left_out()),
    Elsewhere(("--no-slots", "--props"), "/props and /slots are for reading alone", _left_out()),
    Elsewhere(("--ui", "--webui"), "the live page is Forge's own", _as("--page")),
    Elsewhere(("--no-ui", "--no-webui"), "the live page is Forge's own", _as("--no-page")),
    Elsewhere(("-to", "--timeout"), "--header-timeout, --body-timeout and --queue-timeout say it",
              _left_out(1)),
    Elsewhere(("--sse-ping-interval",), "so often a stream that waits has a comment",
              Taken(_keepalive, 1)),
    Elsewhere(("--threads-http",), "one event loop has all connections", _left_out(1)),
    Elsewhere(("-lv", "--verbosity", "--log-verbosity"), "levels have names",
              Taken(_log_level, 1)),
    Elsewhere(("-v", "--verbose", "--log-verbose"), "levels have names",
              _as("--log-level", "debug")),
    Elsewhere(("--log-disable",), "errors are told all the same", _as("--log-level", "error")),
    Elsewhere(("--log-jsonl",), "on stderr", _as("--log-format", "json")),
    Elsewhere(("--log-file",), "the log is on stderr", _left_out(1)),
    Elsewhere(("--verbose-prompt",), "into the log", _as("--log-prompts")),
    Elsewhere(("--models-max",), "--memory-budget says how many are loaded", _left_out(1)),
    Elsewhere(("--reasoning-format",), "thoughts are in reasoning_content, as with deepseek",
              _one_of({"auto": (), "deepseek": (), "deepseek-legacy": ()})),
    Elsewhere(("--spec-default",), "--speculative drafts by itself where it is faster",
              _left_out()),
    Elsewhere(("--spec-type", "--spec-draft-n-max", "--spec-draft-n-min", "--draft", "--draft-n",
               "--draft-max", "--draft-min", "--draft-p-min", "-md", "--model-draft", "-ngld",
               "--gpu-layers-draft"), "--speculative drafts by itself where it is faster",
              _left_out(1)),
    Elsewhere(("-lcs", "--lookup-cache-static", "-lcd", "--lookup-cache-dynamic",
               "-td", "--threads-draft", "-tbd", "--threads-batch-draft", "-ctkd",
               "--cache-type-k-draft", "-ctvd", "--cache-type-v-draft", "--spec-draft-p-min",
               "--draft-p-split", "--spec-draft-model", "--spec-draft-ngl", "--draft-n-min"),
              "--speculative drafts by itself where it is faster", _left_out(1)),
    Elsewhere(("--pooling",), "it is the model's", _left_out(1)),
    Elsewhere(("--rerank", "--reranking"), "a model that ranks says so itself", _left_out()),
    Elsewhere(("-fit", "--fit"), "--n-gpu-layers says it, and too little memory is told",
              _left_out(MAYBE)),
    Elsewhere(("-fitt", "--fit-target", "-fitc", "--fit-ctx"),
              "--n-gpu-layers says it, and too little memory is told", _left_out(1)),
    Elsewhere(("-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict", "--prio", "--poll",
               "-Cb", "--cpu-mask-batch", "-Crb", "--cpu-range-batch", "--cpu-strict-batch",
               "--prio-batch", "--poll-batch"),
              "taskset and nice count, and workers are nicer than the gateway", _left_out(1)),
    Elsewhere(("--context-shift",), "an answer ends where the context does", _left_out()),
    Elsewhere(("--cache-reuse",), "the beginnings of prompts are reused", _left_out(1)),
    Elsewhere(("--slot-save-path",), "--cache-disk keeps the beginnings of prompts",
              _left_out(1)),
    Elsewhere(("--cors-methods", "--cors-headers"), "what the API needs is let in", _left_out(1)),
    Elsewhere(("--cors-credentials", "--no-cors-credentials"), "keys are headers, not cookies",
              _left_out()),
    Elsewhere(("--log-prefix", "--no-log-prefix", "--log-timestamps", "--no-log-timestamps",
               "--perf", "--no-perf", "--warmup", "--no-warmup", "-e", "--escape", "--no-escape",
               "--swa-full", "--mmproj-offload", "--no-mmproj-offload",
               "--no-cache-idle-slots", "--no-host",
               "--op-offload", "--no-op-offload", "--check-tensors", "--no-agent", "-no-ag",
               "--no-skip-chat-parsing", "--no-log-jsonl", "--no-ui-mcp-proxy",
               "--no-webui-mcp-proxy"), NOTHING, _left_out()),
    Elsewhere(("-co", "--color", "--log-colors"), NOTHING, _left_out(MAYBE)),
    Elsewhere(("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints", "-cms",
               "--checkpoint-min-step",
               "--mtmd-batch-max-tokens", "--media-path", "--tags", "--path", "--ui-config",
               "--webui-config", "--ui-config-file", "--webui-config-file", "-dt",
               "--defrag-thold", "-lzm", "--lazy-mode", "--keep"), NOTHING, _left_out(1)),
    *(Elsewhere(flags, DEFAULT, _default(default)) for flags, default in SAMPLING.items()),
    Elsewhere(("-n", "--predict", "--n-predict"), DEFAULT, _default(LIMIT)),
    Elsewhere(("--ignore-eos",), DEFAULT, _default(Default("ignore_eos", lambda _: True), 0)),
    Elsewhere(("--mirostat",), "a sampler's state is not kept: 0 is left out",
              _one_of({"0": ()})),
    Elsewhere(("--mirostat-lr", "--mirostat-ent", "--adaptive-decay"), NOTHING, _left_out(1)),
    Elsewhere(("--adaptive-target",), "no such sampler: a negative number is left out",
              Taken(lambda value: () if number(value) < 0 else None, 1)),
    Elsewhere(("-bs", "--backend-sampling"), NOTHING, _left_out()),
    Elsewhere(("-rea", "--reasoning"),
              "chat_template_kwargs in a request, --reasoning-budget 0 for off; auto is left out",
              _one_of({"auto": (), "off": ("--reasoning-budget", "0")})),
    Elsewhere(("-hff", "--hf-file"), "--model hf:ORG/REPO:FILE"),
    Elsewhere(("-hft", "--hf-token"), "HF_TOKEN in the environment"),
    Elsewhere(("--offline",), "HF_HUB_OFFLINE in the environment"),
    Elsewhere(("--models-dir", "--models-preset"), "--config with [models.NAME] tables"),
    Elsewhere(("--grammar", "--grammar-file", "-j", "--json-schema", "-jf", "--json-schema-file"),
              "grammar or response_format in a request"),
    Elsewhere(("--reasoning-effort",), "reasoning_effort in a request"),
    Elsewhere(("--chat-template-kwargs",), "chat_template_kwargs in a request"),
    Elsewhere(("--models-autoload",), ALWAYS, _left_out()),
    Elsewhere(("--embd-normalize",), "vectors have length 1: 2 is left out", _one_of({"2": ()})),
    Elsewhere(("--api-prefix",), "a proxy in front of it"),
    Elsewhere(("--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json", "-ag",
               "--agent", "--ui-mcp-proxy", "--webui-mcp-proxy"),
              "nothing: a server runs no programs for its clients"),
    Elsewhere(("-dev", "--device"), "--main-gpu with --split-mode none, or --tensor-split"),
    Elsewhere(("--mmproj-auto",), "it is so unless --mmproj says another",
              _as("--mmproj", "auto")),
    Elsewhere(("--no-mmproj", "--no-mmproj-auto"), "--mmproj none says it",
              _as("--mmproj", "none")),
    Elsewhere(("--control-vector", "--rpc", "--spm-infill", "--skip-chat-parsing"),
              "nothing: this is not there"),
)  # fmt: skip
"""The option or feature in place of it, or the reason why it is left out."""
BY_FLAG = {flag: row for row in ELSEWHERE for flag in row.flags}
VALUES: dict[str, tuple[str, Sequence[str], str]] = {
    "-c": ("0", (), "the model says it"),
    "--ctx-size": ("0", (), "the model says it"),
    "-cram": ("-1", ("--cache-ram", "auto"), "so much as the machine has room for"),
    "--cache-ram": ("-1", ("--cache-ram", "auto"), "so much as the machine has room for"),
    "-t": ("-1", (), "auto is what there is without it"),
    "--threads": ("-1", (), "auto is what there is without it"),
    "-ngl": ("auto", (), "layers go to a GPU as it is said, and without it none"),
    "--gpu-layers": ("auto", (), "layers go to a GPU as it is said, and without it none"),
    "--n-gpu-layers": ("auto", (), "layers go to a GPU as it is said, and without it none"),
}
"""A value of an option of both that Forge has other words for, and why."""
SLOTS = "--slots"
"""Of llama-server a switch, which tells what goes on; here a number."""
