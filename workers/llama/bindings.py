"""llama_cpp without its high-level API. Imported before llama_cpp is.

The package begins with importing all of itself. The half that nothing here uses brings Jinja, a
cache on the disk and the formats of chats: 8 MB and an eighth of a second of each worker, and a
template engine where none should be. So the package is made with its bindings alone; what else is
asked of it is looked for in its high-level API, which is imported then.
"""

import importlib
import importlib.util
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

PACKAGE = "llama_cpp"


def prepare() -> None:
    """Make the package, unless it is there. Raises ImportError, as its import would."""
    if PACKAGE in sys.modules:
        return
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    if found.submodule_search_locations is None:
        return  # a module of this name, which is what it is
    package = importlib.util.module_from_spec(found)
    sys.modules[PACKAGE] = package
    try:
        bindings = importlib.import_module(f"{PACKAGE}.{PACKAGE}")
    except BaseException:
        del sys.modules[PACKAGE]
        raise
    _fill(package, bindings)


def _fill(package: ModuleType, bindings: ModuleType) -> None:
    shown = {name: each for name, each in vars(bindings).items() if not name.startswith("_")}
    vars(package).update(shown)

    def rest(name: str) -> Any:
        if name == "__version__":
            return version("llama-cpp-python")
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(importlib.import_module(f"{PACKAGE}.llama"), name)

    vars(package)["__getattr__"] = rest


prepare()
