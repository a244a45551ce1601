"""LoRA adapters in every dialect: models by their names, scales by their numbers, admins' rights.

The gateway is the real one, and so are the files; the test plays the only worker. What real workers
compute with adapters is shown in tests/workers/engine/ and tests/e2e/test_adapters.py.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys import digest
from gateway.config.config import EMBEDDED_MODEL
from gateway.core.api_key import ApiKey
from tests.support.adapters import random_lora
from tests.support.dialects import CHAT, Dialect, Way
from tests.support.played_front import Front, until
from tests.support.ways import answer, ask, serving
from workers.protocol import AdapterSet, GenerationParams

pytestmark = pytest.mark.anyio

APP = ApiKey("app", digest("sk-app"), admin=True)
OTHER = {"Authorization": "Bearer sk-other"}
LIMITED = ApiKey("other", digest("sk-other"), models=("chat", "legal"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("loras")
    return {
        name: random_lora(EMBEDDED_MODEL, seed).write(folder / f"{name}.gguf")
        for seed, name in enumerate(("legal", "medical", "usual", "late"))
    }


@pytest.fixture
def folder(files: dict[str, Path], tmp_path: Path) -> Path:
    """The folder from which admins load."""
    there = tmp_path / "loras"
    (there / "deep").mkdir(parents=True)
    os.link(files["late"], there / "late.gguf")
    os.link(files["late"], there / "deep" / "late.gguf")
    (there / "link.gguf").symlink_to(files["late"])
    (there / "up").symlink_to(files["late"].parent)
    (there / "peft").mkdir()
    (there / "text.gguf").write_text("no adapter")
    os.mkfifo(there / "fifo.gguf")
    return there


@pytest.fixture
async def house(files: dict[str, Path], folder: Path) -> AsyncIterator[Front]:
    adapters = f"legal={files['legal']},medical={files['medical']}"
    options = {"adapters": adapters, "lora": str(files["usual"]), "lora_dir": folder}
    async with serving(Front([APP, LIMITED], alias="chat", **options)) as house:
        yield house


def digest_of(house: Front, name: str) -> str:
    adapter = house.gateway.registry.first.adapters.get(name)
    assert adapter is not None
    return adapter.digest


async def params_of(house: Front, way: Way, **asked: Any) -> GenerationParams:
    """Return the parameters that a worker gets with a request."""
    asking = ask(house, way, **asked)
    id_ = await house.running()
    params = house.pool.running()[id_].params
    answer(house, id_)
    assert way.dialect.told(await asking).failure is None
    return params


async def test_an_adapter_is_a_model(house: Front, way: Way) -> None:
    params = await params_of(house, way, model="legal")
    assert params.adapters == ((digest_of(house, "legal"), 1.0),)
    scraped = await house.scraped()
    assert scraped["forge_requests_total", "normal", "finished"] == 1, "it is its model's"


async def test_what_is_applied_to_all(house: Front, way: Way) -> None:
    """llama-server's --lora, unless a request says otherwise."""
    usual: AdapterSet = ((digest_of(house, "usual"), 1.0),)
    assert (await params_of(house, way)).adapters == usual
    assert (await params_of(house, way, lora=[])).adapters == usual
    assert (await params_of(house, way, lora=[{"id": 0, "scale": 0}])).adapters == ()


async def test_scales_by_numbers(house: Front, way: Way) -> None:
    given = [{"id": 1, "scale": 0.5}, {"id": 2, "scale": -2}]
    params = await params_of(house, way, lora=given)
    wanted = {digest_of(house, "legal"): 0.5, digest_of(house, "medical"): -2.0}
    assert dict(params.adapters) == wanted
    assert list(params.adapters) == sorted(params.adapters)
    params = await params_of(house, way, model="medical", lora=[{"id": 1, "scale": 1}])
    assert dict(params.adapters) == {digest_of(house, "legal"): 1.0}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([{"id": 7, "scale": 1}], "lora.0.id"),
        ([{"id": 0, "scale": 1}, {"id": -1}], "lora.1.id"),
        ([{"id": 0, "scale": "much"}], "lora.0.scale"),
        ([{"id": 0, "scale": 1e9}], "lora.0.scale"),
        ([{"scale": 1}], "lora.0.id"),
        ([{"id": 0}] * 65, "lora"),
        ("legal", "lora"),
    ],
)
async def test_bad_scales_are_named(house: Front, dialect: Dialect, given: Any, param: str) -> None:
    response = await house.client.post(dialect.path, json=dialect.body(lora=given))
    failure = dialect.refusal(response)
    assert failure.status == 400
    assert param in failure.message


