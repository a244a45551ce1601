"""The two kinds of reports: their columns, ratios and explanations."""

from __future__ import annotations

from dataclasses import dataclass

from .experiment import CEILING
from .goodput import GAP_S, SHARE, TTFT_S
from .repeats import N

PEER = "llama-server"
_TIMES = (
    "Times in seconds, as the client sees them: TTFT from the request to the first text, ITL "
    "between two pieces of text, E2E to the end of the answer. CPU is that of all the system's "
    "processes for 1,000 tokens of output; memory is what they hold afterwards. "
)
_RATIOS = (
    "Figures are medians of the rounds; ratios are taken round by round (median, and least to "
    f"most), for each figure to that way of {PEER} which is the better one in it. "
)
_CEILING = f"*{CEILING}*: all prompts at once and then all answers, without a server. "


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a page: ``note`` is its explanation, ``title`` has the model's name."""

    prefix: str
    """Of the files' names."""
    title: str
    note: str
    columns: dict[str, tuple[str, int]]
    """Heading: which figure, and with how many digits."""
    ratios: dict[str, str]
    """Heading: which figure."""


UNIFORM = Style(
    "serving",
    "# Serving {}, beside others",
    "Every system is alone on the machine when it is measured, with the same file, slots, KV "
    f"cells, threads, batch and prompts, and each round starts them in another order. {_RATIOS}"
    f"{_TIMES}*forge* has a worker for each thread, which share slots and cells evenly; *engine* "
    f"is one worker with all of it, driven over its link without a gateway. {_CEILING}In *a long "
    "prompt into streams* only the pauses of the running streams while it is computed count.",
    {
        "tokens/s": ("tokens_per_s", 1), "requests/s": ("requests_per_s", 2),
        "TTFT p50": ("ttft_p50", 3), "p99": ("ttft_p99", 3), "max": ("ttft_max", 3),
        "ITL p50": ("itl_p50", 4), "p99 ": ("itl_p99", 3), "worst gap": ("itl_max", 3),
        "E2E p50": ("e2e_p50", 2), "p99  ": ("e2e_p99", 2), "max ": ("e2e_max", 2),
        "CPU s": ("cpu_s_per_1000_tokens", 2), "RSS MiB": ("rss_mib", 0),
        "PSS MiB": ("pss_mib", 0), "errors": ("errors", 0),
    },
    {
        "tokens/s": "tokens_per_s", "TTFT p50": "ttft_p50", "ITL p99": "itl_p99",
        "worst gap": "itl_max", "TTFT of the long prompt": "long_ttft",
    },
)  # fmt: skip
LIFELIKE = Style(
    "lifelike",
    "# {} as people use it, beside others",
    "Every system is alone on the machine when it is measured, with the same file, KV cells, "
    "prompts and a slot for each client, and is started anew for each workload; each round starts "
    "them in another order. Forge chooses its shape (workers and threads) by itself; "
    f"{PEER} has its defaults but for --parallel, --ctx-size and --threads. {_RATIOS}"
    f"{_TIMES}All answers are greedy, and as long as they were asked to be. Lengths are "
    "log-normal. *chat*: one question of 90 words in the median, an answer of 60 tokens. *long*: "
    "900 to 1,700 words, 48 to 96 tokens. *mixed*: one long to three chats. *agents*: a common "
    "system prompt of 700 words with descriptions of tools, then four turns with results of 200 to "
    "2,000 tokens between them, as messages of the user (every template writes those alike), "
    "shortened together where a conversation would not fit into a slot. *editing*: a program of "
    "words and numbers, the same program as the model's answer to it, and the program with some "
    "numbers changed: greedy answers of trained models repeat that, so answers are given texts "
    "and yet sampled token by token; *forge-no-drafts* is the same Forge with drafts off, which "
    "they are in all other workloads. *batch*: 50 words and 32 tokens for all, begun together, "
    "with Forge's class batch. *cached*: the share of prompts' tokens that came from a cache. "
    f"*repeated*: the share of the answers' {N}-grams of words and marks that are in the prompt "
    "or came earlier in the answer, which is what drafts could copy. *goodput*: the highest rate "
    "of arrivals, in requests a second that wait for none before them, at which "
    f"{SHARE:.0%} of the requests have their first token within {TTFT_S:g} s and no gap above "
    f"{GAP_S:g} s; *of closed* is its share of the requests a second of the same system in the "
    f"closed loop beside it. {_CEILING}",
    {
        "tokens/s": ("tokens_per_s", 1), "TTFT p50": ("ttft_p50", 3), "p99": ("ttft_p99", 2),
        "gap p50": ("itl_p50", 4), "p99 ": ("itl_p99", 3), "worst gap": ("itl_max", 3),
        "goodput": ("goodput", 2), "of closed": ("goodput_share", 2),
        "requests/s": ("requests_per_s", 2), "cached": ("cached_share", 2),
        "repeated": ("repeated_share", 2), "CPU s": ("cpu_s_per_1000_tokens", 2),
        "PSS MiB": ("pss_mib", 0), "errors": ("errors", 0),
    },
    {
        "tokens/s": "tokens_per_s", "TTFT p50": "ttft_p50", "worst gap": "itl_max",
        "goodput": "goodput",
    },
)  # fmt: skip
HIGHER = {"tokens_per_s", "requests_per_s", "goodput"}
"""Figures of which more is better."""
