"""llama_cpp with its bindings alone is the package that it was to whatever imports it."""

import subprocess
import sys
from importlib.metadata import version

import pytest

WHOLE = "import llama_cpp"
OURS = "import sys, workers.llama, llama_cpp; assert 'llama_cpp.llama' not in sys.modules"


def said(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_it_has_all_that_the_bindings_have() -> None:
    names = "print(*sorted(each for each in vars(llama_cpp.llama_cpp) if each[0] != '_'"
    asked = f"{names} and getattr(llama_cpp, each) is getattr(llama_cpp.llama_cpp, each)))"
    found = said(f"{OURS}; {asked}")
    assert "llama_decode" in found.split()
    assert found == said(f"{WHOLE}; {asked}")


@pytest.mark.parametrize("name", ["Llama", "LlamaGrammar"])
def test_the_rest_comes_when_it_is_asked_for(name: str) -> None:
    """Also of other modules of the package, and by ``from``."""
    assert said(f"{OURS}; print(llama_cpp.{name})") == said(f"{WHOLE}; print(llama_cpp.{name})")
    imported = f"from llama_cpp import {name}, mtmd_cpp; print({name}.__name__)"
    assert said(f"{OURS}; {imported}") == name


def test_its_version_and_file() -> None:
    told = "print(llama_cpp.__version__, llama_cpp.__file__)"
    assert said(f"{OURS}; {told}") == said(f"{WHOLE}; {told}")
    assert said(f"{OURS}; {told}").split()[0] == version("llama-cpp-python")


def test_a_name_that_it_has_not_is_none_of_it() -> None:
    asked = "print(hasattr(llama_cpp, 'llama_nothing'), hasattr(llama_cpp, '__nothing__'))"
    assert said(f"{OURS}; {asked}") == "False False"


def test_a_package_that_is_there_is_left_as_it_is() -> None:
    assert said("import llama_cpp, workers.llama; print(llama_cpp.llama.__name__)") == (
        "llama_cpp.llama"
    )
