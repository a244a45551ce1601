"""From one look to the next: only what changed is told. Pure.

What is shown is a handful of facts and some tables. A table is a list of rows in an order that
matters, each with an ``id`` of its own. Told is, for each table that changed: ids that are
``gone``; rows to ``set``, of which only the fields that differ, new rows whole; and all ids in
their ``order`` where that is not what dropping the gone and appending the new leads to.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Row = Mapping[str, Any]
Delta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of things, in values that JSON has."""

    facts: Row = field(default_factory=dict)
    tables: Mapping[str, list[Row]] = field(default_factory=dict)

    def of_models(self, may_use: Callable[[str], bool]) -> "Snapshot":
        """Return it without the rows about models that a viewer may not use.

        A row about a model has its name in ``model``. Facts are sums over all of them.
        """
        return Snapshot(
            self.facts,
            {
                name: [row for row in rows if "model" not in row or may_use(row["model"])]
                for name, rows in self.tables.items()
            },
        )


def difference(before: Snapshot, after: Snapshot) -> Delta:
    """The changes that take a viewer from ``before`` to ``after``; empty without any.

    Both have the same tables, or ``before`` has none yet. Facts never go away.
    """
    delta: Delta = {}
    if facts := _changed(before.facts, after.facts):
        delta["facts"] = facts
    for name, rows in after.tables.items():
        if table := _table(before.tables.get(name, []), rows):
            delta[name] = table
    return delta


def _changed(before: Row, after: Row) -> dict[str, Any]:
    return {key: value for key, value in after.items() if key not in before or before[key] != value}


def _table(before: Iterable[Row], after: Iterable[Row]) -> Delta:
    old = {row["id"]: row for row in before}
    new = {row["id"]: row for row in after}
    changes = {id_: _changed(old.get(id_, {}), row) for id_, row in new.items()}
    gone = [id_ for id_ in old if id_ not in new]
    told = [{"id": id_, **change} for id_, change in changes.items() if change]
    kept = [id_ for id_ in old if id_ in new]
    expected = kept + [id_ for id_ in new if id_ not in old]
    delta: Delta = {"gone": gone, "set": told}
    if expected != list(new):
        delta["order"] = list(new)
    return {key: value for key, value in delta.items() if value}


class Broadcast:
    """The last look as bytes, ready for any number of viewers.

    A viewer remembers a version and nothing else. One that missed a delta, because it reads slowly
    or has just come, gets the whole instead: nothing is kept for a single viewer.
    """

    def __init__(self) -> None:
        self.version = 0
        self._snapshot = Snapshot()
        self._delta = b""
        """From the version before."""
        self._whole = b""
        """Made when the first viewer needs it."""

    def show(self, snapshot: Snapshot, now_s: float) -> bool:
        """Tell whether there are news. ``now_s`` is the time on the snapshot's clock."""
        delta = difference(self._snapshot, snapshot)
        if not delta:
            return False
        self._snapshot = snapshot
        self._delta = event("delta", {"now": now_s, **delta})
        self._whole = b""
        self.version += 1
        return True

    def since(self, version: int, now_s: float) -> bytes:
        """The changes that bring a viewer of ``version`` (0: nothing) up to date, if any."""
        if version == self.version:
            return b""
        if version and version == self.version - 1:
            return self._delta
        if not self._whole:
            whole = difference(Snapshot(), self._snapshot)
            self._whole = event("state", {"now": now_s, **whole})
        return self._whole


def event(name: str, data: Any) -> bytes:
    """A server-sent event; ``data`` as JSON, which has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
