"""Pictures and sound of requests in all dialects, as their workers get them."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from tests.support.front import blocking_front
from tests.support.seeing import BLUE, RED, SILENCE, SeeingPool, encoded, png, shown, uri
from tests.support.server import ALIAS, eventually
from workers.protocol import Failed

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
OLLAMA, GENERATE = "/api/chat", "/api/generate"
ASKED = "What is it?"
HERE = {"Host": "127.0.0.1"}
"""Of programs on the server's own machine."""


@pytest.fixture(scope="module")
def pool() -> SeeingPool:
    return SeeingPool()


@pytest.fixture(scope="module")
def seeing(pool: SeeingPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway whose model takes both; 100,000 bytes of text and 200,000 of media."""
    folder: Path = tmp_path_factory.mktemp("seeing")
    config = Config(
        alias=ALIAS,
        max_body=100_000,
        max_media=200_000,
        media_number=4,
        data_dir=folder,
        capture="header",
    )
    with blocking_front(config, answers=True, pool=pool) as client:
        yield client


@pytest.fixture(scope="module")
def blind() -> Iterator[httpx.Client]:
    with blocking_front(Config(alias=ALIAS), answers=True) as client:
        yield client


def said(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [*parts]}


def image_url(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(data), "detail": "low"}}


def source(data: bytes) -> dict[str, Any]:
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": encoded(data)},
    }


TEXT = {"type": "text", "text": ASKED}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CASES: list[tuple[str, str, dict[str, Any], list[Any]]] = [
    ("chat", CHAT, {"messages": [said(TEXT, image_url(RED))]}, [[ASKED, RED]]),
    (
        "an address alone",
        CHAT,
        {"messages": [said({"type": "image_url", "image_url": uri(RED)}, TEXT)]},
        [[RED, ASKED]],
    ),
    (
        "bare base64",
        CHAT,
        {"messages": [said({"type": "image_url", "image_url": {"url": encoded(RED)}})]},
        [[RED]],
    ),
    (
        "sound",
        CHAT,
        {
            "messages": [
                said(
                    {
                        "type": "input_audio",
                        "input_audio": {"data": encoded(SILENCE), "format": "wav"},
                    },
                    TEXT,
                )
            ]
        },
        [[SILENCE, ASKED]],
    ),
    (
        "several, in several turns",
        CHAT,
        {
            "messages": [
                said(image_url(RED), TEXT, image_url(BLUE)),
                {"role": "assistant", "content": "Two colours."},
                said(TEXT, image_url(RED)),
            ]
        },
        [[RED, ASKED, BLUE], "Two colours.", [ASKED, RED]],
    ),
    (
        "the result of a call",
        CHAT,
        {
            "messages": [
                {"role": "user", "content": ASKED},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [image_url(BLUE), {"type": "text", "text": "screen"}],
                },
            ]
        },
        [ASKED, "", [BLUE, "screen"]],
    ),
    (
        "messages",
        MESSAGES,
        {"messages": [said(source(RED), TEXT)], "max_tokens": 8},
        [[RED, ASKED]],
    ),
    (
        "a result in messages",
        MESSAGES,
        {
            "messages": [
                {"role": "user", "content": ASKED},
                said(
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {}}, role="assistant"
                ),
                said(
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "screen"}, source(BLUE)],
                    }
                ),
            ],
            "max_tokens": 8,
        },
        [ASKED, "", ["screen", BLUE]],
    ),
    (
        "responses",
        RESPONSES,
        {
            "input": [
                said(
                    {"type": "input_text", "text": ASKED},
                    {"type": "input_image", "image_url": uri(RED), "detail": "auto"},
                )
            ]
        },
        [[ASKED, RED]],
    ),
    (
        "an output in responses",
        RESPONSES,
        {
            "input": [
                {"role": "user", "content": ASKED},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "c1",
                    "output": [{"type": "input_image", "image_url": uri(BLUE)}],
                },
            ]
        },
        [ASKED, "", [BLUE]],
    ),
    (
        "a screenshot of a computer",
        RESPONSES,
        {
            "input": [
                {"role": "user", "content": ASKED},
                {
                    "type": "computer_call",
                    "call_id": "c1",
                    "action": {"type": "screenshot"},
                },
                {
                    "type": "computer_call_output",
                    "call_id": "c1",
                    "output": {"type": "computer_screenshot", "image_url": uri(BLUE)},
                },
            ]
        },
        [ASKED, "", [BLUE]],
    ),
    (
        "ollama",
        OLLAMA,
        {
            "messages": [{"role": "user", "content": ASKED, "images": [encoded(RED)]}],
            "stream": False,
        },
        [[RED, ASKED]],
    ),
    (
        "generate",
        GENERATE,
        {"prompt": ASKED, "images": [encoded(RED), encoded(BLUE)], "stream": False},
        [[RED, BLUE, ASKED]],
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_in_every_dialect(
    seeing: httpx.Client, pool: SeeingPool, path: str, body: dict[str, Any], expected: list[Any]
) -> None:
    answer = seeing.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert "X-Ignored-Parameters" not in answer.headers
    chat = pool.chat()
    assert shown(chat) == expected
    assert len({each.digest for each in chat.media}) == len(chat.media), "each is there once"
    assert {each.kind for each in chat.media} == {
        "audio" if SILENCE in chat_data(chat) else "image"
    }


def chat_data(chat: Any) -> list[bytes]:
    return [each.data for each in chat.media]


@pytest.mark.parametrize(
    ("path", "body"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_model_that_takes_none_says_so(
    blind: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    """In the newest turn of the user; elsewhere a text stands for it, and a header tells."""
    answer = blind.post(path, json=body)
    if answer.status_code == 200:
        assert answer.headers["X-Ignored-Parameters"]
        return
    assert answer.status_code == 400
    error = answer.json()
    if path in (OLLAMA, GENERATE):
        code = error["code"]
    else:
        code = error["error"].get("code") or error["error"]["message"]
    assert "image" in code or "audio" in code


@pytest.mark.parametrize(
    ("path", "body"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_wrong_name_is_told_first(blind: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = blind.post(path, json={**body, "model": "nothing"})
    assert answer.status_code == 404, answer.text
    assert "nothing" in answer.text


NO_PICTURE = encoded(b"hello, this is no picture")
WRONG: list[tuple[str, Any, str]] = [
    ("no base64", {"url": "data:image/png;base64,!!!!"}, "no base64"),
    ("no picture", {"url": f"data:image/png;base64,{NO_PICTURE}"}, "not a picture"),
    ("sound", {"url": uri(SILENCE, "image/png")}, "WAV"),
    ("webp", {"url": uri(b"RIFF\0\0\0\0WEBPVP8 ")}, "WebP"),
    ("plain data", {"url": "data:image/png,abc"}, "should be base64"),
    ("http", {"url": "http://a.example/a.png"}, "https"),
    ("a host", {"url": "https://a.example/a.png"}, "--media-hosts"),
    ("metadata", {"url": "https://169.254.169.254/"}, "--media-hosts"),
    ("a file", {"url": "file:///etc/passwd"}, "files of the server"),
]


@pytest.mark.parametrize(
    ("image", "reason"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_no_picture(seeing: httpx.Client, image: Any, reason: str) -> None:
    body = {"messages": [said(TEXT, {"type": "image_url", "image_url": image})]}
    answer = seeing.post(CHAT, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_media")
    assert error["param"] == "messages.0.content.1.image_url.url"
    assert reason in error["message"]


@pytest.mark.parametrize(
    "part", [{"type": "image_url"}, {"type": "image_url", "image_url": {}},
             {"type": "image_url", "image_url": {"url": 5}}, {"type": "input_audio"}],
)  # fmt: skip
def test_what_has_no_bytes(seeing: httpx.Client, part: Any) -> None:
    answer = seeing.post(CHAT, json={"messages": [said(part)]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "messages.0.content.0")


def test_more_than_there_may_be(seeing: httpx.Client) -> None:
    five = [image_url(png(colour=bytes((at, 0, 0)))) for at in range(5)]
    answer = seeing.post(CHAT, json={"messages": [said(*five)]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "messages.0.content.4.image_url.url")
    assert "--media-number" in error["message"]


def photo(size: int) -> bytes:
    return RED + b"\0" * (size - len(RED))


BIG = [
    (CHAT, lambda url: {"messages": [said(TEXT, {"type": "image_url", "image_url": url})]}),
    (RESPONSES, lambda url: {"input": [said({"type": "input_image", "image_url": url})]}),
    (
        OLLAMA,
        lambda url: {
            "messages": [{"role": "user", "content": ASKED, "images": [url.partition(",")[2]]}],
            "stream": False,
        },
    ),
]


@pytest.mark.parametrize(("path", "body"), BIG, ids=[path for path, _ in BIG])
def test_bodies_with_photos_have_a_limit_of_their_own(
    seeing: httpx.Client, pool: SeeingPool, path: str, body: Any
) -> None:
    """Of 100,000 bytes of text, and 200,000 of media."""
    large = photo(190_000)
    answer = seeing.post(path, json=body(uri(large)))
    assert answer.status_code == 200, answer.text
    assert chat_data(pool.chat()) == [large]
    too_large = seeing.post(path, json=body(uri(photo(200_001))))
    assert too_large.status_code == 413
    assert "--max-media" in too_large.text
    far_too_large = seeing.post(path, json=body(uri(photo(400_000))))
    assert far_too_large.status_code == 413


def test_text_keeps_its_limit(seeing: httpx.Client, blind: httpx.Client) -> None:
    for text in ("x" * 150_000, "word " * 30_000):
        answer = seeing.post(CHAT, json={"messages": [{"role": "user", "content": text}]})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"
    beside = [said(TEXT, image_url(photo(100_000))), {"role": "user", "content": "word " * 25_000}]
    assert seeing.post(CHAT, json={"messages": beside}).status_code == 413
    one = {"messages": [said(TEXT, image_url(photo(4 << 20)))]}
    assert blind.post(CHAT, json=one).status_code == 413, "a model without the ability has no other"


def test_two_with_the_same_text_and_another_picture(seeing: httpx.Client, pool: SeeingPool) -> None:
    from gateway.pool.prefixes import chain

    found = []
    for data in (RED, BLUE, RED):
        seeing.post(CHAT, json={"messages": [said(image_url(data), TEXT)]})
        found.append(chain(pool.chat()))
    assert found[0] == found[2]
    assert found[0].common(found[1]) < found[0].size / 2


def test_tokens_are_counted_with_pictures(seeing: httpx.Client, pool: SeeingPool) -> None:
    body = {"messages": [said(source(RED), TEXT)]}
    assert seeing.post(f"{MESSAGES}/count_tokens", json=body).json() == {"input_tokens": 7}
    assert shown(pool.counted[-1]) == [[RED, ASKED]]
    asked = {"input": [said({"type": "input_image", "image_url": uri(BLUE)})]}
    found = seeing.post(f"{RESPONSES}/input_tokens", json=asked).json()
    assert found["input_tokens"] == 7
    assert shown(pool.counted[-1]) == [[BLUE]]


@pytest.mark.parametrize("size", [len(RED), 150_000])
def test_a_response_that_goes_on_has_the_picture(
    seeing: httpx.Client, pool: SeeingPool, size: int
) -> None:
    """Stored as it was sent, however large it was."""
    data = photo(size)
    asked = said({"type": "input_image", "image_url": uri(data)})
    first = seeing.post(RESPONSES, json={"input": [asked]}).json()
    stored = seeing.get(f"{RESPONSES}/{first['id']}/input_items").json()
    assert stored["data"][0]["content"][0]["image_url"] == uri(data)
    more = {"input": "And?", "previous_response_id": first["id"]}
    answer = seeing.post(RESPONSES, json=more)
    assert answer.status_code == 200, answer.text
    assert shown(pool.chat())[0] == [data]


def test_a_stored_file(seeing: httpx.Client, pool: SeeingPool) -> None:
    made = seeing.post(
        "/v1/files", files={"file": ("red.png", RED)}, data={"purpose": "vision"}
    ).json()
    asked = {"input": [said({"type": "input_image", "file_id": made["id"]})]}
    assert seeing.post(RESPONSES, json=asked).status_code == 200
    assert shown(pool.chat()) == [[RED]]
    of_files = {"type": "image", "source": {"type": "file", "file_id": made["id"]}}
    message = {"messages": [said(of_files, TEXT)], "max_tokens": 4}
    assert seeing.post(MESSAGES, json=message).status_code == 200
    assert shown(pool.chat()) == [[RED, ASKED]]
    gone = {"input": [said({"type": "input_image", "file_id": "file-none"})]}
    answer = seeing.post(RESPONSES, json=gone)
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "input.0.content.0.file_id"


def test_what_the_model_is_said_to_take(seeing: httpx.Client, blind: httpx.Client) -> None:
    listed = seeing.get("/v1/models").json()
    assert listed["data"][0]["architecture"]["input_modalities"] == ["text", "image", "audio"]
    assert listed["models"][0]["capabilities"] == ["completion", "multimodal"]
    assert seeing.get("/props").json()["modalities"] == {
        "vision": True,
        "video": False,
        "audio": True,
    }
    shown_there = seeing.post("/api/show", json={"model": ALIAS}).json()
    assert {"vision", "audio"} <= {*shown_there["capabilities"]}
    assert blind.get("/props").json()["modalities"]["vision"] is False
    assert "vision" not in blind.post("/api/show", json={"model": ALIAS}).json()["capabilities"]


def test_a_picture_that_can_not_be_decoded_names_its_field(pool: SeeingPool) -> None:
    refusing = SeeingPool()

    def refuse(request: Any) -> None:
        refusing.begin(request.id)
        failed = Failed(request.id, request.attempt, "invalid_media", "'x': broken", "messages.0.x")
        refusing._release(request.id)
        refusing.listener.on_event(failed)
        refusing.listener.on_credit()

    refusing._answer = refuse  # type: ignore[method-assign]
    with blocking_front(Config(alias=ALIAS), answers=True, pool=refusing) as client:
        answer = client.post(CHAT, json={"messages": [said(image_url(RED))]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_media")
    assert error["param"] == "messages.0.x"


def test_the_line_of_a_batch(seeing: httpx.Client) -> None:
    lines = [
        {"custom_id": f"c{at}", "method": "POST", "url": CHAT,
         "body": {"model": ALIAS, "messages": [said(TEXT, image_url(data))]}}
        for at, data in enumerate((RED, photo(150_000)))
    ]  # fmt: skip
    content = "\n".join(map(json.dumps, lines)).encode()
    file = seeing.post(
        "/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": "batch"}
    ).json()
    made = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = seeing.post("/v1/batches", json=made).json()

    def ended() -> bool:
        return bool(seeing.get(f"/v1/batches/{batch['id']}").json()["status"] == "completed")

    eventually(ended, "the batch is completed")
    counts = seeing.get(f"/v1/batches/{batch['id']}").json()["request_counts"]
    assert counts == {"total": 2, "completed": 2, "failed": 0}


def test_a_capture_leaves_the_picture_out(seeing: httpx.Client) -> None:
    body = {"messages": [said(TEXT, image_url(photo(20_000)))]}
    made = seeing.post(CHAT, json=body, headers={"X-Capture": "1"}).headers["X-Capture"]

    def found() -> bool:
        return seeing.get(f"/captures/{made}", headers=HERE).status_code == 200

    eventually(found, "the capture is written")
    kept = seeing.get(f"/captures/{made}", headers=HERE).text
    assert ASKED in kept
    assert encoded(photo(20_000))[:1000] not in kept


def test_logged_prompts_have_no_bytes() -> None:
    from gateway.dispatch.job import Job
    from gateway.telemetry.request_log import RequestLog
    from workers.protocol import Chat, GenerationParams, Sampling, medium

    chat = Chat([{"role": "user", "content": "x"}], media=[medium("image", RED, "a")])
    job = Job((chat,), GenerationParams(Sampling(seed=0)), 1.0, 0.0)
    told = RequestLog("m", prompts=True)._asked(job)
    assert base64.b64encode(RED).decode() not in str(told)
    assert repr(RED) not in str(told)
    assert chat.media[0].digest in str(told)


@pytest.mark.anyio
async def test_large_bodies_have_one_budget() -> None:
    """Bodies that stop coming keep what has come; another one is told to come again."""
    pool = SeeingPool()
    gateway = Gateway(Config(alias=ALIAS, max_body=1024, max_media=100_000), None, pool)
    await gateway.start()
    app = gateway.app()
    size = gateway._service.most_body() - 1
    hold, answered, sent = asyncio.Event(), asyncio.Event(), list[int]()

    async def ask() -> None:
        pieces = [b"[" * size]

        async def receive() -> dict[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": True}
            await hold.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])
                answered.set()

        await app(scope(CHAT), receive, send)

    asking = [asyncio.create_task(ask()) for _ in range(5)]
    try:
        async with asyncio.timeout(60):
            await answered.wait()
        assert sent == [503], "four have half of the budget, which is one owner's"
        room = gateway._service.media_room
        assert room.taken.total() == 4 * (size - 1024)
    finally:
        hold.set()
        await asyncio.gather(*asking, return_exceptions=True)
    assert room.taken.total() == 0
    await gateway.stop()


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [], "state": {}, "client": ("127.0.0.1", 1),
        "server": ("forge", 80),
    }  # fmt: skip
