"""Batches on a real store, from their files to their output; the endpoints are played."""

import asyncio
import itertools
from collections import Counter
from itertools import pairwise

import pytest

from gateway.batches import batch_store
from gateway.batches.answers import TokenCounts
from gateway.core.api_key import ApiKey
from gateway.core.errors import QueueFull, QuotaExceeded
from gateway.stored.quota import LEAST
from tests.gateway.batches.desk import (
    WRONG,
    Answer,
    Call,
    Desk,
    PlayedModels,
    ids,
    line,
    lines,
    rows_left,
    said,
    true,
    until,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------------ from the file to the output


async def test_each_line_has_its_answer_in_the_order_of_the_input(desk: Desk) -> None:
    id_ = await desk.batch(50, metadata={"job": "x"})
    batch = await desk.ended(id_)
    assert (batch.status, batch.model, batch.total, batch.completed, batch.failed) == (
        "completed",
        "tiny",
        50,
        50,
        0,
    )
    assert batch.tokens == TokenCounts(350, 200, 100, 0)
    assert batch.errors == []
    assert (batch.error_file, batch.metadata) == (None, {"job": "x"})
    moments = (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert moments == (int(desk.now),) * 3
    results = await desk.read(batch.output_file)
    assert ids(results) == [str(number) for number in range(50)]
    for each in results:
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        assert each["response"]["body"]["text"] == each["custom_id"][::-1]
    assert len({each["id"] for each in results}) == 50
    assert len(desk.endpoints.calls) == 50
    assert await rows_left(desk) == 0
    assert desk.runner.feed.counts() == Counter(completed=50)


async def test_errors_have_a_file_of_their_own(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: WRONG if call.body["prompt"] in "37" else said(call)
    batch = await desk.ended(await desk.batch(9))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 7, 2)
    errors = await desk.read(batch.error_file)
    assert ids(errors) == ["3", "7"]
    response = {"status_code": 400, "request_id": "r", "body": WRONG.body}
    assert [each["response"] for each in errors] == [response] * 2
    assert ids(await desk.read(batch.output_file)) == [*"0124568"]


async def test_without_success_there_is_no_output(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: WRONG
    batch = await desk.ended(await desk.batch(3))
    assert (batch.status, batch.output_file, batch.failed) == ("completed", None, 3)


async def test_one_wrong_line_and_none_runs(desk: Desk) -> None:
    id_ = await desk.batch(lines(300) + b"{\n" + lines(300, "x") + line("7"))
    batch = await desk.ended(id_)
    assert (batch.status, batch.output_file, batch.error_file) == ("failed", None, None)
    assert [(each["code"], each["line"]) for each in batch.errors] == [
        ("invalid_json_line", 301),
        ("duplicate_custom_id", 602),
    ]
    assert (batch.failed_at, batch.total) == (int(desk.now), 0)
    assert desk.endpoints.calls == []
    assert await rows_left(desk) == 0


async def test_a_line_s_bound_is_that_of_now(desk: Desk) -> None:
    """A reload may change it."""
    content = line("a", "x" * 20_000)
    batch = await desk.ended(await desk.batch(content))
    assert [each["code"] for each in batch.errors] == ["line_too_large"]
    desk.longest = 30_000
    assert (await desk.ended(await desk.batch(content))).completed == 1


async def test_a_file_that_is_gone(desk: Desk) -> None:
    desk.keys.clear()  # so that it waits
    id_ = await desk.batch(3)
    await desk.store.files.delete("", (await desk.find(id_)).input_file)
    desk.keys[""] = ApiKey("", b"")
    batch = await desk.ended(id_)
    assert [each["code"] for each in batch.errors] == ["file_not_found"]


async def test_output_expires_if_that_was_asked_for(desk: Desk) -> None:
    batch = await desk.ended(await desk.batch(1, output_age=7200))
    assert batch.output_file is not None
    file = await desk.store.files.get("", batch.output_file)
    assert (file.purpose, file.expires_at) == ("batch_output", int(desk.now) + 7200)
    assert file.filename == f"{batch.id}_output.jsonl"


# ------------------------------------------------------------------ which lines run


async def test_the_window_is_twice_the_slots(desk: Desk) -> None:
    desk.models.n = 3
    desk.endpoints.gate.clear()
    first = await desk.batch(40)
    second = await desk.batch(40)
    await true(lambda: desk.endpoints.open == 6, "the window is full")
    for _ in range(20):
        desk.runner.poke()
        await asyncio.sleep(0.01)
    assert len(desk.runner.feed.flights) == 6
    assert desk.runner.feed.counts()["waiting"] == 74
    desk.endpoints.gate.set()
    assert (await desk.ended(first)).completed == (await desk.ended(second)).completed == 40
    assert desk.endpoints.most == 6


async def test_lines_with_one_beginning_follow_each_other(desk: Desk) -> None:
    system = {kind: kind * 500 for kind in "abc"}
    content = b"".join(
        line(f"{kind}{number}", f"{system[kind]} {number}")
        for number in range(30)
        for kind in "abc"
    )
    await desk.ended(await desk.batch(content))
    kinds = [call.body["prompt"][0] for call in desk.endpoints.calls]
    assert sum(before != after for before, after in pairwise(kinds)) == 2


async def test_owners_share_the_window_whatever_they_send(desk: Desk) -> None:
    desk.keys |= {"many": ApiKey("many", b"1"), "one": ApiKey("one", b"2")}
    desk.models.n = 4
    desk.endpoints.gate.clear()
    for _ in range(5):
        await desk.batch(20, "many")
    await true(lambda: desk.endpoints.open == 8, "the window is full of one owner's")
    await desk.runs(await desk.batch(60, "one"))
    desk.endpoints.gate.set()
    await true(lambda: len(desk.endpoints.calls) >= 100, "half is done")
    owners = Counter(call.key.name for call in desk.endpoints.calls[8:100])
    assert abs(owners["many"] - owners["one"]) <= 16


async def test_files_are_checked_in_turns_of_their_owners(desk: Desk) -> None:
    names = ("many", "one", "two")
    made = [await desk.batch(1, "many") for _ in range(5)]
    made += [await desk.batch(1, name) for name in names[1:]]
    checked = list[str]()

    class Models(PlayedModels):
        def find(self, key: ApiKey, name: str | None) -> str | None:
            checked.append(key.name)
            return "tiny"

    desk.runner._models = Models()
    desk.keys |= {name: ApiKey(name, name.encode()) for name in names}  # they waited for these
    owners = ["many"] * 5 + [*names[1:]]
    for id_, owner in zip(made, owners, strict=True):
        await desk.ended(id_, owner)
    assert sorted(checked[:3]) == sorted(names)
    assert checked[3:] == ["many"] * 4


async def test_lines_are_spare_at_batch_priority(desk: Desk) -> None:
    desk.keys |= {"low": ApiKey("low", b"1", max_priority=-2.0)}
    await desk.ended(await desk.batch(2))
    await desk.ended(await desk.batch(2, priority=-1.0))
    await desk.ended(await desk.batch(2, priority=1.5))
    await desk.ended(await desk.batch(2, "low"), "low")
    ranks = [(call.priority, call.spare) for call in desk.endpoints.calls[::2]]
    assert ranks == [(0.0, True), (-1.0, True), (1.5, False), (-2.0, True)]
    assert [call.key.name for call in desk.endpoints.calls[-2:]] == ["low", "low"]


async def test_the_more_urgent_of_an_owners_batches_goes_first(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    await desk.batch(30)
    await true(lambda: desk.endpoints.open == 4, "the window is full")
    urgent = await desk.batch(10, priority=1.0)
    await desk.runs(urgent)
    desk.endpoints.gate.set()
    await desk.ended(urgent)
    order = [call.priority for call in desk.endpoints.calls]
    assert order[4:14].count(1.0) == 10


async def test_a_revoked_key_s_batches_stop(desk: Desk) -> None:
    key = ApiKey("k", b"1")
    desk.keys["k"] = key
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20, "k")
    await true(lambda: desk.endpoints.open == 4, "it runs")
    del desk.keys["k"]
    desk.runner.poke()
    await true(lambda: desk.endpoints.open == 0, "its lines stop")
    calls = len(desk.endpoints.calls)
    desk.endpoints.gate.set()
    for _ in range(10):
        desk.runner.poke()
        await asyncio.sleep(0.01)
    assert len(desk.endpoints.calls) == calls
    desk.keys["k"] = key  # the file of keys was wrong, and is right again
    assert (await desk.ended(id_, "k")).completed == 20


async def test_a_key_has_so_many_open_batches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_store, "MOST_OPEN", 2)
    desk.endpoints.gate.clear()
    desk.keys["other"] = ApiKey("other", b"1")
    await desk.batch(1)
    await desk.batch(1)
    with pytest.raises(QueueFull):
        await desk.batch(1)
    await desk.batch(1, "other")


async def test_results_of_open_batches_count_before_they_are_output(desk: Desk) -> None:
    """Their output will be stored whatever its size; no other batch comes on top of it."""
    desk.keys["other"] = ApiKey("other", b"1")
    room, answers = 6 * LEAST, itertools.count(1)

    def answered(call: Call, tries: int) -> Answer:
        if next(answers) == 4:
            desk.endpoints.gate.clear()  # for those that come after it
        return said(call)

    desk.endpoints.answer = answered
    first = await desk.batch(b"".join(line(str(at), prompt="x" * 9_000) for at in range(9)))

    async def nearly_done() -> bool:
        desk.runner.poke()
        return (await desk.find(first)).completed >= 4

    await until(nearly_done, "some lines are done")
    await desk.store.files.delete("", (await desk.find(first)).input_file)
    with pytest.raises(QuotaExceeded):
        await desk.batch(1, room=room)
    await desk.batch(1, "other", room=room)
    desk.endpoints.gate.set()
    assert (await desk.ended(first)).completed == 9


async def test_a_key_that_keeps_too_much_begins_no_batch(desk: Desk) -> None:
    """Output is stored without regard to the quota: nothing is lost, and it is bounded all the
    same."""
    room = 2 * LEAST
    first = await desk.ended(await desk.batch(5, room=room))
    assert first.completed == 5
    with pytest.raises(QuotaExceeded):
        await desk.batch(5, room=room)
    files, _ = await desk.store.files.list("")
    for each in files:
        await desk.store.files.delete("", each.id)
    assert (await desk.ended(await desk.batch(5, room=room))).completed == 5
