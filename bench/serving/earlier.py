"""Rounds of an earlier run, to which a new one adds its own: few have hours at a time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.environment import commit, machine, versions

from .experiment import Found

ALIKE = ("slots", "ctx", "threads", "batch", "beside")
"""Options that must be the same, since one page has the rounds of both."""

CIRCUMSTANCES = ("when", "load_before", "options")
"""The parts of a report that each of its runs has anew."""


class Unlike(Exception):
    """Raised when an earlier report is of something else, which the message names."""


def earlier(path: Path, options: dict[str, Any]) -> tuple[Found, list[dict[str, Any]]]:
    """Return the figures of the report at ``path``, by workload and system, and its runs.

    None of both without a file. Raises :class:`Unlike` if it is no such report, or of another
    commit, machine or shape.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        there = {"commit": told["commit"], "machine": told["machine"], "versions": told["versions"]}
        there |= {name: told["options"][name] for name in ALIKE}
        found = {
            workload: {name: [*map(_figures, each["rounds"])] for name, each in systems.items()}
            for workload, systems in told["workloads"].items()
        }
        runs = [*told.get("earlier_runs", []), {name: told[name] for name in CIRCUMSTANCES}]
    except FileNotFoundError:
        return {}, []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unlike(f"{path.name} is no report of this program") from error
    here = {"commit": commit(), "machine": machine(), "versions": versions()}
    here |= {name: options[name] for name in ALIKE}
    for name, value in here.items():
        if there[name] != value:
            raise Unlike(f"{path.name} has another {name}: {there[name]}, and now {value}")
    return found, runs


def _figures(told: dict[str, float | None]) -> dict[str, float]:
    """JSON has no NaN: null stands for what could not be seen."""
    return {name: math.nan if value is None else value for name, value in told.items()}
