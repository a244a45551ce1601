"""Several models behind one gateway, with real llama.cpp: who comes, who goes, none is lost."""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gguf import PoolingType
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Start
from tests.support.dialects import CHAT
from tests.support.encoder import encoder
from tests.support.server import DEADLINE_S, MODEL, ForgeServer, eventually, gone
from tests.support.thinking import THINKS
from tests.support.traffic import ENDLESS, Hanging

SHARED = """
workers = 1
slots = 2
ctx = 1024
cache-ram = 0
"""
ONE = "memory-budget = 145\n"
"""MiB: room for one of these models beside the gateway."""


def config(folder: Path, text: str) -> tuple[str, str]:
    """Options for a server with these tables."""
    file = folder / "forge.toml"
    file.write_text(text)
    return "--config", str(file)


def tables(*names: str) -> str:
    """The same model under several names."""
    return "".join(f"[models.{name}]\nmodel = '{MODEL}'\n" for name in names)


def states(server: ForgeServer) -> dict[str, str]:
    return {card["id"]: card["state"] for card in server.get("/v1/models")["data"]}


def chat(server: ForgeServer, model: str, **params: Any) -> httpx.Response:
    body = CHAT.body("what is 2+2?", model=model, temperature=0, **{"max_tokens": 3, **params})
    return httpx.post(server.url + CHAT.path, json=body, timeout=DEADLINE_S)


def counted(server: ForgeServer, name: str) -> Counter[str]:
    """A metric, summed by model."""
    total = Counter[str]()
    with server.client(Accept="text/plain") as client:
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name:
                    total[sample.labels["model"]] += int(sample.value)
    return total


def end(server: ForgeServer) -> None:
    """It ends, and so does every process that it ever had."""
    server.stop()
    pids = [int(pid) for pid in re.findall(r"worker \d+ \(pid (\d+)\) is ready", server.stderr)]
    assert pids
    eventually(lambda: all(map(gone, pids)), f"{pids} are gone")


def test_other_names(start_server: Start, tmp_path: Path) -> None:
    """Agents ask for models under names of their own; answers have the model's."""
    text = SHARED + tables("one", "two").replace(
        "[models.one]\n", "[models.one]\npreload = true\naliases = ['main', 'claude-*']\n"
    )
    server = start_server(*config(tmp_path, text), model=None)
    for name in ("one", "main", "claude-opus-4-8"):
        assert chat(server, name).json()["model"] == "one"
    assert chat(server, "gpt-5").status_code == 404
    assert states(server).keys() == {"one", "two", "main"}
    assert server.get("/v1/models/main")["id"] == "main"


def test_limits_of_thoughts_and_llama_servers_metrics(start_server: Start, tmp_path: Path) -> None:
    """The limit of all models, one of a model's own, and a request's."""
    (tmp_path / "think.jinja").write_text(THINKS)
    text = SHARED + tables("usual", "none", "free")
    text = text.replace("[models.none]\n", "[models.none]\nreasoning-budget = 0\n")
    text = text.replace("[models.free]\n", "[models.free]\nreasoning-budget = -1\n")
    text = f"chat-template-file = '{tmp_path}/think.jinja'\nreasoning-budget = 6\n" + text
    server = start_server("--llamacpp-metrics", *config(tmp_path, text), model=None)

    def said(model: str, **params: Any) -> tuple[str, str]:
        answer = chat(server, model, max_tokens=30, ignore_eos=True, **params).json()
        assert answer["usage"]["completion_tokens"] == 30
        message = answer["choices"][0]["message"]
        return message.get("reasoning_content", ""), message["content"]

    whole, nothing = said("free")
    assert (bool(whole), nothing) == (True, "")
    thought, content = said("usual")
    assert whole.startswith(thought)
    assert 0 < len(thought) < len(whole)
    assert content
    assert said("free", thinking_budget_tokens=6) == (thought, content)
    assert said("none", thinking_budget_tokens=6) == (thought, content)
    assert said("none")[0] == ""
    metrics = httpx.get(server.url + "/metrics", timeout=DEADLINE_S).text
    found = dict(line.split() for line in metrics.splitlines() if line.startswith("llamacpp:"))
    assert float(found["llamacpp:tokens_predicted_total"]) == 150
    assert 0 < float(found["llamacpp:n_decode_total"]) < 150, "the end of a thought is one step"
    assert float(found["llamacpp:n_busy_slots_per_decode"]) == 1
    assert found["llamacpp:requests_processing"] == "0.0"