async def test_a_key_has_the_adapters_that_it_may_use(house: Front, dialect: Dialect) -> None:
    """An adapter that a key may not use is not there for it, by name or by number."""
    for body in (dialect.body(model="medical"), dialect.body(lora=[{"id": 2, "scale": 1}])):
        response = await house.client.post(dialect.path, json=body, headers=OTHER)
        assert dialect.refusal(response).status in (400, 404)
    listed = (await house.client.get("/lora-adapters", headers=OTHER)).json()
    assert [each["name"] for each in listed] == ["legal"]
    models = (await house.client.get("/v1/models", headers=OTHER)).json()["data"]
    assert [each["id"] for each in models] == ["chat", "legal"]
    error = (await house.client.get("/v1/models/medical", headers=OTHER)).json()["error"]
    assert error["code"] == "model_not_found"
    assert "medical" not in error["message"].removeprefix("the model 'medical'")


# --------------------------------------------------------------------- lists


async def test_the_lists(house: Front) -> None:
    cards = {each["id"]: each for each in (await house.client.get("/v1/models")).json()["data"]}
    assert list(cards) == ["chat", "usual", "legal", "medical"]
    assert cards["chat"]["parent"] is None
    assert (cards["legal"]["parent"], cards["legal"]["root"]) == ("chat", "legal.gguf")
    card = (await house.client.get("/v1/models/legal")).json()
    assert card == cards["legal"]
    listed = (await house.client.get("/lora-adapters")).json()
    assert [(each["id"], each["name"], each["scale"]) for each in listed] == [
        (0, "usual", 1.0),
        (1, "legal", 0.0),
        (2, "medical", 0.0),
    ]
    assert {each["path"] for each in listed} == {"usual.gguf", "legal.gguf", "medical.gguf"}
    tags = (await house.client.get("/api/tags")).json()["models"]
    assert {each["name"]: each["details"]["parent_model"] for each in tags} == {
        "chat:latest": "",
        "legal:latest": "chat:latest",
        "medical:latest": "chat:latest",
        "usual:latest": "chat:latest",
    }
    shown = (await house.client.post("/api/show", json={"model": "legal"})).json()
    assert "FROM chat\nADAPTER legal.gguf\n" in shown["modelfile"]


# --------------------------------------------------------------------- admins


async def test_scales_of_all_requests(house: Front) -> None:
    """Adapters that are not named have no scale from then on."""
    way = Way(CHAT, False)
    before = house.pool.adapters
    answered = await house.client.post("/lora-adapters", json=[{"id": 1, "scale": 0.25}])
    assert answered.json() == {"success": True}
    assert (await params_of(house, way)).adapters == ((digest_of(house, "legal"), 0.25),)
    assert (await params_of(house, way, model="medical")).adapters == (
        (digest_of(house, "medical"), 1.0),
    )
    await house.client.post("/lora-adapters", json=[])
    assert (await params_of(house, way)).adapters == ()
    assert house.pool.adapters == before


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, "array"), ([{"id": 9}], "no adapter 9"), ([{"id": 0, "scale": "x"}], "0.scale")],
)
async def test_wrong_scales_of_all_requests(house: Front, body: Any, words: str) -> None:
    refused = await house.client.post("/lora-adapters", json=body)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    listed = (await house.client.get("/lora-adapters")).json()
    assert [each["scale"] for each in listed] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "path", ["late.gguf", "deep/late.gguf", "./deep//late.gguf", "{}/late.gguf"]
)
async def test_loaded_while_it_runs(house: Front, folder: Path, path: str) -> None:
    given = {"lora_name": "late", "lora_path": path.format(folder)}
    loaded = await house.client.post("/v1/load_lora_adapter", json=given)
    assert (loaded.status_code, loaded.text) == (
        200,
        "Success: LoRA adapter 'late' added successfully.",
    )
    assert digest_of(house, "late") in {each.digest for each in house.pool.adapters}
    params = await params_of(house, Way(CHAT, False), model="late")
    assert params.adapters == ((digest_of(house, "late"), 1.0),)
    again = await house.client.post("/v1/load_lora_adapter", json=given)
    assert (again.status_code, again.json()["error"]["param"]) == (400, "lora_name")
    gone = await house.client.post("/v1/unload_lora_adapter", json={"lora_name": "late"})
    assert gone.text == "Success: LoRA adapter 'late' removed successfully."
    assert len(house.pool.adapters) == 3
    missing = await house.client.post("/v1/unload_lora_adapter", json={"lora_name": "late"})
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "link.gguf",
        "up/late.gguf",
        "../loras/late.gguf",
        "deep/../late.gguf",
        "/etc/passwd",
        "{}/../secret.gguf",
        ".",
        "peft",
        "text.gguf",
        "fifo.gguf",
        "nothing.gguf",
        "late.gguf/",
        "late.gguf/x",
        "a\0b",
    ],
)
async def test_files_outside_the_folder_are_not_read(house: Front, folder: Path, path: str) -> None:
    (folder.parent / "secret.gguf").write_bytes(b"GGUF")
    given = {"lora_name": "late", "lora_path": path.format(folder)}
    refused = await house.client.post("/v1/load_lora_adapter", json=given)
    if path == "late.gguf/":
        assert refused.status_code == 200, "a slash at the end changes nothing"
        return
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "lora_path")
    assert len(house.pool.adapters) == 3
    assert [each["id"] for each in (await house.client.get("/v1/models")).json()["data"]] == [
        "chat",
        "usual",
        "legal",
        "medical",
    ]


