"""The table of rooms: which may import which, read from the sources and from an interpreter."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
GATEWAY = sorted((ROOT / "gateway").rglob("*.py"))
WORKERS = sorted((ROOT / "workers").rglob("*.py"))
DEVELOPMENT = ROOT / "workers" / "forge_tiny"
"""Corpus and trainer of the embedded model: never imported by a running worker."""
LLAMA = ROOT / "workers" / "llama"

BASE = {"core"}
ROOMS: dict[str, dict[str, set[str]]] = {
    "gateway": {
        "core": set(),
        "system": BASE,
        "conversation": BASE,
        "stored": BASE | {"system"},
        "ordering": BASE,
        "config": BASE | {"system"},
        "pool": BASE | {"model_files", "system"},
        "dispatch": BASE | {"config", "ordering", "pool"},
        "accounting": BASE | {"config", "dispatch", "stored"},
        "model_files": BASE | {"config", "system"},
        "served": BASE | {"config", "dispatch", "model_files", "ordering", "pool", "system"},
        "reloading": BASE | {"config", "pool", "served"},
        "telemetry": BASE | {"dispatch", "pool", "served", "system"},
        "tracing": BASE | {"dispatch"},
        "http": BASE | {"config", "dispatch"},
        "batches": BASE | {"stored"},
        "capture": BASE | {"config", "dispatch", "stored"},
        "media": BASE | {"config"},
        "api": BASE
        | {"accounting", "batches", "capture", "config", "conversation", "dispatch"}
        | {"media", "model_files", "pool", "reloading", "served", "stored", "system", "telemetry"},
        "dashboard": BASE | {"api", "config", "dispatch", "pool", "served"},
        "front": BASE
        | {"api", "batches", "capture", "config", "dashboard", "dispatch", "http", "model_files"}
        | {"served", "telemetry", "tracing"},
        "app": BASE
        | {"accounting", "api", "batches", "capture", "config", "dashboard", "dispatch", "front"}
        | {"media", "model_files", "pool", "reloading", "served", "stored", "telemetry", "tracing"},
        "banner": {"config", "served"},
        "server": BASE | {"app", "banner", "config", "http", "pool", "served", "system"},
        "cli": BASE
        | {"accounting", "api", "batches", "capture", "config", "http", "model_files"}
        | {"reloading", "served", "server", "stored", "system"},
    },
    "workers": {
        "protocol": set(),
        "parent": set(),
        "json_schema": set(),
        "output": {"json_schema", "protocol"},
        "sampling": {"protocol"},
        "planning": {"protocol"},
        "kv": {"planning", "protocol"},
        "template": {"parent", "protocol"},
        "llama": {"kv", "planning", "protocol", "sampling", "template"},
        "media": {"llama", "parent", "planning", "protocol", "refused"},
        "chat_format": {"json_schema", "output", "protocol", "template"},
        "engine": {"chat_format", "kv", "llama", "media", "output", "planning", "protocol"}
        | {"refused", "sampling"},
        "refused": set(),
        "prompter": {"chat_format", "llama", "media", "protocol", "refused", "template"},
        "prompt_tokens": {"llama", "planning", "protocol", "refused"},
        "pairs": {"llama", "protocol", "refused"},
        "guide_maker": {"chat_format", "json_schema", "llama", "output", "prompter", "protocol"}
        | {"refused", "template"},
        "input_processor": {"chat_format", "engine", "guide_maker", "llama", "media", "output"}
        | {"pairs", "planning", "prompt_tokens", "prompter", "protocol", "refused", "template"},
        "token_service": {"llama", "media", "prompt_tokens", "prompter", "protocol", "refused"}
        | {"template"},
        "link": {"engine", "input_processor", "protocol", "refused", "token_service"},
        "tools": {"engine", "kv", "llama", "parent", "planning", "protocol"},
        "__main__": {"chat_format", "engine", "input_processor", "kv", "link", "llama", "media"}
        | {"parent"}
        | {"planning", "prompter", "protocol", "template", "token_service"},
        "forge_tiny": {"llama"},
    },
}
"""For each room, which other rooms of its package it may import. A room is a folder or a module."""

NUMERIC = {
    "workers/llama/pooling.py",
    "workers/planning/step_times.py",
    "workers/sampling/logprobs.py",
    "workers/tools/quantize.py",
}
"""Arithmetic on what llama.cpp computed."""
CONFIG_ERRORS = {"gateway.config.config", "gateway.config.model_entry"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def known() -> dict[str, Path]:
    """Every module of the two packages."""
    return {module(path): path for path in (*GATEWAY, *WORKERS)}


def statements(path: Path, *, running: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements, also inside functions; ``running``: without those for type checkers."""
    todo: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif running and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)


@cache
def imports(path: Path, *, running: bool = False) -> Sequence[str]:
    """Every module that ``path`` imports: ``a.b`` for "from a import b"."""
    return list(_imports(path, running=running))


def _imports(path: Path, *, running: bool) -> Iterator[str]:
    for node in statements(path, running=running):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            home = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            source = ".".join((*home, *filter(None, [node.module])))
            yield from (f"{source}.{alias.name}" for alias in node.names)