def test_two_alternate_where_there_is_room_for_one(start_server: Start, tmp_path: Path) -> None:
    server = start_server(*config(tmp_path, ONE + SHARED + tables("one", "two")), model=None)
    assert states(server) == {"one": "unloaded", "two": "unloaded"}
    for name in ("one", "two", "one", "two"):
        assert chat(server, name).json()["model"] == name
        assert len(server.workers()) == 1
    loads, unloads = counted(server, "forge_model_loads_total"), "forge_model_unloads_total"
    assert loads == {"one": 2, "two": 2}
    assert counted(server, unloads) == {"one": 2, "two": 1}
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda name: chat(server, name), ["one", "two"] * 12))
    assert [answer.status_code for answer in answers] == [200] * 24
    gone_again = counted(server, unloads).total()
    assert counted(server, "forge_model_loads_total").total() == gone_again + 1
    end(server)


def test_a_busy_model_makes_way_for_who_waits_longer(start_server: Start, tmp_path: Path) -> None:
    """Four clients keep one busy without a pause; the other is served all the same."""
    server = start_server(*config(tmp_path, ONE + SHARED + tables("busy", "late")), model=None)
    stop, statuses = threading.Event(), list[int]()

    def hammer() -> None:
        while not stop.is_set():
            statuses.append(chat(server, "busy", max_tokens=40).status_code)

    hammers = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in hammers:
        thread.start()
    try:
        eventually(lambda: len(statuses) > 4, "it is busy")
        assert chat(server, "late").status_code == 200
    finally:
        stop.set()
        for thread in hammers:
            thread.join(DEADLINE_S)
    assert set(statuses) == {200}
    assert counted(server, "forge_model_unloads_total")["busy"] >= 1
    end(server)


def test_who_is_more_urgent_is_loaded_first(start_server: Start, tmp_path: Path) -> None:
    text = ONE + SHARED + "preempt = 'off'\n" + tables("first", "batch", "urgent")
    server = start_server(*config(tmp_path, text), model=None)
    holder = Hanging(server, CHAT.path, CHAT.body("x", model="first", stream=True, **ENDLESS))
    holder.read_until(b"content")
    others = [("batch", 0), ("urgent", 2)]
    waiting = [
        Hanging(server, CHAT.path, CHAT.body("x", model=name, priority=priority, max_tokens=1))
        for name, priority in others
    ]
    eventually(lambda: [each["model"] for each in server.waiting()] == ["urgent", "batch"], "both")
    assert server.get("/queue")["by_model"] == {"first": 0, "batch": 1, "urgent": 1}
    holder.hang_up()
    for each in waiting:
        each.read_until(b"choices")
        each.hang_up()
    loaded = re.findall(r"model (\w+): loaded", server.stderr)
    assert loaded == ["first", "urgent", "batch"]
    end(server)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """Room for all; one that can't be loaded, and one that embeds."""
    folder = tmp_path_factory.mktemp("several")
    encoder(folder / "encoder.gguf", PoolingType.MEAN)
    (folder / "broken.gguf").write_bytes(b"GGUF and no more")
    text = SHARED + tables("tiny", "brief")
    text += "keep-alive = '1s'\nsystem = 'Be brief.'\nsampling = {max_tokens = 2}\n"
    text += f"[models.embed]\nmodel = '{folder}/encoder.gguf'\npreload = true\nctx = 64\n"
    text += f"[models.broken]\nmodel = '{folder}/broken.gguf'\n"
    server = ForgeServer(folder, "--threads", "1", *config(folder, text), model=None)
    try:
        yield server.wait_ready()
        end(server)
    finally:
        server.kill()


