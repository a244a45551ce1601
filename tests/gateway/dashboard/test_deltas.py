"""A viewer who is told the differences sees what a viewer sees who is told everything."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dashboard.deltas import Broadcast, Delta, Row, Snapshot, difference, event

FACTS = st.fixed_dictionaries({"waiting": st.integers(0, 3), "draining": st.booleans()})
FIELDS = st.fixed_dictionaries({"id": st.integers(0, 8), "busy": st.integers(0, 2)})
ROWS = st.lists(FIELDS, max_size=8, unique_by=lambda row: row["id"])
SNAPSHOTS = st.builds(Snapshot, FACTS, st.fixed_dictionaries({"jobs": ROWS, "workers": ROWS}))


class Viewer:
    """Does what static/store.js does."""

    def __init__(self) -> None:
        self.version = 0
        self.facts: dict[str, Any] = {}
        self.tables: dict[str, dict[Any, dict[str, Any]]] = {}

    def take(self, delta: Delta) -> None:
        self.facts |= delta.get("facts", {})
        for name in delta.keys() - {"facts", "now"}:
            rows, table = self.tables.setdefault(name, {}), delta[name]
            for id_ in table.get("gone", []):
                del rows[id_]
            for row in table.get("set", []):
                rows[row["id"]] = {**rows.get(row["id"], {}), **row}
            if "order" in table:
                self.tables[name] = {id_: rows[id_] for id_ in table["order"]}

    def read(self, chunk: bytes) -> str:
        """Take a chunk of the stream; the event's name, "" of no chunk."""
        if not chunk:
            return ""
        name, data = chunk.decode().removesuffix("\n\n").split("\n")
        if name == "event: state":
            self.facts, self.tables = {}, {}
        self.take(orjson.loads(data.removeprefix("data: ")))
        return name.removeprefix("event: ")

    def sees(self, snapshot: Snapshot) -> bool:
        tables = {name: list(rows.values()) for name, rows in self.tables.items()}
        wanted = {name: list(rows) for name, rows in snapshot.tables.items()}
        return self.facts == snapshot.facts and all(
            tables.get(name, []) == rows for name, rows in wanted.items()
        )


@given(st.lists(SNAPSHOTS, max_size=6))
def test_differences_lead_to_what_is(snapshots: list[Snapshot]) -> None:
    viewer, before = Viewer(), Snapshot()
    for snapshot in snapshots:
        viewer.take(difference(before, snapshot))
        assert viewer.sees(snapshot)
        assert difference(snapshot, snapshot) == {}
        before = snapshot


@given(st.lists(st.tuples(SNAPSHOTS, st.booleans()), min_size=1, max_size=8))
def test_whoever_misses_something_gets_everything(looks: list[tuple[Snapshot, bool]]) -> None:
    """A second viewer reads only now and then, and sees the same when it does."""
    broadcast, steady, slow = Broadcast(), Viewer(), Viewer()
    for now, (snapshot, reads) in enumerate(looks):
        broadcast.show(snapshot, now)
        for viewer in (steady, slow) if reads else (steady,):
            behind = broadcast.version - viewer.version
            name = viewer.read(broadcast.since(viewer.version, now))
            whole = viewer.version == 0 or behind > 1
            assert name == ("" if not behind else "state" if whole else "delta")
            viewer.version = broadcast.version
            assert viewer.sees(snapshot)


JOBS: list[Row] = [{"id": 1, "busy": 0}, {"id": 2, "busy": 0}, {"id": 3, "busy": 0}]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (JOBS[1:], {"gone": [1]}),
        ([*JOBS, {"id": 4, "busy": 0}], {"set": [{"id": 4, "busy": 0}]}),
        ([JOBS[0], {"id": 2, "busy": 1}, JOBS[2]], {"set": [{"id": 2, "busy": 1}]}),
        ([JOBS[1], JOBS[0], JOBS[2]], {"order": [2, 1, 3]}),
        (
            [JOBS[0], {"id": 4, "busy": 0}, JOBS[2]],
            {"gone": [2], "set": [{"id": 4, "busy": 0}], "order": [1, 4, 3]},
        ),
    ],
)
def test_no_more_is_told_than_changed(after: list[Row], told: Delta) -> None:
    before = Snapshot({"waiting": 1}, {"jobs": JOBS})
    assert difference(before, Snapshot({"waiting": 1}, {"jobs": after})) == {"jobs": told}


def test_all_viewers_are_given_the_same_bytes() -> None:
    broadcast = Broadcast()
    assert broadcast.show(Snapshot({"waiting": 1}), 1.0)
    assert broadcast.since(0, 1.0) is broadcast.since(0, 2.0)
    assert not broadcast.show(Snapshot({"waiting": 1}), 2.0), "nothing new"
    assert broadcast.since(1, 2.0) == b""
    assert broadcast.show(Snapshot({"waiting": 2}), 3.0)
    assert broadcast.since(1, 3.0) is broadcast.since(1, 3.0)
    assert broadcast.since(1, 3.0) == event("delta", {"now": 3.0, "facts": {"waiting": 2}})


def test_a_text_can_not_end_its_event() -> None:
    assert event("hello", "a\n\nevent: b") == b'event: hello\ndata: "a\\n\\nevent: b"\n\n'
