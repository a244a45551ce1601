"""llama-server's options: which are taken here, under which names, and what there is in place of
the others. The table of docs/guides/from-llama-server.md is made from this.

Names and meanings are those of llama.cpp's common/arg.cpp.
"""

from collections.abc import Iterable
from typing import NamedTuple

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
}
"""Likewise: those that switch on, and those that switch off."""
HUB = ("-hf", "-hfr", "--hf-repo")
"""Names of --model whose value stands without hf: there."""

SAME = (
    "model", "alias", "host", "port", "threads", "ctx", "cache_ram", "batch", "cache_type_k",
    "cache_type_v", "flash_attn", "repack", "mmap", "mlock", "numa", "n_gpu_layers", "main_gpu",
    "split_mode", "tensor_split", "kv_offload", "kv_unified", "override_kv", "rope_scaling",
    "rope_scale", "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", "yarn_ext_factor",
    "yarn_attn_factor", "yarn_beta_slow", "yarn_beta_fast", "chat_template", "chat_template_file",
    "keep_alive", "api_key", "api_key_file", "ssl_keyfile", "ssl_certfile", "cors_origin",
    "metrics", "reasoning_budget", "reasoning_budget_message",
)  # fmt: skip
"""Options of both."""
OURS_ALONE = frozenset({
    "--ctx", "--batch", "--keep-alive", "--ssl-keyfile", "--ssl-certfile", "--cors-origin",
    "--no-mlock", "--no-metrics",
})  # fmt: skip
"""Names of theirs that llama-server does not know."""
NOTES = {
    "model": "hf:ORG/REPO[:QUANT] and https addresses, too; -hf takes them without hf:",
    "alias": "one name",
    "host": "one address, no socket path",
    "threads": "of one worker, for prompts as for answers; there are --workers",
    "ctx": "of one worker, of which a request may have all; -c 0 is left out",
    "cache_ram": "the same; auto in place of -1",
    "batch": "what is computed at once, so -ub, too",
    "mmap": "and --load-mode mmap or none",
    "mlock": "and --load-mode mmap+mlock, without --no-mmap",
    "n_gpu_layers": "0 unless it is set, where llama-server fits them to the memory; all is all",
    "override_kv": "may also be said several times",
    "chat_template": "always Jinja, and no name of a template",
    "chat_template_file": "always Jinja",
    "kv_unified": "auto unless it is set: as without it there, while sequences are short enough",
    "keep_alive": "for one of several models",
    "api_key": "one key; several are in --api-key-file",
    "api_key_file": "TOML, with limits for each key",
    "cors_origin": "none unless it is set",
    "metrics": "on unless --no-metrics is set; its names come with --llamacpp-metrics",
}


class Elsewhere(NamedTuple):
    """An option that is not taken."""

    flags: tuple[str, ...]
    instead: str


ELSEWHERE = (
    Elsewhere(("-np", "--parallel"), "--slots, which are each worker's"),
    Elsewhere(("-ub", "--ubatch-size"), "--batch"),
    Elsewhere(("-tb", "--threads-batch"), "--threads, for prompts as for answers"),
    Elsewhere(("-hff", "--hf-file"), "--model hf:ORG/REPO:FILE"),
    Elsewhere(("-hft", "--hf-token"), "HF_TOKEN in the environment"),
    Elsewhere(("-lm", "--load-mode"), "--no-mmap and --mlock"),
    Elsewhere(("-cb", "--cont-batching", "--jinja", "--cache-prompt", "--embedding",
               "--embeddings", "-sps", "--slot-prompt-similarity"),
              "nothing: it is always so (leave it out)"),
    Elsewhere(("-nocb", "--no-cont-batching", "--no-jinja"),
              "nothing: this can't be switched off"),
    Elsewhere(("--no-cache-prompt",), "cache_prompt in a request"),
    Elsewhere(("--no-slots", "--props"), "nothing; /workers and /queue tell what goes on"),
    Elsewhere(("--ui", "--webui", "--no-ui", "--no-webui"),
              "--page or --no-page, a live page without a chat"),
    Elsewhere(("-to", "--timeout"), "--header-timeout, --body-timeout and --queue-timeout"),
    Elsewhere(("--sse-ping-interval",), "--keepalive"),
    Elsewhere(("--threads-http",), "nothing: one event loop has all connections"),
    Elsewhere(("-lv", "--verbosity", "--log-verbosity", "-v", "--verbose", "--log-verbose"),
              "--log-level"),
    Elsewhere(("--log-jsonl",), "--log-format json"),
    Elsewhere(("--verbose-prompt",), "--log-prompts"),
    Elsewhere(("--models-dir", "--models-preset"), "--config with [models.NAME] tables"),
    Elsewhere(("--models-max",), "--memory-budget"),
    Elsewhere(("-n", "--predict", "--n-predict"),
              "max_tokens in a request, or sampling in a [models.NAME] table"),
    Elsewhere(("-s", "--seed", "--temp", "--temperature", "--top-k", "--top-p", "--min-p",
               "--top-nsigma", "--top-n-sigma", "--typical", "--typical-p", "--repeat-penalty",
               "--repeat-last-n", "--presence-penalty", "--frequency-penalty", "--xtc-probability",
               "--xtc-threshold", "--dry-multiplier", "--dynatemp-range", "--samplers",
               "--ignore-eos", "-l", "--logit-bias"),
              "a request's parameters, or sampling in a [models.NAME] table"),
    Elsewhere(("--grammar", "--grammar-file", "-j", "--json-schema", "-jf", "--json-schema-file"),
              "grammar or response_format in a request"),
    Elsewhere(("--reasoning-format",), "nothing: thoughts are in reasoning_content, as deepseek"),
    Elsewhere(("--reasoning-effort",), "reasoning_effort in a request"),
    Elsewhere(("--chat-template-kwargs", "-rea", "--reasoning"),
              "chat_template_kwargs in a request"),
    Elsewhere(("--spec-type", "--spec-default", "--spec-draft-n-max"),
              "--speculative, which drafts by itself where it is faster"),
    Elsewhere(("--pooling",), "nothing: it is the model's"),
    Elsewhere(("-dev", "--device"), "--main-gpu with --split-mode none, or --tensor-split"),
    Elsewhere(("-fit", "--fit"), "--n-gpu-layers; memory that is too little is told at the start"),
    Elsewhere(("-C", "--cpu-mask", "-Cr", "--cpu-range", "--prio", "--poll"),
              "nothing: taskset and nice count, and workers are nicer than the gateway"),
    Elsewhere(("--lora", "--lora-scaled", "--control-vector", "-md", "--model-draft", "-mm",
               "--mmproj", "--rerank", "--reranking", "--context-shift", "--cache-reuse",
               "--slot-save-path", "-ot", "--override-tensor", "-cmoe", "--cpu-moe", "-ncmoe",
               "--n-cpu-moe", "--rpc"),
              "nothing: this is not there"),
)  # fmt: skip
"""The option or feature in place of it."""


def hint(arguments: Iterable[str]) -> str | None:
    """Return the message for the first of llama-server's ``arguments`` that is not taken."""
    instead = {flag: row.instead for row in ELSEWHERE for flag in row.flags}
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag in instead:
            return f"{flag} is llama-server's; here there is {instead[flag]}"
    return None
