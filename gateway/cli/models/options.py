"""The options of the commands about models. Light: the command line reads it every time."""

import argparse
from typing import Any

NAMES = ("pull", "list", "show", "rm", "cache")
SHAPE = (
    "workers", "slots", "ctx", "cache_ram", "batch", "cache_type_k", "cache_type_v", "flash_attn",
    "repack", "mmap", "mlock", "override_kv", "override_tensor", "cpu_moe", "n_cpu_moe",
    "adapters", "lora", "lora_scaled",
)  # fmt: skip
"""Options of ``forge serve`` on which the memory depends that ``forge show`` tells."""


def add_to(commands: Any, show: argparse.ArgumentParser) -> None:
    """The commands of this package; ``show`` has the options of SHAPE already."""
    pull = commands.add_parser(
        "pull",
        help="download a model for forge serve; without a name: choose one",
        description="Download a model and print the path of its file. Without a name, show "
        "well-known models that fit the memory of this machine, and ask for one. An interrupted "
        "download is resumed, and a file takes its name only when it is complete.",
        epilog="HF_TOKEN gives access to gated and private models, HF_ENDPOINT names another hub, "
        "and HF_HUB_CACHE another cache, which all programs with huggingface_hub share.",
    )
    pull.add_argument(
        "source",
        nargs="?",
        metavar="MODEL",
        help="hf:ORG/REPO (Q4_K_M, or the nearest quantisation there is), hf:ORG/REPO:QUANT, "
        "hf:ORG/REPO:FILE, or an https address",
    )
    listing = commands.add_parser(
        "list",
        help="list the models on this machine",
        description="List the models on this machine: in the hub's cache, in Forge's cache, and "
        "in the given folders.",
    )
    listing.add_argument(
        "folders", nargs="*", metavar="FOLDER", help="a folder to search, with all folders in it"
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument(
        "name", metavar="MODEL", help="a file, or a name (or a part of one) that forge list shows"
    )
    show.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument("--template", action="store_true", help="print the chat template alone")
    rm = commands.add_parser(
        "rm",
        help="delete a model from the caches",
        description="Delete a model from the hub's cache or Forge's, never a file elsewhere.",
    )
    rm.add_argument("name", nargs="?", metavar="MODEL", help="a name that forge list shows")
    rm.add_argument("--yes", action="store_true", help="delete without a question")
    rm.add_argument("--unfinished", action="store_true", help="delete incomplete downloads")
    cache = commands.add_parser(
        "cache",
        help="list or delete the prefixes that --cache-disk keeps",
        description="List the prefixes of prompts that forge serve --cache-disk keeps on the disk, "
        "or delete them. They may be deleted at any time, while a server runs, too.",
    )
    cache.add_argument(
        "action", nargs="?", choices=("list", "clear"), default="list", help="list by default"
    )
    cache.add_argument(
        "name", nargs="?", metavar="MODEL", help="of this model: a part of a name in the list"
    )
    cache.add_argument("--json", action="store_true", help="print JSON")
    cache.add_argument("--yes", action="store_true", help="delete without a question")
