"""Tables of models and a catalog in one server: tables come first, the caches give the rest."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.dialects import CHAT
from tests.support.server import DEADLINE_S, MODEL, ForgeServer

TINY, OTHER = "hf:org/tiny:Q4_K_M", "hf:org/tiny:Q8_0"
TABLES = f"""
catalog = true
workers = 1
slots = 2
threads = 1
ctx = 1024
cache-ram = 0
memory-budget = 145

[models."{TINY}"]
model = "{MODEL}"
aliases = ["*"]
sampling = {{ seed = 7 }}
"""
"""The budget is for one of these models beside the gateway."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    folder = tmp_path_factory.mktemp("home")
    snapshot = folder / "hub/models--org--tiny/snapshots/0"
    snapshot.mkdir(parents=True)
    for kind in ("Q4_K_M", "Q8_0"):
        (snapshot / f"tiny-{kind}.gguf").write_bytes(MODEL.read_bytes())
    file = folder / "forge.toml"
    file.write_text(TABLES)
    env = {"HF_HUB_CACHE": str(folder / "hub"), "XDG_STATE_HOME": str(folder / "state")}
    server = ForgeServer(folder / "logs", "--config", str(file), model=None, env=env)
    try:
        yield server.wait_ready()
        server.stop()
    finally:
        server.kill()


def chat(server: ForgeServer, model: str) -> Any:
    body = CHAT.body("what is 2+2?", model=model, max_tokens=2)
    answer = httpx.post(server.url + CHAT.path, json=body, timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    return answer


def loads(server: ForgeServer) -> dict[str, float]:
    with server.client(Accept="text/plain") as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {
        sample.labels["model"]: sample.value
        for sample in samples
        if sample.name == "forge_model_loads_total"
    }


def test_tables_come_first_and_no_name_twice(server: ForgeServer) -> None:
    listed = [card["id"] for card in server.get("/v1/models")["data"]]
    assert listed == [TINY, OTHER], "forge-tiny's file is that of the table"
    assert f"models.{TINY}: the caches have a model called '{TINY}', too;" in server.stderr
    assert OTHER not in server.stderr


def test_a_name_of_both_is_the_tables(server: ForgeServer) -> None:
    """By each of its spellings; a name of the caches alone is theirs, a pattern comes last."""
    for asked in (TINY, "hf:org/tiny", "forge-tiny", "anything"):
        answer = chat(server, asked)
        assert (answer.json()["model"], answer.headers["x-seed"]) == (TINY, "7"), asked
    answer = chat(server, OTHER)
    assert answer.json()["model"] == OTHER
    assert answer.headers["x-seed"] != "7"


def test_they_share_the_budget_and_each_kind_has_its_label(server: ForgeServer) -> None:
    before = loads(server)
    assert before.keys() == {TINY, "catalog"}
    for asked in (OTHER, TINY, OTHER):
        chat(server, asked)
        (worker,) = server.workers()
        assert worker["model"] == asked, "there is room for one"
    after = loads(server)
    assert after[TINY] == before[TINY] + 1
    assert after["catalog"] >= before["catalog"] + 1


def test_the_file_behind_a_name_of_a_table_is_not_deleted(server: ForgeServer) -> None:
    body = {"model": TINY}
    answer = httpx.request("DELETE", server.url + "/api/delete", json=body, timeout=DEADLINE_S)
    assert (answer.status_code, answer.json()["code"]) == (409, "model_in_use")
