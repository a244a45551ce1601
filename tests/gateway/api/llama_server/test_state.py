"""Properties and slots: what is told while a model is not there, and while it works."""

import asyncio

import pytest

from tests.support.answering_pool import MODEL
from tests.support.dialects import LLAMA_SERVER
from tests.support.played_front import Front, until
from workers.protocol import Detokenize

pytestmark = pytest.mark.anyio


async def test_a_model_that_was_never_loaded_is_loaded_first() -> None:
    front = Front()
    asking = asyncio.create_task(front.client.get("/props"))
    await until(lambda: bool(front.pool.asked))
    (question, answer), *_ = front.pool.asked
    assert question == Detokenize([])
    front.pool.model = MODEL
    answer.set_result(b"{}")
    props = (await asking).json()
    assert props["default_generation_settings"]["n_ctx"] == MODEL.n_ctx_seq
    assert (await front.client.get("/props")).json() == props
    assert len(front.pool.asked) == 1


async def test_defaults_are_those_of_the_model() -> None:
    front = Front()
    front.pool.model = MODEL
    served = front.gateway.registry.first
    props = (await front.client.get("/props")).json()["default_generation_settings"]["params"]
    served.sampling = {"seed": 42, "top_k": 7, "max_tokens": 9}
    own = (await front.client.get("/props")).json()["default_generation_settings"]["params"]
    changed = {"seed": 42, "top_k": 7, "max_tokens": 9, "n_predict": 9}
    assert own == props | changed
    assert (props["seed"], props["top_k"], props["n_predict"]) == (2**32 - 1, 40, -1)


async def test_a_slot_in_use_tells_numbers_and_no_text() -> None:
    front = Front()
    await front.gateway.start()
    body = LLAMA_SERVER.body("a secret", max_tokens=9)
    asking = asyncio.create_task(front.client.post("/completion", json=body))
    id_ = await front.running()
    front.pool.begin(id_, prompt=7, cached=3)
    front.pool.progress(id_, 2)
    answer = await front.client.get("/slots")
    (slot,) = answer.json()
    assert slot["is_processing"] is True
    assert "secret" not in answer.text
    busy = await front.client.get("/slots?fail_on_no_slot=1")
    assert (busy.status_code, busy.json()["error"]["type"]) == (503, "unavailable_error")
    front.pool.finish(id_)
    await asking
    await front.gateway.stop()
