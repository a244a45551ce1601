"""Files and uploads over HTTP, by a gateway in this process: shapes, owners, bounds, time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from gateway.stored.quota import LEAST
from tests.support.api_description import description
from tests.support.front import blocking_front
from tests.support.server import ALIAS
from tests.support.stored_files import SetClock

Object = dict[str, Any]
MAX_FILE = 200_000
DAY = 86400
SMALL = 3 * LEAST + 10
KEYS = Keyring(
    [
        ApiKey("app", digest("sk-app")),
        ApiKey("other", digest("sk-other")),
        ApiKey("small", digest("sk-small"), max_stored_bytes=SMALL),
    ]
)
API = description()


@pytest.fixture(scope="module")
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, clock: SetClock) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("data")
    config = Config(alias=ALIAS, data_dir=folder, max_file=MAX_FILE)
    with blocking_front(config, KEYS, clock=clock) as client:
        client.headers["Authorization"] = "Bearer sk-app"
        yield client


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{key}"}


def upload(
    front: httpx.Client,
    content: bytes = b"{}\n",
    name: str = "a.jsonl",
    key: str = "app",
    status: int = 200,
    **fields: Any,
) -> Object:
    data = {"purpose": "batch", **fields}
    answer = front.post("/v1/files", data=data, files={"file": (name, content)}, headers=as_(key))
    return check("/v1/files", answer, status)


def check(path: str, answer: httpx.Response, status: int = 200) -> Object:
    """An answer's body, which is as described."""
    assert answer.status_code == status, answer.text
    operation = API["paths"][path][answer.request.method.lower()]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": API["components"]}
    body: Object = answer.json()
    jsonschema.Draft202012Validator(whole).validate(body)
    return body


ONE = "/v1/files/{file_id}"


def test_a_file_comes_and_goes(front: httpx.Client, clock: SetClock) -> None:
    made = upload(front, b"hello\n", "../x/my file.jsonl")
    assert made == {
        "id": made["id"],
        "object": "file",
        "bytes": 6,
        "created_at": int(clock.now),
        "expires_at": int(clock.now) + 30 * DAY,
        "filename": "my file.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    path = f"/v1/files/{made['id']}"
    assert check(ONE, front.get(path)) == made
    content = front.get(f"{path}/content")
    assert content.content == b"hello\n"
    headers = content.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-length"] == "6"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"].startswith('attachment; filename="my file.jsonl"')
    assert "sandbox" in headers["content-security-policy"]
    head = front.head(f"{path}/content")
    assert (head.status_code, head.content) == (200, b"")
    deleted = check(ONE, front.delete(path))
    assert deleted == {"id": made["id"], "object": "file", "deleted": True}
    for answer in (front.get(path), front.delete(path)):
        error = check(ONE, answer, 404)["error"]
        assert (error["code"], error["param"]) == ("not_found", "file_id")
    assert front.get(f"{path}/content").status_code == 404