@pytest.mark.parametrize("name", ["chat", "legal", "", "a=b", "a,b", "x" * 257, "a\nb"])
async def test_names_that_are_taken_or_none(house: Front, name: str) -> None:
    given = {"lora_name": name, "lora_path": "late.gguf"}
    refused = await house.client.post("/v1/load_lora_adapter", json=given)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lora_name")


async def test_what_a_worker_refuses_is_told(house: Front) -> None:
    house.pool.refusal = "late.gguf: llama.cpp can't load this adapter"
    given = {"lora_name": "late", "lora_path": "late.gguf"}
    refused = await house.client.post("/v1/load_lora_adapter", json=given)
    assert refused.status_code == 400
    assert house.pool.refusal in refused.json()["error"]["message"]
    house.pool.refusal = None
    assert (await house.client.post("/v1/load_lora_adapter", json=given)).status_code == 200


async def test_unloaded_in_mid_answer(house: Front) -> None:
    """New requests don't find it; the one that was accepted has it to its end."""
    legal = digest_of(house, "legal")
    asking = ask(house, Way(CHAT, False), model="legal")
    id_ = await house.running()
    waiting = ask(house, Way(CHAT, False), model="legal")
    await until(lambda: house.gateway.registry.depth() == 1)
    gone = await house.client.post("/v1/unload_lora_adapter", json={"lora_name": "legal"})
    assert gone.status_code == 200
    assert legal in {each.digest for each in house.pool.adapters}
    refused = await house.client.post("/v1/chat/completions", json=CHAT.body(model="legal"))
    assert refused.status_code == 404
    answer(house, id_)
    assert (await asking).status_code == 200
    second = await house.running()
    assert house.pool.running()[second].params.adapters == ((legal, 1.0),)
    assert legal in {each.digest for each in house.pool.adapters}
    answer(house, second)
    assert (await waiting).status_code == 200
    await until(lambda: legal not in {each.digest for each in house.pool.adapters})


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"])
async def test_only_admins_change_adapters(house: Front, path: str) -> None:
    given = {"lora_name": "legal", "lora_path": "late.gguf"}
    refused = await house.client.post(path, json=given, headers=OTHER)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_only")
    scales = await house.client.post("/lora-adapters", json=[], headers=OTHER)
    assert scales.status_code == 403


async def test_without_a_folder_none_is_loaded() -> None:
    async with serving(Front([APP])) as house:
        given = {"lora_name": "late", "lora_path": "late.gguf"}
        refused = await house.client.post("/v1/load_lora_adapter", json=given)
        assert refused.status_code == 501
        assert "--lora-dir" in refused.json()["error"]["message"]
        assert (await house.client.get("/lora-adapters")).json() == []
