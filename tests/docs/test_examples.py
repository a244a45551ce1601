"""The examples of README.md, docs/ and examples/ are executed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.docs.pages import ROOT, Block, block_on, blocks, commands
from tests.support.projectors import write_pair
from tests.support.server import ForgeServer
from tests.support.shared_servers import SharedServers

QUICKSTART = "docs/quickstart.md"
KEYS = "docs/guides/keys-tls-cors.md"
PICTURES = "docs/guides/pictures.md"


@pytest.fixture(scope="module")
def server(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    """As for other tests, and with a place for files."""
    folder = tmp_path_factory.mktemp("examples") / "data"
    return shared_servers("--workers", "2", "--slots", "4", "--data-dir", str(folder))


def page_of(block: Block) -> str:
    """Name a test's case by the page that has the example."""
    return block.page


def run(command: list[str], server: ForgeServer, source: str) -> str:
    """The output of an example, run as it stands but for the port."""
    source = source.replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([*command, source], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def curl(server: ForgeServer, command: str) -> str:
    """The output of a command, which fails with any 4xx or 5xx."""
    return run(["bash", "-c"], server, command.replace("curl ", "curl --fail-with-body ", 1))


@pytest.mark.parametrize("command", commands(), ids=page_of)
def test_shell_examples(server: ForgeServer, command: Block) -> None:
    assert curl(server, command.text).strip()


def test_the_keys_open_a_server_that_has_them(start_server: Start, tmp_path: Path) -> None:
    """The examples with keys also run where keys are needed; one without fails there."""
    keys = block_on(KEYS, "toml")
    file = tmp_path / "keys.toml"
    file.write_text(keys)
    file.chmod(0o600)
    options = ("--workers", "1", "--slots", "1", "--api-key-file", str(file))
    server = start_server(*options, key=re.findall(r'^key = "(.*?)"', keys, re.MULTILINE)[0])
    keyed = [each for each in commands() if re.search("Authorization|X-API-Key", each.text)]
    assert len(keyed) == 3
    for command in keyed:
        curl(server, command.text)
    keyless = next(each for each in commands() if "/infer" in each.text and each not in keyed)
    assert "invalid_api_key" in run(["bash", "-c"], server, keyless.text)
    server.stop()


@pytest.fixture(scope="module")
def seeing(shared_servers: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> ForgeServer:
    """A model that takes pictures."""
    folder = tmp_path_factory.mktemp("seeing")
    model, _ = write_pair("idefics3", EMBEDDED_MODEL, folder)
    return shared_servers("--workers", "1", "--slots", "2", "--alias", "chat", model=model)


@pytest.mark.parametrize("example", blocks("python"), ids=page_of)
def test_python_examples(request: pytest.FixtureRequest, example: Block) -> None:
    server = request.getfixturevalue("seeing" if example.page == PICTURES else "server")
    for module in re.findall(r"^from (\w+)", example.text, re.MULTILINE):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[clients]'")
    strict = [] if "langchain" in example.text else ["-W", "error"]  # its warnings are its own
    output = run([sys.executable, *strict, "-c"], server, example.text)
    assert len(output.split()) > 3


def test_the_shown_answer_has_the_real_fields(server: ForgeServer) -> None:
    shown = json.loads(block_on(QUICKSTART, "json"))
    first = next(each for each in commands() if each.page == QUICKSTART)
    real = json.loads(run(["bash", "-c"], server, first.text))
    assert fields(shown) == fields(real)
    assert "4" in real["response"]


def fields(value: Any) -> Any:
    """The shape of a JSON value: its keys, without the values."""
    return {key: fields(inner) for key, inner in value.items()} if isinstance(value, dict) else ...


@pytest.mark.parametrize("block", blocks("toml"), ids=page_of)
def test_shown_files_are_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda e: e.name)
def test_programs(server: ForgeServer, example: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        env={**os.environ, "FORGE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3


def test_the_configuration_serves(start_server: Start) -> None:
    """With a port of its own: the file's may be in use."""
    server = start_server("--config", str(ROOT / "examples" / "forge.toml"))
    server.stop()