def test_a_download_goes_on_where_it_broke_off(front: httpx.Client) -> None:
    made = upload(front, bytes(range(250)) * 4)
    path = f"/v1/files/{made['id']}/content"
    whole = front.get(path)
    assert whole.headers["accept-ranges"] == "bytes"
    tag = whole.headers["etag"]
    rest = front.get(path, headers={"Range": "bytes=300-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[300:])
    assert rest.headers["content-range"] == "bytes 300-999/1000"
    assert rest.headers["content-length"] == "700"
    assert rest.headers["x-content-type-options"] == "nosniff"
    last = front.get(path, headers={"Range": "bytes=-1"})
    assert (last.status_code, last.content) == (206, whole.content[-1:])
    changed = front.get(path, headers={"Range": "bytes=300-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    several = front.get(path, headers={"Range": "bytes=0-1,5-6"})
    assert (several.status_code, several.content) == (200, whole.content)
    head = front.head(path, headers={"Range": "bytes=300-"})
    assert (head.status_code, head.headers["content-length"]) == (200, "1000")
    beyond = front.get(path, headers={"Range": "bytes=1000-"})
    error = check("/v1/files/{file_id}/content", beyond, 416)["error"]
    assert error["code"] == "range_not_satisfiable"
    assert beyond.headers["content-range"] == "bytes */1000"
    foreign = front.get(path, headers={"Range": "bytes=5000-", **as_("other")})
    assert foreign.status_code == 404


def test_a_page_is_no_page_here(front: httpx.Client) -> None:
    """A content is whatever a client sent: no browser may run it in this server's name."""
    made = upload(front, b"<script>alert(1)</script>", "a.html", purpose="user_data")
    answer = front.get(f"/v1/files/{made['id']}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert made["expires_at"] is None


def test_other_keys_see_nothing_of_it(front: httpx.Client) -> None:
    made = upload(front)
    path = f"/v1/files/{made['id']}"
    for method, where in [("GET", path), ("DELETE", path), ("GET", f"{path}/content")]:
        assert front.request(method, where, headers=as_("other")).status_code == 404
    assert check("/v1/files", front.get("/v1/files", headers=as_("other")))["data"] == []
    after = front.get("/v1/files", params={"after": made["id"]}, headers=as_("other"))
    assert check("/v1/files", after, 404)["error"]["param"] == "after"
    assert front.get(path).status_code == 200
    for method in ("GET", "POST"):
        answer = front.request(method, "/v1/files", headers={"Authorization": "Bearer no"})
        assert answer.status_code == 401


def test_lists(front: httpx.Client, clock: SetClock) -> None:
    clock.now += 1
    made = [upload(front, b"x" * at, purpose="batch" if at % 2 else "user_data") for at in range(5)]
    whole = check("/v1/files", front.get("/v1/files", params={"limit": 5}))
    assert whole["data"] == made[::-1]
    assert (whole["first_id"], whole["last_id"]) == (made[4]["id"], made[0]["id"])
    query = {"limit": 2, "order": "asc", "after": made[1]["id"], "purpose": "user_data"}
    page = check("/v1/files", front.get("/v1/files", params=query))
    assert page["data"] == [made[2], made[4]]
    assert page["has_more"] is False
    assert front.get("/v1/files", params={"limit": 4}).json()["has_more"] is True
    none = front.get("/v1/files", params={"purpose": "vision"}).json()
    assert none == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "10001"}, {"limit": "x"}, {"order": "up"}, {"purpose": "x" * 65}],
)
def test_wrong_queries_are_named(front: httpx.Client, query: dict[str, str]) -> None:
    error = check("/v1/files", front.get("/v1/files", params=query), 400)["error"]
    assert error["param"] == next(iter(query))


@pytest.mark.parametrize("id_", ["file-0", "a%00b", "%ff", "x" * 5000, "..%2f..%2fetc", "%2e%2e"])
def test_strange_ids_are_not_found(front: httpx.Client, id_: str) -> None:
    answers = [front.get(f"/v1/files/{id_}"), front.get(f"/v1/files/{id_}/content")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert all(len(answer.text) < 1000 for answer in answers)
    after = front.get(f"/v1/files?after={id_}")
    assert after.status_code == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": "batch\x00"}, "purpose"),
        ({"purpose": ["batch", "batch"]}, "purpose"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "x", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e9"},
            "expires_after.seconds",
        ),
        ({"expires_after": "x", "expires_after[seconds]": "3600"}, "expires_after"),
    ],
)
def test_wrong_fields_are_named(front: httpx.Client, fields: Object, param: str) -> None:
    error = upload(front, status=400, **fields)["error"]
    assert error["param"] == param


def test_fields_that_are_not_known_are_told(front: httpx.Client) -> None:
    data = {"purpose": "batch", "colour": "red"}
    answer = front.post("/v1/files", data=data, files={"file": b"x"})
    assert answer.headers["x-ignored-parameters"] == "colour"


def test_what_is_no_form_is_named(front: httpx.Client) -> None:
    for sent in ({"json": {"purpose": "batch"}}, {"content": b""}, {"data": {"purpose": "batch"}}):
        answer = front.post("/v1/files", **sent)
        assert "multipart/form-data" in check("/v1/files", answer, 400)["error"]["message"]
    error = check("/v1/files", front.post("/v1/files", files={"purpose": (None, "batch")}), 400)
    assert error["error"]["param"] == "file"


def test_a_file_has_a_largest_size(front: httpx.Client) -> None:
    assert upload(front, bytes(MAX_FILE))["bytes"] == MAX_FILE
    for size in (MAX_FILE + 1, 10 * MAX_FILE):
        error = upload(front, bytes(size), status=413)["error"]
        assert error["code"] == "file_too_large"


def test_a_key_has_its_own_room(front: httpx.Client) -> None:
    for at in range(2):
        upload(front, b"x" * at, key="small")
    error = upload(front, bytes(LEAST), key="small", status=403)["error"]
    assert error["code"] == "quota_exceeded"
    made = upload(front, b"", key="small")
    assert upload(front, b"", key="small", status=403)["error"]["code"] == "quota_exceeded"
    front.delete(f"/v1/files/{made['id']}", headers=as_("small"))
    upload(front, b"", key="small")
    upload(front, bytes(LEAST))


def test_it_ends_with_its_time(front: httpx.Client, clock: SetClock) -> None:
    more: Object = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    short, long = upload(front, **more), upload(front)
    assert short["expires_at"] == short["created_at"] + 3600
    clock.now += 3600
    assert front.get(f"/v1/files/{short['id']}").status_code == 404
    assert front.get(f"/v1/files/{short['id']}/content").status_code == 404
    assert short not in front.get("/v1/files").json()["data"]
    clock.now = long["expires_at"] - 1
    assert front.get(f"/v1/files/{long['id']}").status_code == 200
    clock.now += 1
    assert front.get(f"/v1/files/{long['id']}").status_code == 404


# ------------------------------------------------------------------ uploads

UPLOAD = {"filename": "big.jsonl", "purpose": "batch", "bytes": 10, "mime_type": "text/jsonl"}
COMPLETE = "/v1/uploads/{upload_id}/complete"


def begin(front: httpx.Client, **more: Any) -> Object:
    return check("/v1/uploads", front.post("/v1/uploads", json={**UPLOAD, **more}))


def add(front: httpx.Client, id_: str, data: bytes, status: int = 200) -> Object:
    answer = front.post(f"/v1/uploads/{id_}/parts", files={"data": ("part", data)})
    return check("/v1/uploads/{upload_id}/parts", answer, status)


def test_an_upload_comes_in_parts(front: httpx.Client, clock: SetClock) -> None:
    made = begin(front)
    id_ = made["id"]
    assert made == {
        "id": id_,
        "object": "upload",
        "bytes": 10,
        "created_at": int(clock.now),
        "expires_at": int(clock.now) + DAY,
        "filename": "big.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    world, hello = add(front, id_, b"world"), add(front, id_, b"hello")
    assert hello == {
        "id": hello["id"],
        "object": "upload.part",
        "created_at": int(clock.now),
        "upload_id": id_,
    }
    wrong = front.post(f"/v1/uploads/{id_}/complete", json={"part_ids": [hello["id"]]})
    assert check(COMPLETE, wrong, 400)["error"]["param"] == "part_ids"
    other = front.post(
        f"/v1/uploads/{id_}/complete", json={"part_ids": [hello["id"]]}, headers=as_("other")
    )
    assert other.status_code == 404
    parts = {"part_ids": [hello["id"], world["id"]]}
    done = check(COMPLETE, front.post(f"/v1/uploads/{id_}/complete", json=parts))
    assert done == {**made, "status": "completed", "file": done["file"]}
    file = done["file"]
    assert (file["bytes"], file["filename"], file["status"]) == (10, "big.jsonl", "processed")
    assert front.get(f"/v1/files/{file['id']}/content").content == b"helloworld"
    for path, more in [("complete", {"json": parts}), ("cancel", {})]:
        again = front.post(f"/v1/uploads/{id_}/{path}", **more)  # type: ignore[arg-type]
        assert again.status_code == 409
        assert again.json()["error"]["code"] == "upload_ended"
    assert add(front, id_, b"late", 409)["error"]["code"] == "upload_ended"


def test_an_upload_is_cancelled(front: httpx.Client) -> None:
    made = begin(front)
    add(front, made["id"], b"hello")
    answer = front.post(f"/v1/uploads/{made['id']}/cancel")
    assert check("/v1/uploads/{upload_id}/cancel", answer)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"bytes": -1}, "bytes"),
        ({"bytes": MAX_FILE + 1}, "bytes"),
        ({"purpose": "evals"}, "purpose"),
        ({"filename": 1}, "filename"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
def test_wrong_uploads_are_named(front: httpx.Client, more: Object, param: str) -> None:
    answer = front.post("/v1/uploads", json={**UPLOAD, **more})
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["param"] == param


def test_a_part_is_for_an_upload_that_is_there(front: httpx.Client) -> None:
    assert add(front, "upload_0", b"x", 404)["error"]["param"] == "upload_id"


# ------------------------------------------------------------------ without a place


def test_without_a_place_it_is_said_how_to_have_one() -> None:
    """404 is how LiteLLM learns that it has to keep batches itself."""
    with blocking_front() as front:
        for method, path, *_ in [
            ("GET", "/v1/files"),
            ("POST", "/v1/files"),
            ("GET", "/v1/files/file-1"),
            ("DELETE", "/v1/files/file-1"),
            ("GET", "/v1/files/file-1/content"),
            ("POST", "/v1/uploads"),
            ("POST", "/v1/uploads/upload_1/parts"),
            ("POST", "/v1/uploads/upload_1/complete"),
            ("POST", "/v1/uploads/upload_1/cancel"),
        ]:
            answer = front.request(method, path)
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert error["code"] == "store_off"
            assert "--data-dir FOLDER" in error["message"]


def test_a_folder_that_another_server_has_is_told(tmp_path: Path) -> None:
    config = Config(alias=ALIAS, data_dir=tmp_path)
    with blocking_front(config) as first, blocking_front(config) as second:
        assert first.get("/v1/files").status_code == 200
        error = second.get("/v1/files").json()["error"]
        assert error["code"] == "store_off"
        assert "another server" in error["message"]
        assert str(tmp_path) not in error["message"]
        assert second.get("/health").status_code == 200
