"""The `llm` command line, set up as the quickstart says."""

import json
import os
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("llm") is None, reason="llm is not installed: pip install -e '.[clients]'"
)
(SETTINGS,) = [block.text for block in blocks("yaml") if "model_id:" in block.text]
COMMANDS = [
    line for block in blocks("sh") for line in block.text.splitlines() if line.startswith("llm ")
]


def llm(home: Path, *arguments: str) -> str:
    """Return what `llm` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def home(server: ForgeServer, tmp_path: Path) -> Path:
    settings = SETTINGS.replace("http://127.0.0.1:8080", server.url)
    (tmp_path / "extra-openai-models.yaml").write_text(settings)
    return tmp_path


def test_streaming_or_not(home: Path) -> None:
    asked = ("-m", "forge", "what is 2+2?", "-o", "temperature", "0")
    assert "4" in llm(home, *asked)
    assert llm(home, *asked, "--no-stream") == llm(home, *asked)


def test_schemas(home: Path) -> None:
    person = json.loads(
        llm(home, "-m", "forge", "--schema", "name, age int", "Who?", "-o", "max_tokens", "200")
    )
    assert isinstance(person["age"], int)


def test_tools(home: Path) -> None:
    """It gives the model a tool, runs what the model calls, and feeds the result back."""
    function = (
        "def get_weather(city: str) -> str:\n    'Weather of a city'\n    return 'sunny in ' + city"
    )
    question = "What is the weather in Paris?"
    asked = ("-m", "forge", "--functions", function, "--td", question, "-o", "temperature", "0")
    assert llm(home, *asked)


def test_its_own_tools(home: Path) -> None:
    """Tools without parameters: a model that invents some would make llm fail."""
    asked = ("-m", "forge", "-T", "llm_version", "-T", "llm_time", "--td", "What time is it?")
    assert llm(home, *asked, "-o", "temperature", "0", "-o", "max_tokens", "200")


def test_the_readmes_commands(home: Path) -> None:
    assert COMMANDS
    for command in COMMANDS:
        assert llm(home, *shlex.split(command)[1:])
