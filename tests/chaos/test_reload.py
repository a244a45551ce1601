"""Thousands of requests while the model, an option and the keys change again and again."""

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.reloading import (
    PROMPTS,
    House,
    Load,
    changes,
    completed,
    reload,
    settled,
    two_models,
)

pytestmark = pytest.mark.usefixtures("unmeasured")
EXACT = (
    "threads = 1", "cache-type-k = 'f32'", "cache-type-v = 'f32'", "flash-attn = 'off'",
    "cache-ram = 64", "workers = 2", "slots = 4",
)  # fmt: skip
SHORT: dict[str, Any] = {"max_tokens": 8}
"""Ten requests run whenever something happens, however long they are."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("requests", "budget"),
    [(2000, ()), (700, ("memory-budget = 400",))],
    ids=["beside", "by worker"],
)
def test_none_fails(
    start_server: Start, tmp_path: Path, requests: int, budget: tuple[str, ...]
) -> None:
    """No text is of two models, and a broken config in between changes nothing.

    Workers are killed, too, some of them old ones that finish what they began.
    """
    models = two_models(tmp_path)
    house = House(tmp_path, *EXACT, *budget, model=models[0])
    server = house.start(start_server)
    texts = {(prompt, completed(server, prompt, **SHORT)) for prompt in PROMPTS}
    load, draw, rounds = Load(server, 10, **SHORT), random.Random(7), 0
    while load.done < requests or rounds < 5:
        rounds += 1
        house.put(models[rounds % 2])
        assert changes(reload(server).json()) == {"served": "replaced"}
        if rounds <= 1:
            texts |= {(prompt, completed(server, prompt, **SHORT)) for prompt in PROMPTS}
        os.kill(draw.choice(server.pids()), signal.SIGKILL)
        load.more(20)
        house.key(f"key-{rounds}", f"secret-{rounds}")
        house.write(f"ctx = {1024 * (1 + rounds % 3)}")
        told = reload(server).json()
        assert (told["keys"], changes(told)) == (True, {"served": "replaced"})
        assert completed(server, PROMPTS[0], key=f"secret-{rounds}")
        house.write("ctx = -7")
        assert reload(server).status_code == 422
        house.write()
        load.more(20)
    load.end()
    assert load.failures == []
    assert load.texts.keys() <= texts
    settled(server, 2)
