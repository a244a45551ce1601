"""The projector that belongs to a model: a file beside it whose name has ``mmproj``.

It makes pictures or sound into what the model reads as tokens. Its name is all that is looked at:
if several models lie in a folder, a projector is the one of the model whose name it has.

Example: beside ``SmolVLM-500M-Instruct-Q8_0.gguf`` and ``gemma-3-4b-it-Q4_K_M.gguf`` lies
``mmproj-SmolVLM-500M-Instruct-f16.gguf``: it is the first one's, and the second has none.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePath

from gateway.core.split_files import PART

NAME = re.compile("mmproj", re.IGNORECASE)
_OTHERS = re.compile("imatrix", re.IGNORECASE)
_QUANT = re.compile(
    r"[-_.](?:ud[-_.])?(?:i?q\d\w*|tq\d\w*|mxfp4\w*|bf16|fp?16|fp?32)$", re.IGNORECASE
)
_BEST = ("f16", "fp16", "bf16", "q8_0", "f32", "fp32")
"""Precisions in the order in which they are taken: the smallest that loses nothing first."""
SNAPSHOTS = "snapshots"
"""Folder of the hub's cache below which each revision of a repository has one."""


def beside(model: Path) -> Path | None:
    """Return the projector of a model, from its folder; None if there is none.

    In the hub's cache also from the top of its repository, where models lie in folders.
    """
    found = _in_folder(model.parent, model)
    top = model.parent.parent
    if found is None and top.parent.name == SNAPSHOTS:
        found = _in_folder(top, model)
    return found


def _in_folder(folder: Path, model: Path) -> Path | None:
    try:
        names = [each.name for each in folder.iterdir() if each.suffix.lower() == ".gguf"]
    except OSError:
        return None
    name = chosen(names, model.name)
    return None if name is None else folder / name


def chosen(names: Iterable[str], model: str) -> str | None:
    """Return which of the files of a folder is the projector of the one named ``model``."""
    there = sorted(names)
    projectors = [each for each in there if NAME.search(each)]
    models = {
        family(each)
        for each in [*there, model]
        if not NAME.search(each) and not _OTHERS.search(each)
    }
    if len(models) > 1:
        projectors = [each for each in projectors if family(each) == family(model)]
    return min(projectors, key=_rank, default=None)


def family(name: str) -> str:
    """Return a file's name without its quantisation, its parts and the word itself."""
    part = PART.fullmatch(name)
    stem = part["stem"] if part is not None else PurePath(name).stem
    stem = NAME.sub("", stem).strip("-_.")
    return _QUANT.sub("", stem).casefold().replace("_", "-").strip("-.")


def _rank(name: str) -> tuple[int, str]:
    stem = PurePath(name).stem.casefold()
    ranks = [at for at, each in enumerate(_BEST) if stem.endswith(each)]
    return (min(ranks, default=len(_BEST)), name)
