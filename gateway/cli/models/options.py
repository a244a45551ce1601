"""What the commands about models can be told. Light, for the command line reads it every time."""

import argparse
from typing import Any

NAMES = ("pull", "list", "show", "rm")
SHAPE = (
    "workers", "slots", "ctx", "cache_ram", "batch", "cache_type_k", "cache_type_v", "flash_attn",
    "repack", "mmap", "mlock", "override_kv",
)  # fmt: skip
"""Options of ``forge serve`` on which the memory depends that ``forge show`` tells."""


def add_to(commands: Any, show: argparse.ArgumentParser) -> None:
    """The commands of this package; ``show`` has the options of SHAPE already."""
    pull = commands.add_parser(
        "pull",
        help="get a model, for forge serve to find it here",
        description="Get a model and print where its file is. An interrupted one goes on where "
        "it was, and a file is in its place only when it is whole.",
        epilog="HF_TOKEN opens what is gated or private, HF_ENDPOINT names another hub, and "
        "HF_HUB_CACHE another cache; it is shared with all that use huggingface_hub.",
    )
    pull.add_argument(
        "source",
        metavar="MODEL",
        help="hf:ORG/REPO (Q4_K_M, or the nearest quantisation there is), hf:ORG/REPO:QUANT, "
        "hf:ORG/REPO:FILE, or an https address",
    )
    listing = commands.add_parser(
        "list",
        help="list the models on this machine",
        description="List the models that are here: in the hub's cache, in Forge's, and in "
        "folders that are named.",
    )
    listing.add_argument(
        "folders", nargs="*", metavar="FOLDER", help="a folder to look into, and into those in it"
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
        description="Delete a model from the hub's cache or Forge's. Files elsewhere are yours.",
    )
    rm.add_argument("name", nargs="?", metavar="MODEL", help="a name that forge list shows")
    rm.add_argument("--yes", action="store_true", help="do not ask")
    rm.add_argument(
        "--unfinished", action="store_true", help="delete what came of models that are not whole"
    )
