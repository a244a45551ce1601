"""Captures in every dialect: what a client sent and got is kept, for admins, where it may be."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys import digest
from gateway.config.config import ConfigError
from gateway.core.api_key import ApiKey
from gateway.core.errors import StorageFull
from tests.support.dialects import CHAT, INFER, Way
from tests.support.played_front import Front, until
from tests.support.server import DEADLINE_S
from tests.support.ways import answer, ask, serving

pytestmark = pytest.mark.anyio

APP = ApiKey("app", digest("sk-app"), capture="header")
OTHERS = [
    ApiKey("boss", digest("sk-boss"), admin=True, capture="off"),
    ApiKey("watched", digest("sk-watched"), capture="always"),
    ApiKey("private", digest("sk-private")),
]
ALWAYS = replace(APP, capture="always")
CAPTURE = {"X-Capture": "1"}


def of(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{key}", **more}


@contextlib.asynccontextmanager
async def capturing(folder: Path, app: ApiKey = APP, **options: Any) -> AsyncIterator[Front]:
    async with serving(Front([app, *OTHERS], data_dir=folder / "data", **options)) as front:
        yield front


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Front]:
    async with capturing(tmp_path) as front:
        yield front


async def captured(front: Front, number: int = 1) -> list[dict[str, Any]]:
    """Return all captures, the newest first, once the writer has nothing left."""
    keeper = front.gateway.captures.keeper
    async with asyncio.timeout(DEADLINE_S):
        while keeper.counts().total() < number:  # noqa: ASYNC110 (the writer tells nobody)
            await asyncio.sleep(0.001)
    found = (await front.client.get("/captures?limit=100", headers=of("boss"))).json()
    assert found["object"] == "list"
    heads: list[dict[str, Any]] = found["data"]
    return [await one(front, each["id"], each) for each in heads]


async def one(front: Front, id_: str, head: dict[str, Any]) -> dict[str, Any]:
    response = await front.client.get(f"/captures/{id_}", headers=of("boss"))
    whole: dict[str, Any] = response.json()
    assert head.items() <= whole.items()
    assert whole.keys() - head.keys() == {"request", "answer", "texts"}
    return whole


# ------------------------------------------------------------------ what is kept


async def test_a_capture_is_what_was_sent_and_answered(house: Front, way: Way) -> None:
    asking = ask(house, way, {**CAPTURE, "User-Agent": "me/1", "Cookie": "secret=1"})
    answer(house, await house.running(), 3)
    response = await asking
    (found,) = await captured(house)
    assert response.headers["x-capture"] == found["id"]
    assert json.loads(found["request"]) == way.body()
    assert found["answer"] == response.text
    assert [each["text"] for each in found["texts"]] == ["xxx"]
    assert found["content_type"] == response.headers["content-type"]
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["seed"] == int(response.headers["x-seed"])
    assert (found["key"], found["path"], found["status"]) == ("app", way.path, 200)
    assert (found["outcome"], found["error"], found["notes"]) == ("finished", None, [])
    assert found["replayable"]
    assert (found["prompt_tokens"], found["cached_tokens"], found["generation_tokens"]) == (7, 3, 3)
    assert (
        found["headers"].items()
        >= {"user-agent": "me/1", "content-type": "application/json"}.items()
    )
    assert found["model"] == house.gateway.registry.first.name
    assert found["dialect"]
    (attempt,) = found["attempts"]
    assert (attempt["worker"], attempt["node"], attempt["end"]) == (0, None, "ended")
    assert found["seconds"] >= attempt["seconds"] >= 0 <= attempt["began_s"]
    assert (found["failovers"], found["more_attempts"]) == (0, False)


async def test_nothing_is_kept_that_was_not_asked_for(house: Front, way: Way) -> None:
    for headers in ({}, {"X-Capture": "0"}, of("private"), of("private", **{"X-Capture": "off"})):
        asking = ask(house, way, headers)
        id_ = await house.running()
        assert house.gateway.dispatcher._running[id_].course is None, "its workers are not noted"
        answer(house, id_)
        response = await asking
        assert response.status_code == 200
        assert "x-capture" not in response.headers
    assert await captured(house, 0) == []


async def test_a_key_that_may_not_is_refused(house: Front, way: Way) -> None:
    response = await ask(house, way, of("private", **CAPTURE))
    failure = way.dialect.refusal(response)
    assert response.status_code == 403
    assert "X-Capture" in failure.message
    assert house.pool.submitted == []
    assert await captured(house, 0) == []


async def test_a_word_that_is_none_is_refused(house: Front, way: Way) -> None:
    response = await ask(house, way, {"X-Capture": "please"})
    assert response.status_code == 400
    assert "'X-Capture': expected 1 or 0" in way.dialect.refusal(response).message


async def test_where_there_is_no_place_for_it(played: Front, way: Way) -> None:
    """A server without a store says so, rather than that nothing is ever found."""
    response = await ask(played, way, CAPTURE)
    assert response.status_code == 403
    assert "--data-dir" in way.dialect.refusal(response).message
    asking = ask(played, way, {"X-Capture": "0"})
    answer(played, await played.running())
    assert (await asking).status_code == 200


async def test_a_key_may_always_be_captured(house: Front, way: Way) -> None:
    for headers in (of("watched"), of("watched", **{"X-Capture": "0"})):
        asking = ask(house, way, headers)
        answer(house, await house.running())
        assert (await asking).headers["x-capture"]
    assert [each["key"] for each in await captured(house, 2)] == ["watched", "watched"]


async def test_an_error_is_kept(house: Front, way: Way) -> None:
    response = await ask(house, way, CAPTURE, max_tokens="many")
    assert response.status_code == 400
    (found,) = await captured(house)
    assert (found["status"], found["outcome"]) == (400, "invalid")
    assert found["answer"] == response.text
    assert found["error"]["message"] == way.dialect.refusal(response).message
    assert found["texts"] == []
    assert "attempts" not in found, "no worker had it"


async def test_a_hang_up_is_kept(tmp_path: Path, way: Way) -> None:
    async with capturing(tmp_path, ALWAYS) as front:
        connection = front.connect(way.path, way.body())
        id_ = await front.running()
        front.pool.begin(id_)
        front.pool.progress(id_)
        await until(lambda: not way.stream or len(connection.sent) > 1)
        await connection.hang_up()
        (found,) = await captured(front)
        front.pool.finish(id_)
    assert (found["outcome"], found["generation_tokens"]) == ("cancelled", 1)
    sent = b"".join(each.get("body", b"") for each in connection.sent)
    assert found["answer"] == sent.decode()
    assert (found["status"], found["replayable"]) == (200 if way.stream else 499, True)


async def test_what_goes_on_after_a_death_is_kept_whole(house: Front, way: Way) -> None:
    house.pool.nodes = {0: "node-a"}
    asking = ask(house, way, CAPTURE)
    id_ = await house.running()
    house.pool.begin(id_)
    house.pool.progress(id_)
    house.pool.nodes = {0: "node-b"}
    house.pool.die(0)
    answer(house, await house.running(), 2)
    response = await asking
    (found,) = await captured(house)
    assert found["answer"] == response.text
    assert [each["text"] for each in found["texts"]] == ["xxx"]
    told = [(each["number"], each["worker"], each["node"]) for each in found["attempts"]]
    assert told == [(1, 0, "node-a"), (2, 0, "node-b")]
    assert [each["end"] for each in found["attempts"]] == ["lost", "ended"]
    assert found["failovers"] == 1


async def test_a_failure_in_the_middle_is_kept(house: Front, way: Way) -> None:
    asking = ask(house, way, CAPTURE)
    id_ = await house.running()
    house.pool.begin(id_)
    house.pool.progress(id_)
    house.pool.fail(id_)
    response = await asking
    (found,) = await captured(house)
    assert found["answer"] == response.text
    assert found["outcome"] == "failed"
    assert found["error"]["code"] == "worker_failed"
    assert found["status"] == response.status_code


# ------------------------------------------------------------------ what is not


async def test_no_key_is_in_a_capture(house: Front) -> None:
    secrets = {"X-Api-Key": "sk-app", "Cookie": "sk-app", "Proxy-Authorization": "sk-app"}
    asking = ask(house, Way(CHAT, True), {**CAPTURE, **secrets, "X-Forwarded-For": "10.1.2.3"})
    answer(house, await house.running())
    await asking
    (found,) = await captured(house)
    assert "sk-app" not in json.dumps(found)
    assert "10.1.2.3" not in json.dumps(found)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_that_is_too_long_is_cut(tmp_path: Path, stream: bool) -> None:
    async with capturing(tmp_path, capture_size=1024) as front:
        asking = ask(front, Way(CHAT, stream), CAPTURE, prompt="hello " * 1000)
        answer(front, await front.running(), 60)
        response = await asking
        (found,) = await captured(front)
    assert found["request_bytes"] > 6000
    assert len(found["request"]) == 1024
    assert "the request is cut: 1024 of its 6" in found["notes"][0]
    assert not found["replayable"]
    assert found["answer_bytes"] == len(response.content)
    assert found["answer"] == response.text[:1024]


async def test_a_picture_is_left_out(house: Front) -> None:
    url = "data:image/png;base64," + "iVBORw0K" * 2000
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"messages": [{"role": "user", "content": content}]}
    response = await house.client.post(CHAT.path, json=body, headers=CAPTURE)
    assert response.status_code == 400
    (found,) = await captured(house)
    assert f"[{len(url)} characters of base64 are left out]" in found["request"]
    assert "see" in found["request"]
    assert not found["replayable"]
    assert "it can't be replayed" in found["notes"]


async def test_a_compressed_body_is_kept_as_it_was_meant(house: Front) -> None:
    body = json.dumps(CHAT.body("hello")).encode()
    headers = {**CAPTURE, "Content-Encoding": "gzip", "Content-Type": "application/json"}
    post = house.client.post(CHAT.path, content=gzip.compress(body), headers=headers)
    asking = asyncio.create_task(post)
    answer(house, await house.running())
    await asking
    (found,) = await captured(house)
    assert found["request"] == body.decode()
    bomb = gzip.compress(bytes(4 << 20))
    assert (await house.client.post(CHAT.path, content=bomb, headers=headers)).status_code == 400
    found = (await captured(house, 2))[0]
    assert found["request"] == ""
    assert "the decoded body is larger" in found["notes"][0]


async def test_patterns_are_redacted_in_both_directions(tmp_path: Path, way: Way) -> None:
    async with capturing(tmp_path, redact=["hel+o", "xx+"]) as front:
        asking = ask(front, way, CAPTURE, prompt="hello you")
        answer(front, await front.running(), 3)
        response = await asking
        (found,) = await captured(front)
        store = front.gateway.store
        assert store is not None
        folder = tmp_path / "data"
        kept = b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())
    assert way.dialect.told(response).text == "xxx"
    assert [each["text"] for each in found["texts"]] == ["[redacted]"]
    assert "[redacted] you" in found["request"]
    assert b"hello" not in kept
    assert b"xxx" not in kept
    assert found["replayable"]


async def test_of_a_part_patterns_can_tell_nothing(tmp_path: Path) -> None:
    async with capturing(tmp_path, redact=["secret"], capture_size=1024) as front:
        asking = ask(front, Way(INFER, False), CAPTURE, prompt="a" * 1010 + "secret")
        answer(front, await front.running())
        await asking
        (found,) = await captured(front)
    assert found["request"] == ""
    assert "the request is not kept" in found["notes"][0]


# ------------------------------------------------------------------ who may read them


@pytest.mark.parametrize("key", ["app", "watched", "private"])
async def test_only_admins_read_and_delete(house: Front, key: str) -> None:
    asking = ask(house, Way(INFER, False), CAPTURE)
    answer(house, await house.running())
    id_ = (await asking).headers["x-capture"]
    await captured(house)
    for method, path in [
        *(("GET", "/captures"), ("DELETE", "/captures"), ("DELETE", "/captures?key=app")),
        *(("GET", f"/captures/{id_}"), ("DELETE", f"/captures/{id_}"), ("GET", "/captures/x")),
    ]:
        response = await house.client.request(method, path, headers=of(key))
        assert (response.status_code, response.json()["error"]["code"]) == (403, "admin_only")
    assert len(await captured(house)) == 1
    nobody = await house.client.get("/captures", headers={"Authorization": ""})
    assert nobody.status_code == 401


async def test_captures_are_deleted(house: Front) -> None:
    client, boss = house.client, of("boss")
    for headers in (CAPTURE, of("watched"), of("watched"), CAPTURE):
        asking = ask(house, Way(INFER, False), headers)
        answer(house, await house.running())
        await asking
    found = await captured(house, 4)
    id_ = found[0]["id"]
    gone = await client.delete(f"/captures/{id_}", headers=boss)
    assert gone.json() == {"id": id_, "object": "capture", "deleted": True}
    for method in ("GET", "DELETE"):
        again = await client.request(method, f"/captures/{id_}", headers=boss)
        assert again.status_code == 404
    typo = await client.delete("/captures?keys=watched", headers=boss)
    assert (typo.status_code, typo.json()["error"]["param"]) == (400, "keys")
    some = await client.delete("/captures?key=watched", headers=boss)
    assert some.json() == {"object": "captures", "deleted": 2}
    assert [each["key"] for each in await captured(house, 4)] == ["app"]
    assert (await client.delete("/captures", headers=boss)).json()["deleted"] == 1
    assert await captured(house, 4) == []


async def test_captures_are_listed_by_pages_and_filters(house: Front) -> None:
    client, boss = house.client, of("boss")
    for headers in (CAPTURE, of("watched"), CAPTURE):
        asking = ask(house, Way(INFER, False), headers)
        answer(house, await house.running())
        await asking
    await ask(house, Way(CHAT, False), CAPTURE, max_tokens="x")
    ids = [each["id"] for each in await captured(house, 4)]

    async def listed(query: str) -> tuple[list[str], bool]:
        page = (await client.get(f"/captures?{query}", headers=boss)).json()
        return [each["id"] for each in page["data"]], page["has_more"]

    assert await listed("limit=3") == (ids[:3], True)
    assert await listed(f"limit=3&after={ids[2]}") == (ids[3:], False)
    assert await listed("key=watched") == ([ids[2]], False)
    assert await listed("status=4xx") == ([ids[0]], False)
    assert await listed("status=200&key=app") == ([ids[1], ids[3]], False)
    assert await listed("outcome=invalid") == ([ids[0]], False)
    assert await listed("model=none") == ([], False)
    for query, param in [
        *(("limit=0", "limit"), ("limit=101", "limit"), ("status=6xx", "status")),
        *(("outcome=good", "outcome"), ("after=cap_x", "after")),
    ]:
        response = await client.get(f"/captures?{query}", headers=boss)
        assert response.json()["error"]["param"] == param


async def test_what_is_captured_is_no_more_than_requests_to_models(house: Front) -> None:
    for path in ("/v1/models", "/metrics", "/captures", "/queue"):
        response = await house.client.get(path, headers=of("watched"))
        assert "x-capture" not in response.headers
    upload: dict[str, Any] = {"files": {"file": ("a", b"secret")}, "data": {"purpose": "batch"}}
    response = await house.client.post("/v1/files", headers=of("watched"), **upload)
    assert response.status_code == 200
    assert await captured(house, 0) == []


# ------------------------------------------------------------------ trouble


async def test_a_disk_that_is_full_drops_captures_and_no_request(house: Front, way: Way) -> None:
    house.gateway.captures.keeper._rows = FullRows()
    asking = ask(house, way, CAPTURE)
    answer(house, await house.running(), 3)
    response = await asking
    assert way.dialect.told(response).text == "xxx"
    assert await captured(house) == []
    assert await fates(house) == {"kept": 0.0, "dropped": 1.0}


class FullRows:
    """A table on a full disk."""

    async def insert(self, rows: Any) -> None:
        raise StorageFull("the disk of the database is full")


async def fates(front: Front) -> dict[str, float]:
    """Return the counts that the metrics tell."""
    answer = await front.client.get("/metrics", headers={"Accept": "text/plain"})
    lines = [each for each in answer.text.splitlines() if each.startswith("forge_captures_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def test_without_a_place_captures_are_an_error(tmp_path: Path) -> None:
    for front, words in [
        (Front(capture="header"), "--capture: captures need a place"),
        (Front([APP]), "key 'app': capture: captures need a place"),
    ]:
        with pytest.raises(ConfigError, match=words):
            await front.gateway.start()
    with pytest.raises(ConfigError, match=r"--redact: .* is no pattern"):
        Front(data_dir=tmp_path / "data", redact=["(?=a)"])


async def test_the_option_counts_for_keys_that_say_nothing(tmp_path: Path) -> None:
    async with capturing(tmp_path, capture="always") as front:
        for key in ("app", "private", "boss"):
            asking = ask(front, Way(INFER, False), of(key))
            answer(front, await front.running())
            assert ("x-capture" in (await asking).headers) == (key == "private")
