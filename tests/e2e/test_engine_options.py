"""llama-server's options on a server: each model has its own, and the worker's process shows it."""

import re
import sys
from pathlib import Path

import llama_cpp
import pytest

from tests.conftest import Start
from tests.e2e.test_several import chat, config
from tests.support.server import MODEL

TABLES = f"""
workers = 1
slots = 1
ctx = 256
[models.mapped]
model = '{MODEL}'
repack = false
preload = true
[models.own]
model = '{MODEL}'
mmap = false
numa = "isolate"
split-mode = "none"
n-gpu-layers = "all"
tensor-split = [3, 1]
override-kv = ["llama.context_length=int:128"]
preload = true
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process maps: /proc")
def test_each_model_has_its_own(start_server: Start, tmp_path: Path) -> None:
    server = start_server(*config(tmp_path, TABLES), "--log-level", "info", model=None)
    cards = {card["id"]: card for card in server.get("/v1/models")["data"]}
    assert cards["own"]["meta"]["n_ctx_train"] == 128 < cards["mapped"]["meta"]["n_ctx_train"]
    for name in cards:
        assert chat(server, name).status_code == 200
    workers = {
        pid: str(MODEL) in Path(f"/proc/{pid}/maps").read_text()
        for pid in re.findall(r"worker \d+ \(pid (\d+)\) is ready", server.stderr)
    }
    assert sorted(workers.values()) == [False, True]
    (own,) = (pid for pid, maps in workers.items() if not maps)
    if not llama_cpp.llama_supports_gpu_offload():
        warned = re.findall(
            r"worker (\d+).*(--[a-z-]+).* this llama.cpp finds no GPU", server.stderr
        )
        assert set(warned) == {
            (own, option) for option in ("--n-gpu-layers", "--split-mode", "--tensor-split")
        }
    server.stop()


def test_yarn_lets_a_conversation_be_longer(start_server: Start) -> None:
    plain = start_server("--workers", "1", "--slots", "1", "--ctx", "8192")
    trained = plain.get("/v1/models")["data"][0]["meta"]["n_ctx_train"]
    plain.stop()
    options = ("--rope-scaling", "yarn", "--rope-scale", "2", "--ctx", str(2 * trained))
    server = start_server("--workers", "1", "--slots", "1", *options)
    prompt = [300] * (trained + 50)
    with server.client() as client:
        answer = client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 2})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == len(prompt)
    server.stop()
