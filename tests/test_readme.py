"""The README's examples are executed, and its table of options is the real one."""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from gateway.api.embeddings import EmbeddingBody
from gateway.api.infer import InferBody
from gateway.api.openai import chat, completions
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from gateway.cli.main import default_text, describe
from gateway.config.config import Config
from gateway.config.llama_server_compat import (
    ALIASES,
    ELSEWHERE,
    HUB,
    NOTES,
    OURS_ALONE,
    SAME,
    SWITCHES,
)
from tests.conftest import Start
from tests.support.server import ForgeServer

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "bash"]
PYTHON = [text for language, text in BLOCKS if language == "python"]


def run(command: list[str], server: ForgeServer, source: str) -> str:
    """The output of an example, run as it stands but for the port."""
    source = source.replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([*command, source], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def curls(block: str) -> list[str]:
    """The commands of a block: each begins with curl at the start of a line."""
    return re.split(r"\n(?=curl )", block.strip())


@pytest.mark.parametrize("command", [command for block in SHELL for command in curls(block)])
def test_shell_examples(server: ForgeServer, command: str) -> None:
    # --fail-with-body: a 4xx or 5xx is an exit code, and says why.
    output = run(["bash", "-c"], server, command.replace("curl ", "curl --fail-with-body ", 1))
    assert output.strip()


def test_the_keys_open_a_server_that_has_them(start_server: Start, tmp_path: Path) -> None:
    """The examples with keys also run where keys are needed; one without fails there."""
    (keys,) = [text for language, text in BLOCKS if language == "toml"]
    file = tmp_path / "keys.toml"
    file.write_text(keys)
    file.chmod(0o600)
    options = ("--workers", "1", "--slots", "1", "--api-key-file", str(file))
    server = start_server(*options, key=re.findall(r'^key = "(.*?)"', keys, re.MULTILINE)[0])
    commands = [command for block in SHELL for command in curls(block)]
    keyed = [command for command in commands if re.search("Authorization|X-API-Key", command)]
    assert len(keyed) == 2
    for command in keyed:
        run(["bash", "-c"], server, command.replace("curl ", "curl --fail-with-body ", 1))
    assert "invalid_api_key" in run(["bash", "-c"], server, commands[0])
    server.stop()


@pytest.mark.parametrize("source", PYTHON)
def test_python_examples(server: ForgeServer, source: str) -> None:
    for module in re.findall(r"^from (\w+)", source, re.MULTILINE):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[clients]'")
    strict = [] if "langchain" in source else ["-W", "error"]  # its warnings are its own
    output = run([sys.executable, *strict, "-c"], server, source)
    assert len(output.split()) > 3


def test_the_shown_answer_has_the_real_fields(server: ForgeServer) -> None:
    shown = json.loads(next(text for language, text in BLOCKS if language == "json"))
    real = json.loads(run(["bash", "-c"], server, curls(SHELL[0])[0]))
    assert fields(shown) == fields(real)
    assert "4" in real["response"]


def fields(value: Any) -> Any:
    """The shape of a JSON value: its keys, without the values."""
    return {key: fields(inner) for key, inner in value.items()} if isinstance(value, dict) else ...


def options_table() -> str:
    """The README's table of options, from their only definition."""
    rows = ["| Option | Environment | Default | Meaning |", "|---|---|---|---|"]
    for name, field in Config.model_fields.items():
        option = name.replace("_", "-")
        flag = f"`--{option}` / `--no-{option}`" if field.annotation is bool else f"`--{option}`"
        rows.append(
            f"| {flag} | `FORGE_{name.upper()}` | {default_text(field)} | {describe(field)} |"
        )
    return "\n".join(rows)


def parameters_table() -> str:
    """Each parameter, and which endpoint takes it, from the types that validate."""
    endpoints: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
        "chat": (ChatBody, chat.REFUSED),
        "completions": (CompletionBody, completions.REFUSED),
        "embeddings": (EmbeddingBody, {}),
        "/infer": (InferBody, {}),
    }
    names = dict.fromkeys(
        name for body, refused in endpoints.values() for name in (*body.model_fields, *refused)
    )
    rows = [f"| Parameter | {' | '.join(endpoints)} |", "|---|" + "---|" * len(endpoints)]
    for name in sorted(names):
        cells = [
            "yes" if name in body.model_fields else "refused" if name in refused else "-"
            for body, refused in endpoints.values()
        ]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def metrics_table(server: ForgeServer) -> str:
    """All metrics of our own, as they are scraped."""
    with server.client(Accept="text/plain") as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for family in families:
        if family.name.startswith("forge_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            names = dict.fromkeys(name for each in family.samples for name in each.labels)
            labels = ", ".join(f"`{name}`" for name in names if name != "le")
            rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def llama_server_table() -> str:
    """llama-server's options and what they are here, from what the command line is made of."""
    rows, same = ["| llama-server | Forge | |", "|---|---|---|"], list[str]()
    for name in SAME:
        option = "--" + name.replace("_", "-")
        on, off = SWITCHES.get(name, ((), ()))
        flags = [*ALIASES.get(name, ()), *(HUB if name == "model" else ()), *on, *off, option]
        if Config.model_fields[name].annotation is bool:
            flags.append(f"--no-{option[2:]}")
        theirs = ", ".join(flag for flag in flags if flag not in OURS_ALONE)
        if name in NOTES:
            rows.append(f"| {code(theirs)} | {code(option)} | {code(NOTES[name])} |")
        elif option in OURS_ALONE:
            rows.append(f"| {code(theirs)} | {code(option)} | |")
        else:
            same.append(theirs)
    rows.append(f"| {code(', '.join(same))} | the same | |")
    rows += [f"| {code(', '.join(row.flags))} | - | {code(row.instead)} |" for row in ELSEWHERE]
    return "\n".join(rows)


def code(text: str) -> str:
    """With options set as such."""
    return re.sub(
        r"(?<!\S)--?[a-z][a-z-]*[a-z]|(?<!\S)-[a-zA-Z](?=[\s,]|$)", r"`\g<0>`", text, flags=re.I
    )


def helped(command: str) -> str:
    """What a command says of itself, on a screen of 100 columns."""
    environment = {**os.environ, "COLUMNS": "100"}
    words = [sys.executable, "-m", "gateway.cli", *command.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def commands_table() -> str:
    """What each says to --help; the options of serve are a table of their own."""
    names = [
        name for name in re.findall(r"^    (\w+) ", helped(""), re.MULTILINE) if name != "serve"
    ]
    found = [f"```text\n$ forge --help\n{helped('')}\n```"]
    for name in names:
        found.append(f"<details><summary><code>forge {name} --help</code></summary>\n")
        found.append(f"```text\n{helped(name)}\n```\n\n</details>")
    return "\n".join(found)


TABLES = {
    "commands": commands_table,
    "options": options_table,
    "parameters": parameters_table,
    "llama-server": llama_server_table,
}


def shown(name: str) -> str:
    """The README's table of this name."""
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL)
    assert found is not None
    return found[1].strip()


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_the_real_ones(name: str) -> None:
    """To write them anew: ``python -m tests.test_readme``."""
    assert words(shown(name)) == words(TABLES[name]())


def words(text: str) -> list[str]:
    """Without what differs between versions of argparse: "-m MODEL, --model MODEL"."""
    return re.sub(r"(\s--?[a-z][\w-]*) [A-Z_]+(?=,)", r"\1", text).split()


def test_the_table_of_metrics_is_a_scrape(server: ForgeServer) -> None:
    """To write it anew: as above."""
    assert shown("metrics") == metrics_table(server)


def write_tables() -> None:
    """Bring all of them up to date."""
    tables = {name: table() for name, table in TABLES.items()}
    with tempfile.TemporaryDirectory() as folder:
        server = ForgeServer(Path(folder)).wait_ready()
        try:
            tables["metrics"] = metrics_table(server)
        finally:
            server.kill()
    updated = README
    for name, table in tables.items():
        updated = re.sub(
            rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)",
            lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}",  # type: ignore[misc]
            updated,
            flags=re.DOTALL,
        )
    (Path(__file__).parent.parent / "README.md").write_text(updated, "utf-8")


if __name__ == "__main__":
    write_tables()
