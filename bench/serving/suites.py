"""The two suites: workloads as people bring them, and such that hold all but one thing equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.models import SHAPES
from bench.trained import TRAINED

from .experiment import CEILING, Spec
from .lifelike import Lifelike, sittings
from .prompts import known
from .report import PLAIN
from .settings import Settings
from .styles import LIFELIKE, UNIFORM, Style
from .systems import (
    System,
    bare_engine,
    drafts_exist,
    forge,
    forge_itself,
    llama_server,
)
from .systems import python_server as python_system
from .workloads import Plan, Sitting, workloads

EMBEDDED = "embedded"
Make = Callable[[], System]


@dataclass(frozen=True, slots=True)
class Suite:
    """Systems, models and workloads, in full and in short."""

    style: Style
    full: Plan | Lifelike
    quick: Plan | Lifelike
    models: list[str]
    quick_models: list[str]
    systems: list[str]
    quick_systems: list[str]


_UNIFORM = ["forge", "forge-no-repack", "forge-one-worker", "engine", "llama-server",
            "llama-server-no-repack", "llama-server-unified", "llama_cpp.server",
            CEILING]  # fmt: skip
_LIFELIKE = ["forge", PLAIN, "llama-server", "llama-server-no-repack", CEILING]
SUITES = {
    "lifelike": Suite(
        LIFELIKE,
        Lifelike(),
        Lifelike(
            rounds=1, chat=((1, 3), (4, 2)), long=((2, 1),), mixed=((2, 2),), agents=((2, 1),),
            turns=3, editing=((1, 1),), functions=3, batch=((8, 1),), goodput=10,
        ),
        [*TRAINED, "1b-q4_k_m", EMBEDDED],
        [EMBEDDED],
        _LIFELIKE,
        _LIFELIKE,
    ),
    "uniform": Suite(
        UNIFORM,
        Plan(rounds=3),
        Plan(
            rounds=1, tokens=16, waves={1: 2, 8: 1, 32: 1}, loads=(0.9,), arrivals=12, shared=(8,),
            chats=2, turns=3, long_words=1000, long_tokens=100,
        ),
        [EMBEDDED, *SHAPES],
        [EMBEDDED, next(iter(SHAPES))],
        _UNIFORM,
        [name for name in _UNIFORM if not name.endswith(("no-repack", "unified"))],
    ),
}  # fmt: skip


def made(style: Style, binaries: Path | None) -> dict[str, Make]:
    """Return the makers of systems, by name. Best against best: a peer's best way varies."""
    server = None if binaries is None else binaries / "llama-server"
    if style is LIFELIKE:
        found: dict[str, Make] = {"forge": partial(forge_itself, "forge")}
        if drafts_exist():
            found[PLAIN] = partial(forge_itself, PLAIN, drafts=False)
    else:
        found = {
            "forge": lambda: forge("forge", ["--repack"]),
            "forge-no-repack": lambda: forge("forge-no-repack", ["--no-repack"]),
            "forge-one-worker": lambda: forge("forge-one-worker", ["--repack"], workers=1),
            "engine": lambda: bare_engine("engine", repack=True),
            "llama_cpp.server": lambda: python_system("llama_cpp.server"),
        }
    if server is not None:
        plain = style is UNIFORM
        for name, option, alike in (
            ("llama-server", "--repack", False),
            ("llama-server-no-repack", "--no-repack", False),
            ("llama-server-unified", "--repack", True),
        ):
            found[name] = partial(llama_server, name, server, [option], alike=alike, plain=plain)
    return found


def another(style: Style, name: str, tree: Path | None, options: list[str]) -> System:
    """Forge a second time, with other options or from another checkout."""
    return (forge_itself if style is LIFELIKE else forge)(name, options, tree=tree)


def specification(
    name: str, settings: Settings, plan: Plan | Lifelike, only: list[str] | None,
    ceiling: Path | None,
) -> Spec:  # fmt: skip
    """Return the work on a model. ``only``: beginnings of the names of workloads."""
    context = known(settings.model).context
    if isinstance(plan, Lifelike):
        found = sittings(plan, settings, context, copies=copies(name))
        pilot = None
    else:
        room = min(context, settings.ctx)
        found, pilot = [Sitting(settings, workloads(plan, room, settings.slots))], plan
    kept = [
        Sitting(each.settings, [w for w in each.workloads if _asked(w.name, only)])
        for each in found
    ]
    kept = [each for each in kept if each.workloads]
    return Spec(settings.model, kept, plan.rounds, ceiling, pilot)


def copies(name: str) -> bool:
    """True if a model has learned to repeat a text: random weights and tiny models have not."""
    return name not in (*SHAPES, EMBEDDED)


def _asked(name: str, only: list[str] | None) -> bool:
    return only is None or name.startswith(tuple(only))


def told(args: dict[str, Any], plan: Plan | Lifelike) -> dict[str, Any]:
    """The options for the report, without folders of this machine."""
    shown = [" ".join(w for w in text.split() if not w.startswith("@")) for text in args["beside"]]
    return args | {"plan": plan, "beside": shown}
