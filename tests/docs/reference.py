"""The generated parts of the documentation: ``python -m tests.docs.reference`` rewrites them.

Each part stands between ``<!-- NAME: ... -->`` and ``<!-- /NAME -->`` on its page; the text
around it is written by hand.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from gateway.core.errors import ForgeError
from tests.docs.api_page import api_page
from tests.docs.pages import DOCS
from tests.support.server import ForgeServer


def options_table() -> str:
    """Return the table of options, from their only definition."""
    rows = ["| Option | Environment | Default | Meaning |", "|---|---|---|---|"]
    for name, field in Config.model_fields.items():
        option = name.replace("_", "-")
        flag = f"`--{option}` / `--no-{option}`" if field.annotation is bool else f"`--{option}`"
        meaning = describe(field).replace("|", "\\|")
        rows.append(f"| {flag} | `FORGE_{name.upper()}` | {default_text(field)} | {meaning} |")
    return "\n".join(rows)


def parameters_table() -> str:
    """Return which endpoint takes each parameter, from the types that validate."""
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


def errors_table() -> str:
    """Return the closed tree of errors, by status."""

    def below(kind: type[ForgeError]) -> list[type[ForgeError]]:
        return [each for child in kind.__subclasses__() for each in (child, *below(child))]

    rows = ["| Status | Code | Type | Meaning |", "|---|---|---|---|"]
    for kind in sorted(below(ForgeError), key=lambda kind: kind.status):
        meaning = " ".join((kind.__doc__ or "").split()).replace("``", "`").replace("|", "\\|")
        kinds = "`requests` or `tokens`" if kind.code == "rate_limit_exceeded" else f"`{kind.type}`"
        rows.append(f"| {kind.status} | `{kind.code}` | {kinds} | {meaning} |")
    return "\n".join(rows)


def metrics_table(server: ForgeServer) -> str:
    """Return all metrics of our own, as they are scraped."""
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
    """Return llama-server's options and ours, from what the command line is made of."""
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
    """Set options as code."""
    return re.sub(
        r"(?<!\S)--?[a-z][a-z-]*[a-z]|(?<!\S)-[a-zA-Z](?=[\s,]|$)", r"`\g<0>`", text, flags=re.I
    )


def helped(command: str) -> str:
    """Return what a command says of itself, on a screen of 100 columns."""
    environment = {**os.environ, "COLUMNS": "100"}
    words = [sys.executable, "-m", "gateway.cli", *command.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def commands_page() -> str:
    """Return what each says to --help; the options of serve are a page of their own."""
    names = [
        name for name in re.findall(r"^    (\w+) ", helped(""), re.MULTILINE) if name != "serve"
    ]
    found = [f"```text\n$ forge --help\n{helped('')}\n```"]
    found += [f"## forge {name}\n\n```text\n{helped(name)}\n```" for name in names]
    return "\n\n".join(found)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "api": ("reference/api.md", api_page),
    "parameters": ("reference/parameters.md", parameters_table),
    "errors": ("reference/errors.md", errors_table),
    "commands": ("reference/commands.md", commands_page),
    "options": ("reference/configuration.md", options_table),
    "llama-server": ("guides/from-llama-server.md", llama_server_table),
}
"""The page of each part, and the function that makes it."""
METRICS = "reference/metrics.md"
"""The page of the part that needs a server."""


def shown(name: str, page: str) -> str:
    """Return the part ``name`` as ``page`` has it."""
    found = re.search(rf"<!-- {name}:.*?-->\n(.*?)<!-- /{name} -->", _read(page), re.DOTALL)
    assert found is not None, f"docs/{page} has no part {name}"
    return found[1].strip()


def _read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def write(name: str, page: str, text: str) -> None:
    """Replace the part ``name`` of ``page``."""
    updated = re.sub(
        rf"(<!-- {name}:.*?-->\n).*?(<!-- /{name} -->)",
        lambda match: f"{match[1]}\n{text}\n\n{match[2]}",
        _read(page),
        flags=re.DOTALL,
    )
    (DOCS / page).write_text(updated, "utf-8")


def main() -> None:
    """Bring all parts up to date."""
    for name, (page, made) in PARTS.items():
        write(name, page, made())
    with tempfile.TemporaryDirectory() as folder:
        server = ForgeServer(Path(folder)).wait_ready()
        try:
            write("metrics", METRICS, metrics_table(server))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