def reaches(path: Path, *packages: str) -> set[str]:
    """Imports of ``packages`` in ``path``."""
    return {
        imported
        for imported in imports(path)
        if any(imported == package or imported.startswith(f"{package}.") for package in packages)
    }


def room(dotted: str) -> str:
    """The room of a module or of a name in it; "" for the package itself."""
    package, _, rest = dotted.partition(".")
    first = rest.partition(".")[0]
    return first if f"{package}.{first}" in known() else ""


@cache
def own_imports(path: Path) -> frozenset[str]:
    """The modules of the two packages that run when ``path`` is imported."""
    found = set()
    for dotted in imports(path, running=True):
        if dotted.partition(".")[0] in ROOMS:
            found.add(dotted if dotted in known() else dotted.rpartition(".")[0])
    return frozenset(found)


@cache
def pure() -> Sequence[Path]:
    """The modules that call themselves pure in their docstrings."""
    found = []
    for path in (*GATEWAY, *WORKERS):
        text = path.read_text("utf-8")
        if "Pure" in text:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            found += [path] if "Pure" in docstring.replace("-", "x") else []
    return found


def offences(found: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules, by their names, with something that they must not have."""
    return {name: each for name, each in found.items() if each}


def test_files_are_found() -> None:
    assert len(GATEWAY) > 100
    assert len(WORKERS) > 60
    assert len(pure()) > 50


def test_rooms_import_only_what_the_table_allows() -> None:
    found = {}
    for path in (*GATEWAY, *WORKERS):
        package = path.relative_to(ROOT).parts[0]
        home = room(module(path))
        if home:
            reached = {room(dotted) for dotted in reaches(path, package)} - {home, ""}
            found[name(path)] = reached - ROOMS[package][home]
    assert offences(found) == {}


def test_the_table_has_every_room_and_no_cycle() -> None:
    for package, table in ROOMS.items():
        assert set(table) == {room(each) for each in known() if each.startswith(f"{package}.")}
        order: list[str] = []
        while len(order) < len(table):
            free = [each for each in table if each not in order and table[each] <= {*order}]
            assert free, f"a cycle among {set(table) - set(order)}"
            order += free


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in known().values():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_gateway_knows_only_the_protocol_of_the_workers() -> None:
    others = ("llama_cpp", "numpy", "torch", "gguf", "tests", "bench")
    found = {
        name(path): reaches(path, "workers") - reaches(path, "workers.protocol")
        | reaches(path, *others)
        for path in GATEWAY
    }
    assert offences(found) == {}


def test_workers_know_nothing_of_the_gateway() -> None:
    others = ("gateway", "starlette", "uvicorn", "uvloop", "asyncio", "tests")
    assert offences({name(path): reaches(path, *others) for path in WORKERS}) == {}


def test_one_package_talks_to_llama_cpp() -> None:
    found = {}
    for path in WORKERS:
        if LLAMA not in path.parents and DEVELOPMENT not in path.parents:
            numeric = name(path) in NUMERIC
            found[name(path)] = reaches(path, "llama_cpp", *(() if numeric else ("numpy",)))
    assert offences(found) == {}


def test_running_workers_do_not_need_the_development_tools() -> None:
    tools = ("workers.forge_tiny", "torch", "tokenizers", "gguf")
    running = [path for path in WORKERS if DEVELOPMENT not in path.parents]
    assert offences({name(path): reaches(path, *tools) for path in running}) == {}


def test_pure_modules_do_no_io_and_read_no_clock() -> None:
    """Neither they nor the modules that they reach through others."""
    outside = {"asyncio", "socket", "time", "datetime", "threading", "os", "random", "llama_cpp"}
    found = {}
    for path in pure():
        todo, seen = {module(path)}, set[str]()
        while todo:
            dotted = todo.pop()
            seen.add(dotted)
            source = known()[dotted]
            reached = {each.partition(".")[0] for each in imports(source, running=True)}
            found[f"{name(path)} by way of {dotted}"] = reached & outside
            todo |= own_imports(source) - seen
    assert offences(found) == {}


def loaded(source: str, heavy: set[str]) -> set[str]:
    """Return those modules that an interpreter has after ``source``."""
    told = f"import sys\n{source}\nprint(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_gateway_loads_no_engine() -> None:
    """Also not by accident, through a module that imports another."""
    heavy = {"llama_cpp", "numpy", "torch", "workers.engine", "workers.llama", "sqlalchemy"}
    assert loaded("import gateway.app, gateway.cli.serve.command, gateway.server", heavy) == set()


def test_importing_the_command_line_loads_no_server() -> None:
    """Nor an HTTP client: most commands answer at once."""
    heavy = {"asyncio", "gateway.api", "gateway.pool", "gateway.served", "httpx2", "rich"}
    assert loaded("import gateway.cli.main", heavy) == set()


def test_a_spawned_worker_loads_its_entry_alone() -> None:
    heavy = {"asyncio", "gateway.pool.process", "gateway.core", "gateway.config"}
    assert loaded("import gateway.pool.entry", heavy) == set()


def test_importing_the_worker_loads_no_gateway() -> None:
    heavy = {"gateway", "asyncio", "starlette", "uvicorn", "torch", "workers.forge_tiny"}
    assert loaded("import workers.__main__", heavy | {"jinja2", "llama_cpp.llama"}) == set()