def test_the_client_of_openai_lists_them(several: ForgeServer) -> None:
    with openai.OpenAI(base_url=f"{several.url}/v1", api_key="any") as client:
        listed = [model.id for model in client.models.list()]
        assert listed == ["tiny", "brief", "embed", "broken"]
        assert client.models.retrieve("embed").id == "embed"
    assert states(several)["embed"] == "loaded", "it was to be there from the start"


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_only(several: ForgeServer) -> None:
    assert chat(several, "tiny").status_code == 200
    failure = CHAT.refusal(chat(several, "broken"))
    assert (failure.status, failure.code) == (503, "unavailable")
    assert "'broken' can't be loaded" in failure.message
    assert CHAT.refusal(chat(several, "broken")).status == 503, "at once, or after another try"
    answer = httpx.post(
        several.url + "/tokenize", json={"model": "broken", "content": "x"}, timeout=DEADLINE_S
    )
    assert answer.status_code == 503
    assert states(several)["broken"] == "failed"
    assert chat(several, "tiny").status_code == 200
    assert several.get("/health") == {"status": "ok"}


def test_chats_and_embeddings_side_by_side(several: ForgeServer) -> None:
    url, body = several.url + "/v1/embeddings", {"model": "embed", "input": ["a", "b"]}
    answer = httpx.post(url, json=body, timeout=DEADLINE_S).json()
    assert (answer["model"], len(answer["data"])) == ("embed", 2)
    assert chat(several, "tiny").json()["model"] == "tiny"
    refusal = CHAT.refusal(chat(several, "embed"))
    assert (refusal.status, refusal.code) == (400, "model_not_supported")
    assert {worker["model"] for worker in several.workers()} >= {"tiny", "embed"}


def test_an_empty_text_is_embedded_where_the_model_adds_tokens(several: ForgeServer) -> None:
    """As in llama-server and Ollama; OpenAI's dialect refuses one, as OpenAI does."""

    def post(path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(several.url + path, json=body, timeout=DEADLINE_S)

    texts = ["a", ""]
    raw = post("/embedding", {"model": "embed", "content": texts}).json()
    listed = post("/api/embed", {"model": "embed", "input": texts}).json()["embeddings"]
    assert [each["embedding"][0] for each in raw] == listed
    assert listed[0] != listed[1]
    refused = post("/v1/embeddings", {"model": "embed", "input": texts})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input.1")


def test_an_unknown_model_is_told_what_there_is(several: ForgeServer) -> None:
    failure = CHAT.refusal(chat(several, "nobody"))
    assert (failure.status, failure.code, failure.param) == (404, "model_not_found", "model")
    assert "'tiny', 'brief', 'embed', 'broken'" in failure.message


def test_defaults_of_a_model(several: ForgeServer) -> None:
    messages = [{"role": "user", "content": "hello"}]
    template = {"model": "brief", "messages": messages}
    answer = httpx.post(several.url + "/apply-template", json=template, timeout=DEADLINE_S)
    assert "Be brief." in answer.json()["prompt"]
    own = {"role": "system", "content": "Be long."}
    template["messages"] = [own, *messages]
    answer = httpx.post(several.url + "/apply-template", json=template, timeout=DEADLINE_S)
    assert "Be brief." not in answer.json()["prompt"]
    body = {"model": "brief", "messages": messages, "ignore_eos": True}
    for more, tokens in (({}, 2), ({"max_tokens": 5}, 5), ({"max_completion_tokens": 4}, 4)):
        answer = httpx.post(several.url + CHAT.path, json=body | more, timeout=DEADLINE_S)
        assert answer.json()["usage"]["completion_tokens"] == tokens


def test_who_nobody_uses_is_unloaded(several: ForgeServer) -> None:
    assert chat(several, "brief").status_code == 200
    eventually(lambda: states(several)["brief"] == "unloaded", "its second is over")
    assert states(several)["embed"] == "loaded"


def test_without_keys_a_programs_keep_alive_is_its_own(several: ForgeServer) -> None:
    """Of two programs of one machine, each on connections of its own, none unloads the other's."""

    def ask(program: str, **body: Any) -> dict[str, Any]:
        headers = {"User-Agent": program}
        url, whole = several.url + "/api/generate", {"model": "tiny", "stream": False, **body}
        answer = httpx.post(url, json=whole, headers=headers, timeout=DEADLINE_S)
        found: dict[str, Any] = answer.json()
        return found

    def stays_s() -> float:
        """Return the seconds that the model stays from now on."""
        (found,) = (each for each in several.get("/api/ps")["models"] if "tiny" in each["name"])
        return (datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)).total_seconds()

    # The operator's word ends what the tests before have asked for.
    httpx.post(several.url + "/models/unload", json={"model": "tiny"}, timeout=DEADLINE_S)
    assert ask("app", prompt="x", options={"num_predict": 1})["done"]
    for program in ("other", "third"):
        assert ask(program, keep_alive=0)["done_reason"] == "unload"
    assert 60 < stays_s() <= 300, "the app has just used it"
    ask("other", keep_alive=-1)
    assert stays_s() <= 300, "none keeps it for ever"
    for program in ("app", "other"):
        ask(program, keep_alive=0)
    eventually(lambda: states(several)["tiny"] == "unloaded", "the last one has let it go")


