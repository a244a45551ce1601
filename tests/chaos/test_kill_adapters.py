"""A worker dies under LoRA adapters: each text goes on with its own, on whichever worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.adapters import merged, random_lora
from tests.support.dialects import DIALECTS
from tests.support.killing import healthy, kill, whole
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import Streaming, StreamOf

pytestmark = pytest.mark.usefixtures("unmeasured")

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 80}
SAMPLED: dict[str, Any] = {**GREEDY, "temperature": 1, "seed": 3}
NAMES = ("", "one", "two")


@pytest.fixture(scope="module")
def loras(exact: tuple[Path, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with adapters of the model that is served, and what the last makes of it."""
    model, folder = exact[0], tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(("one", "two", "late")):
        lora = random_lora(model, seed)
        lora.write(folder / f"{name}.gguf")
    merged(model, folder / "late-merged.gguf", [(lora, 1.0)])
    return folder


Begin = Callable[..., ForgeServer]


@pytest.fixture
def begin(start_server: Start, exact: tuple[Path, tuple[str, ...]], loras: Path) -> Begin:
    """Starts a server with two adapters whose texts don't depend on what else runs."""
    served, options = exact
    named = ",".join(f"{name}={loras / name}.gguf" for name in ("one", "two"))

    def start(workers: int, slots: int, *more: str, **how: Any) -> ForgeServer:
        shape = ("--workers", str(workers), "--slots", str(slots))
        adapters = ("--adapters", named, "--lora-dir", str(loras))
        return start_server(*shape, *options, *adapters, *more, model=served, **how)

    return start


def post(server: ForgeServer, path: str, body: dict[str, Any]) -> httpx.Response:
    with server.client() as client:
        return client.post(path, json=body)


def asked(name: str, **params: Any) -> dict[str, Any]:
    return {"model": name, **params} if name else params


def load(server: ForgeServer, name: str) -> None:
    given = {"lora_name": name, "lora_path": f"{name}.gguf"}
    assert post(server, "/v1/load_lora_adapter", given).status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_in_mid_stream(begin: Begin, workers: int) -> None:
    """Base and adapters side by side, greedy and sampled; two workers die one after the other."""
    server = begin(workers, 8 // workers)
    jobs = [
        (PROMPTS[at], asked(name, **params))
        for at, (name, params) in enumerate((n, p) for p in (GREEDY, SAMPLED) for n in NAMES)
    ]
    expected = [alone(server, prompt, **params) for prompt, params in jobs]
    streams = [Streaming(server, prompt, **params) for prompt, params in jobs]
    for stream in streams:
        stream.wait_for(20)
    for victim in server.workers():
        kill(victim["pid"])
    assert [whole(stream) for stream in streams] == expected
    try:
        healthy(server, workers)
    except AssertionError:
        print(server.workers(), server.stderr[-6000:])
        raise


def test_every_dialect(begin: Begin) -> None:
    """Each with an adapter, beside the base, in the worker that dies."""
    server = begin(1, 8)

    def streams_of_all() -> list[StreamOf]:
        return [
            StreamOf(each, server, each.body(PROMPTS[2], stream=True, **asked(name, **SAMPLED)))
            for each in DIALECTS
            if each.streams
            for name in ("", "two")
        ]

    expected = [stream.finish() for stream in streams_of_all()]
    assert len(set(expected)) > 2
    streams = streams_of_all()
    for stream in streams[:8]:
        stream.wait_for(20)
    kill(server.pids()[0])
    assert [whole(stream) for stream in streams] == expected
    healthy(server, 1)


def test_the_text_is_that_of_the_merged_weights(
    begin: Begin, start_server: Start, exact: tuple[Path, tuple[str, ...]], loras: Path
) -> None:
    """Also of one that was loaded while the server ran, and by workers that came later.

    Its name leads elsewhere by then: what is served is what was loaded.
    """
    options = ("--workers", "1", "--slots", "1", *exact[1])
    reference = start_server(*options, model=loras / "late-merged.gguf")
    expected = [alone(reference, prompt, **GREEDY) for prompt in PROMPTS[:4]]
    reference.stop()
    server = begin(2, 4)
    load(server, "late")

    def texts() -> list[str]:
        streams = [Streaming(server, prompt, **asked("late", **GREEDY)) for prompt in PROMPTS[:4]]
        beside = [Streaming(server, prompt, **GREEDY) for prompt in PROMPTS[:4]]
        found = [whole(stream) for stream in streams]
        assert all(whole(stream) not in found for stream in beside)
        return found

    assert texts() == expected
    own = loras / "late.gguf"
    kept = own.rename(loras / "kept.gguf")
    own.write_bytes((loras / "one.gguf").read_bytes())
    try:
        for pid in server.pids():
            kill(pid)
        eventually(lambda: [w["state"] for w in server.workers()] == ["ready"] * 2, "they are back")
        assert texts() == expected
    finally:
        kept.rename(own)
    unloaded = post(server, "/v1/unload_lora_adapter", {"lora_name": "late"})
    assert unloaded.status_code == 200
    refused = post(server, "/v1/completions", {"model": "late", "prompt": "a"})
    assert refused.status_code == 404
    healthy(server, 2)


def test_kept_prefixes_are_those_of_their_adapters(begin: Begin, tmp_path: Path) -> None:
    """In files, too: a second server with the same folder reads what it may, and no more."""
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    prompt = PROMPTS[14] + " and then one about the hills and the woods and the towns" * 8
    options = ("--cache-disk", "64")

    def told(server: ForgeServer, name: str) -> tuple[str, int]:
        body = {"messages": [{"role": "user", "content": prompt}], **asked(name, **GREEDY)}
        found = post(server, "/v1/chat/completions", body).json()
        cached: int = found["usage"]["prompt_tokens_details"]["cached_tokens"]
        return found["choices"][0]["message"]["content"], cached

    first = begin(1, 2, *options, env=env)
    texts = {name: told(first, name) for name in NAMES}
    assert len({text for text, _ in texts.values()}) == 3
    assert [cached for _, cached in texts.values()] == [0, 0, 0], json.dumps(texts)
    folder = tmp_path / "forge" / "prefixes"
    eventually(lambda: len(list(folder.rglob("*.kv"))) >= 3, "all three are on the disk")
    first.stop()
    second = begin(1, 2, *options, env=env)
    for name in reversed(NAMES):
        text, cached = told(second, name)
        assert text == texts[name][0]
        assert cached > 64
    second.stop()
