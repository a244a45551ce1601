"""The generated parts of the documentation: ``python -m tests.docs.reference`` rewrites them.

Each part stands between ``<!-- NAME: ... -->`` and ``<!-- /NAME -->`` on its page; the text
around it is written by hand.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.api import field_policy
from gateway.api.body import SamplingBody
from gateway.api.embeddings import EmbeddingBody
from gateway.api.field_table import ROWS, Below, Row
from gateway.api.infer import InferBody
from gateway.api.llama_server.body import InfillBody, LlamaCompletionBody
from gateway.api.messages.body import MessagesBody
from gateway.api.ollama.options import Options
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from gateway.api.responses.body import ResponseBody
from gateway.cli.main import default_text, describe
from gateway.config.config import Config
from gateway.config.llama_server_options import (
    ALIASES,
    ELSEWHERE,
    HUB,
    NOTES,
    OURS_ALONE,
    SAME,
    SWITCHES,
)
from gateway.core.errors import ForgeError
from gateway.tracing.attributes import ATTRIBUTES
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
    bodies: dict[str, type[SamplingBody | EmbeddingBody]] = {
        "chat": ChatBody,
        "completions": CompletionBody,
        "embeddings": EmbeddingBody,
        "responses": ResponseBody,
        "messages": MessagesBody,
        "Ollama's `options`": Options,
        "/infer": InferBody,
        "/completion": LlamaCompletionBody,
        "/infill": InfillBody,
    }
    kinds = {name: _kinds(body) for name, body in bodies.items()}
    names = sorted({name for each in kinds.values() for name in each})
    rows = [f"| Parameter | {' | '.join(bodies)} |", "|---|" + "---|" * len(bodies)]
    for name in names:
        cells = [kinds[body].get(name, "-") for body in bodies]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _kinds(body: type[SamplingBody | EmbeddingBody]) -> dict[str, str]:
    """Return what is done with each field that an endpoint knows."""
    shown = {"mapped": "yes", "harmless": "ignored", "told": "ignored, named", "refused": "refused"}
    rows = {row.name: shown[row.kind] for row in field_policy.rows(body.place)}
    return rows | dict.fromkeys(field_policy.known_fields(body), "yes")


def fields_tables() -> str:
    """Return the table of fields that are not served under their names, a part for each class."""
    parts: list[str] = []
    for kind, title in KINDS.items():
        found = sorted(
            (row for row in ROWS if row.kind == kind), key=lambda row: (row.clients, row.name)
        )
        if not found:
            continue
        heads = ["Sent by", "Field", "In", "Comment"]
        lines = [f"## {title}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for row in found:
            comment = row.note.replace("|", "\\|") + _let_through(row)
            places = ", ".join(row.places)
            lines.append(f"| {row.clients} | `{row.name}` | {places} | {comment} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


KINDS = {
    "mapped": "Mapped",
    "harmless": "Harmless",
    "told": "Ignored and named",
    "refused": "Refused",
}
"""The title of each class of fields."""


def _let_through(row: Row) -> str:
    """Return the values of a field that ask for nothing."""
    values = [
        f"below {each.bound:g}" if isinstance(each, Below) else f"`{json.dumps(each)}`"
        for each in row.neutral
    ]
    return f"; {', '.join(values)} asks for nothing" if values else ""


def attributes_table() -> str:
    """Return the attributes of spans, from their only declaration."""
    rows = ["| Attribute | Of | Name of | Meaning |", "|---|---|---|---|"]
    for name, attribute in ATTRIBUTES.items():
        rows.append(f"| `{name}` | {attribute.of} | {attribute.source} | {attribute.text} |")
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
    for (taken, instead), alike in groupby(ELSEWHERE, lambda row: (bool(row.taken), row.instead)):
        names = ", ".join(flag for row in alike for flag in row.flags)
        rows.append(f"| {code(names)} | {'taken' if taken else '-'} | {code(instead)} |")
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
    "fields": ("reference/clients.md", fields_tables),
    "errors": ("reference/errors.md", errors_table),
    "commands": ("reference/commands.md", commands_page),
    "options": ("reference/configuration.md", options_table),
    "attributes": ("guides/tracing.md", attributes_table),
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