def test_a_clients_load_does_not_try_again_what_has_just_failed(several: ForgeServer) -> None:
    """Each try is a process; the operator's word alone begins another one within the pause."""

    def failures() -> int:
        return counted(several, "forge_model_load_failures_total")["broken"]

    def load(path: str, **body: Any) -> int:
        url = several.url + path
        return httpx.post(url, json={"model": "broken", **body}, timeout=DEADLINE_S).status_code

    for _ in range(6):  # pauses double: the last one is of half a minute
        assert load("/models/load") == 503
    before = failures()
    assert {load("/api/generate", prompt="") for _ in range(5)} == {503}
    assert load("/api/chat", messages=[]) == 503
    assert failures() == before
    assert load("/models/load") == 503
    assert failures() == before + 1


def test_a_deadline_counts_while_a_model_is_loaded(several: ForgeServer) -> None:
    eventually(lambda: states(several)["brief"] == "unloaded", "it is not there")
    late = chat(several, "brief", timeout=0.001)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert chat(several, "brief").status_code == 200


def test_loading_and_unloading_by_hand(several: ForgeServer) -> None:
    def post(path: str, **headers: str) -> httpx.Response:
        url, body = f"{several.url}/models/{path}", {"model": "tiny"}
        return httpx.post(url, json=body, headers=headers, timeout=DEADLINE_S)

    assert post("load").json()["state"] == "loaded"
    body = CHAT.body("x", model="tiny", stream=True, max_tokens=300, ignore_eos=True)
    stream = Hanging(several, CHAT.path, body)
    stream.read_until(b"content")
    assert post("unload").json()["state"] == "unloaded"
    stream.read_until(b"[DONE]")
    stream.hang_up()
    assert post("unload").status_code == 200, "again changes nothing"
    refused = post("load", **{"X-Forwarded-For": "1.2.3.4"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "loopback_only")


def test_a_worker_of_one_model_dies(several: ForgeServer) -> None:
    body = CHAT.body("x", model="tiny", stream=True, max_tokens=600, ignore_eos=True)
    stream = Hanging(several, CHAT.path, body)
    stream.read_until(b"content")
    (pid,) = (each["pid"] for each in several.workers() if each["model"] == "tiny")
    others = [each["pid"] for each in several.workers() if each["model"] == "embed"]
    os.kill(pid, signal.SIGKILL)
    stream.read_until(b"[DONE]")
    stream.hang_up()
    assert [each["pid"] for each in several.workers() if each["model"] == "embed"] == others


def test_with_keys_loading_needs_one(start_server: Start, tmp_path: Path) -> None:
    options = config(tmp_path, SHARED + tables("one", "two"))
    server = start_server(*options, "--api-key", "sk-a", model=None, key="sk-a")
    with server.client() as client:
        answer = client.post("/models/load", json={"model": "two"})
        assert answer.json()["state"] == "loaded"
    assert httpx.post(server.url + "/models/unload", json={"model": "two"}).status_code == 401
    end(server)


def test_what_can_never_be_loaded_is_refused_with_the_figures(
    start_server: Start, tmp_path: Path
) -> None:
    text = "memory-budget = 60\n" + SHARED + tables("one")
    server = start_server(*config(tmp_path, text), model=None, ready=False)
    assert server.wait() == 2
    assert re.search(r"models\.one: the model needs .* are the memory budget: ", server.stderr)
