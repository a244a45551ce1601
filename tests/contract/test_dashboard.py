"""The live page as a client gets it: its files, the stream of what changes, and the flood."""

import contextlib
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import urljoin

import httpx
import orjson
import pytest

from gateway.dashboard.endpoint import FILES
from gateway.dashboard.live import VIEWERS
from tests.conftest import Start
from tests.support.server import DEADLINE_S, ForgeServer

EVENTS = "/dashboard/events"
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function"
)
"""Ways in which a text could become markup or a program."""
SECRET = "sk-dashboard"


@contextlib.contextmanager
def following(client: httpx.Client) -> Iterator[Iterator[tuple[str, Any]]]:
    """Name and data of each event of the stream."""
    with client.stream("GET", EVENTS) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


def _events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, orjson.loads(line.removeprefix("data: "))


# ------------------------------------------------------------------ the page


BROWSER = {"Accept": "text/html,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("path", "headers"), [("/", BROWSER), ("/dashboard", BROWSER), ("/dashboard", {})]
)
def test_the_page(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    """At / only for browsers: other clients look there for Ollama."""
    page = http.get(path, headers=headers)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    sources = {source for part in policy.split("; ") for source in part.split()[1:]}
    assert sources == {"'none'", "'self'", "data:"}
    known = {**headers, "If-None-Match": page.headers["etag"]}
    assert http.get(path, headers=known).status_code == 304
    assert http.head(path, headers=headers).status_code == 200


def test_the_page_needs_nobody_else(http: httpx.Client) -> None:
    """All that it loads is there, and is all that is there; nothing is from elsewhere or inline."""
    page = http.get("/", headers=BROWSER).text
    assert page == http.get("/dashboard").text
    loaded = {f"/{link}" for link in re.findall(r'(?:src|href)="([^"#]+)"', page)}
    modules = [path for path in FILES if path.endswith(".js") and "uplot" not in path]
    for path in modules:
        text = http.get(path).text
        loaded |= {urljoin(path, name) for name in _imports(text)}
        assert not MARKUP.search(text), path
    loaded.discard("/")  # addresses within the page
    assert loaded - {"/docs", "/metrics", "/queue", "/workers"} == set(FILES) - {"/dashboard"}
    for path in loaded:
        assert http.get(path).status_code == 200, path
    for path in ("/dashboard", *modules, "/dashboard/page.css"):
        text = http.get(path).text
        assert not re.search(r"https?://", text), path
        assert not re.search(r"<style|<script>| style=| on\w+=", text), path
    assert http.get("/dashboard/__init__.py").status_code == 404


def _imports(source: str) -> list[str]:
    return re.findall(r'^import .* from "(\.\.?/[^"]+)";$', source, re.MULTILINE)


def test_the_charts_library_comes_with_its_licence() -> None:
    static = files("gateway.dashboard.static")
    assert "MIT License" in static.joinpath("uplot.LICENSE").read_text("utf-8")
    (version,) = re.findall(r"uPlot ([\d.]+),", static.joinpath("uplot.NOTICE").read_text("utf-8"))
    assert f"(v{version})" in static.joinpath("uplot.js").read_text("utf-8")[:80]


# ------------------------------------------------------------------ the stream


def test_everything_and_then_what_changes(http: httpx.Client, server: ForgeServer) -> None:
    with following(http) as events:
        name, hello = next(events)
        assert name == "hello"
        assert (hello["model"], hello["rate"], hello["flood"]) == ("forge-tiny", 0.2, True)
        assert hello["embedded"] == ["forge-tiny"]
        name, state = next(events)
        assert name == "state"
        workers = {worker["id"]: worker for worker in state["workers"]["set"]}
        assert [worker["pid"] for worker in workers.values()] == server.pids()
        assert (state["facts"]["slots"], state["facts"]["waiting"]) == (8, 0)
        asked = http.post("/infer", json={"query": "what is 2+2, secretly?"})
        for name, delta in events:
            assert name == "delta"
            assert "secretly" not in str(delta)
            ended = [row["name"] for row in delta.get("requests", {}).get("set", [])]
            if asked.headers["x-request-id"] in ended:
                break


def test_so_many_viewers_and_no_more(http: httpx.Client) -> None:
    with contextlib.ExitStack() as stack:
        watching = [stack.enter_context(following(http)) for _ in range(VIEWERS)]
        assert {next(events)[0] for events in watching} == {"hello"}
        with http.stream("GET", EVENTS) as refused:
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "10"
            assert orjson.loads(refused.read())["error"]["code"] == "unavailable"


def test_only_get(http: httpx.Client) -> None:
    assert http.post(EVENTS).status_code == 405
    assert http.head(EVENTS).headers["content-type"].startswith("text/event-stream")
    assert http.get("/dashboard/flood").status_code == 405


# ------------------------------------------------------------------ the flood


def test_a_flood_runs_to_its_end(http: httpx.Client) -> None:
    numbers = {"batch": 3, "normal": 2, "urgent": 1, "tokens": 5}
    with following(http) as events:
        next(events)
        _, state = next(events)
        before = {row["id"] for row in state.get("requests", {}).get("set", [])}
        answer = http.post("/dashboard/flood", json=numbers)
        assert (answer.status_code, answer.json()) == (200, {"accepted": 6})
        found: dict[int, dict[str, Any]] = {}
        while len(found) < 6:
            _, delta = next(events)
            for row in delta.get("requests", {}).get("set", []):
                if row["id"] not in before:
                    found[row["id"]] = row
    classes = sorted(row["class"] for row in found.values())
    assert classes == ["batch"] * 3 + ["normal"] * 2 + ["urgent"]
    assert {(row["tokens"], row["outcome"]) for row in found.values()} == {(5, "finished")}


@pytest.mark.parametrize(
    ("body", "param"),
    [({"batch": 201}, "batch"), ({"tokens": 0}, "tokens"), ({"normal": True}, "normal")],
)
def test_a_flood_has_bounds(http: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = http.post("/dashboard/flood", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "forge.example"}, {"Origin": "http://evil.example"}, {"X-Forwarded-For": "10.1.1.1"}],
)
def test_a_flood_from_elsewhere(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.post("/dashboard/flood", json={"batch": 1}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "loopback_only")
    with http.stream("GET", EVENTS, headers=headers) as response:
        assert next(_events(response))[1]["flood"] is False


# ------------------------------------------------------------------ servers of other kinds


def test_with_keys_the_page_is_open_and_what_it_shows_is_not(
    start_server: Start, tmp_path: Any
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nname = "a"\nkey = "{SECRET}"\nmax_priority = 1\n')
    file.chmod(0o600)
    options = ("--workers", "1", "--slots", "1", "--api-key-file", str(file))
    server = start_server(*options, key=SECRET)
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S) as stranger:
        for path in FILES:
            assert stranger.get(path).status_code == 200
        assert stranger.get(EVENTS).status_code == 401
        assert stranger.post("/dashboard/flood", json={"batch": 1}).status_code == 401
    with server.client() as client:
        with following(client) as events:
            assert next(events)[0] == "hello"
        denied = client.post("/dashboard/flood", json={"batch": 1, "urgent": 1})
        assert (denied.status_code, denied.json()["error"]["param"]) == (403, "urgent")
    server.stop()


def test_a_viewer_does_not_hold_up_the_end(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1")
    with server.client() as client, following(client) as events:
        next(events)
        server.stop()
        assert all(name in ("state", "delta") for name, _ in events), "the stream ends"


def test_without_the_page(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--no-page")
    with server.client() as client:
        for path in (*FILES, EVENTS):
            assert client.get(path).status_code == 404
    server.stop()
