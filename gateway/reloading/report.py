"""The result of a reload, as operators are told: in the answer, in the log, by ``forge reload``."""

from typing import Literal

from typing_extensions import TypedDict

Change = Literal["replaced", "settings", "added", "retired", "unchanged", "failed"]


class ModelChange(TypedDict):
    """The result for one model."""

    model: str
    change: Change
    """`replaced`: it has new workers; `settings`: its workers stay, or it is not loaded; `added`;
    `retired`: it takes nothing new; `failed`: it goes on as before."""
    reason: str | None
    """The reason for the change, or for its failure."""


class ReloadReport(TypedDict):
    """A reload that runs, or the last one."""

    state: Literal["none", "running", "done", "refused", "failed"]
    """`refused`: the sources have an error, and nothing has changed; `failed`: it broke off, and
    what is told here has changed."""
    error: str | None
    """The error: the option, where it was said, and why it is wrong."""
    models: list[ModelChange]
    keys: bool
    """True if keys were added, changed or revoked."""
    options: list[str]
    """Options of the server that have other values now."""
    restart: list[str]
    """Options with other values that count only after a restart."""
    seconds: float
    """Time that it took, or has taken so far."""
    waiting: str | None
    """The requests that a reload which runs waits for, how long, and what becomes of them then."""


def none() -> ReloadReport:
    """Return the report before the first reload."""
    return {
        "state": "none",
        "error": None,
        "models": [],
        "keys": False,
        "options": [],
        "restart": [],
        "seconds": 0.0,
        "waiting": None,
    }


def failures(report: ReloadReport) -> str:
    """Return what could not be changed, in one line; empty if all could."""
    failed = [each for each in report["models"] if each["change"] == "failed"]
    return "; ".join(f"{each['model']}: {each['reason']}" for each in failed)


def summary(report: ReloadReport) -> str:
    """Return what happened, in one line."""
    if report["state"] == "refused":
        return f"nothing was changed: {report['error']}"
    parts = [
        f"{each['model']} {each['change']}" + (f" ({each['reason']})" if each["reason"] else "")
        for each in report["models"]
        if each["change"] != "unchanged"
    ]
    parts += ["keys changed"] if report["keys"] else []
    parts += [f"{name} changed" for name in report["options"]]
    if report["restart"]:
        parts.append(f"a restart is needed for {', '.join(report['restart'])}")
    if report["error"] is not None:
        parts.append(f"it broke off: {report['error']}")
    return "; ".join(parts) or "nothing is different"
