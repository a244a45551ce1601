"""The docstrings below a class's fields; Python itself does not keep them."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel


def descriptions(cls: type) -> dict[str, str]:
    """The docstring of each field of a class that has one, with those of its bases."""
    found: dict[str, str] = {}
    for base in _bases(cls):
        found = {**_of_module(base.__module__).get(base.__name__, {}), **found}
    return found


def _bases(cls: Any) -> Iterator[type]:
    """The class and its bases, nearest first. A TypedDict's real ones are not in its MRO."""
    yield from (base for base in cls.__mro__ if base is not BaseModel)
    for base in getattr(cls, "__orig_bases__", ()):
        if hasattr(base, "__mro__"):
            yield from _bases(base)


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """The documented fields of each class of a module; none where there is no source."""
    try:
        source = inspect.getsource(sys.modules[name])
    except (OSError, TypeError):
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_fields(node)) for node in classes}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in pairwise(node.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield field.target.id, inspect.cleandoc(after.value.value)
