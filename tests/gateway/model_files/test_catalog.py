"""`forge list`, `show` and `rm`: what is in the caches, and what leaves them."""

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import PoolingType
from huggingface_hub import scan_cache_dir

from gateway.cli.main import main
from gateway.config.config import EMBEDDED_MODEL
from gateway.model_files import catalog, ownership
from gateway.system import prefix_folders
from tests.support import architectures
from tests.support.adapters import random_lora
from tests.support.architectures import write
from tests.support.encoder import encoder
from tests.support.f32 import f32_copy
from tests.support.hub import COMMIT
from tests.support.server import DEADLINE_S, MODEL, environment

CONTENT = MODEL.read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of our own, with a model in each."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    cached(tmp_path, "org/tiny", {"tiny-Q4_K_M.gguf": CONTENT, "tiny-Q8_0.gguf": CONTENT + b"8"})
    own = tmp_path / "cache/forge/models/host-1234"
    own.mkdir(parents=True)
    (own / "plain.gguf").write_bytes(CONTENT)
    (own / "half.gguf.incomplete").write_bytes(CONTENT[:1000])
    return tmp_path


def cached(home: Path, repository: str, files: dict[str, bytes]) -> None:
    """As huggingface_hub lays it out."""
    folder = home / "hf/hub" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for number, (name, content) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:064}"
        blob.write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))


def run(*arguments: str, code: int = 0) -> str:
    """Return what the command says: its output if it succeeds, else its one line of error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main(list(arguments))
    assert found == code, err.getvalue()
    if code:
        assert out.getvalue() == ""
        (line,) = err.getvalue().splitlines()
        return line
    return out.getvalue()


def listed() -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(run("list", "--json"))}


def test_all_caches_are_listed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = str(home / "cache/forge/models/host-1234/plain.gguf")
    names = {"hf:org/tiny:Q4_K_M", "hf:org/tiny:Q8_0", plain, "forge-tiny"}
    assert set(listed()) == names
    assert listed()[plain]["architecture"] == "llama"
    monkeypatch.setenv("COLUMNS", "200")
    table = run("list")
    assert all(name in table for name in names)
    assert "Unfinished: 1 with" in table


def test_folders_are_listed_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # xdist sets it
    (home / "mine/deep").mkdir(parents=True)
    (home / "mine/deep/m.gguf").write_bytes(CONTENT)
    (home / "mine/broken.gguf").write_bytes(b"GGUF")
    found = {one["name"]: one for one in json.loads(run("list", "--json", str(home / "mine")))}
    assert found[str(home / "mine/deep/m.gguf")]["quantisation"] == "F16"
    assert found[str(home / "mine/broken.gguf")]["architecture"] == "unreadable"
    assert str(home / "mine/broken.gguf") in run("list", str(home / "mine"))
    assert "is not a folder" in run("list", str(home / "none"), code=2)


def test_our_view_of_the_hubs_cache_is_its_own(home: Path) -> None:
    (repository,) = scan_cache_dir(home / "hf/hub").repos
    assert repository.repo_id == "org/tiny"
    assert catalog.hub_cache() == home / "hf/hub"
    theirs = "from huggingface_hub.constants import HF_HUB_CACHE as c; print(c)"
    for variables in (
        {},
        {"HF_HOME": ""},
        {"HF_HOME": "", "XDG_CACHE_HOME": ""},
        {"HF_HUB_CACHE": "~/elsewhere"},
        {"HF_HUB_CACHE": "$HOME/elsewhere"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
    ):
        env = {**os.environ, **variables}
        env = {key: value for key, value in env.items() if value}
        ours = "from gateway.model_files.catalog import hub_cache as c; print(c())"
        asked = [
            subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
            for code in (theirs, ours)
        ]
        assert asked[0].stdout == asked[1].stdout


def test_a_model_is_found_by_its_names(home: Path) -> None:
    for name in ("hf:org/tiny", "hf:org/tiny:Q4_K_M", "tiny:q4_k_m"):
        assert catalog.find(name).path.name == "tiny-Q4_K_M.gguf"
    assert catalog.find("plain").where == "web"
    assert catalog.find(str(MODEL)).where == "embedded"
    assert "may be several" in run("show", "tiny", code=2)
    assert "forge pull hf:org/other gets it" in run("show", "hf:org/other", code=2)
    assert "has no Q2_K; it has" in run("show", "hf:org/tiny:Q2_K", code=2)
    assert "neither a file nor" in run("show", "nothing", code=2)


def test_removed_is_removed(home: Path) -> None:
    assert "--yes deletes without asking" in run("rm", "hf:org/tiny:Q8_0", code=2)
    assert "5.9 MiB are free again" in run("rm", "hf:org/tiny:Q8_0", "--yes")
    assert not list((home / "hf/hub").rglob("*Q8_0*"))
    assert len(list((home / "hf/hub").rglob("blobs/*"))) == 1
    assert not scan_cache_dir(home / "hf/hub").warnings
    prefixes = prefix_folders.prepare(catalog.find("plain").path, [])
    (prefixes / "1.kv").write_bytes(b"x")
    run("rm", "plain", "--yes")
    assert not prefixes.exists(), "what was said to it goes with it"
    assert set(listed()) == {"hf:org/tiny:Q4_K_M", "forge-tiny"}
    run("rm", "--unfinished", "--yes")
    assert "Nothing is unfinished" in run("rm", "--unfinished")
    assert not (home / "cache/forge/models/host-1234").exists() or not any(
        (home / "cache/forge/models/host-1234").iterdir()
    )


def test_what_is_yours_stays(home: Path) -> None:
    mine = home / "mine.gguf"
    mine.write_bytes(CONTENT)
    assert "is in no cache" in run("rm", str(mine), "--yes", code=2)
    assert "is in no cache" in run("rm", "forge-tiny", "--yes", code=2)
    assert "which model?" in run("rm", "--yes", code=2)
    assert mine.exists()
    assert EMBEDDED_MODEL.exists()


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", True), (b"\n", True), (b"y\n", False)])
def test_it_asks_who_is_there(home: Path, answer: bytes, left: bool) -> None:
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli", "rm", "plain"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        os.write(terminal, answer)
        out, err = process.communicate(timeout=DEADLINE_S)
    os.close(terminal)
    os.close(theirs)
    assert b"Delete" in out
    assert b"[y/N]" in out
    assert (home / "cache/forge/models/host-1234/plain.gguf").exists() == left
    assert (b"nothing was deleted" in err) == left


MODELS: dict[str, tuple[Callable[[Path], object], dict[str, Any]]] = {
    "llama": (
        lambda path: path.write_bytes(CONTENT),
        {
            "chat": True,
            "tools": "hermes",
            "reasoning": None,
            "embeddings": True,
            "ranking": False,
            "infill": False,
        },
    ),
    "thinking": (
        lambda path: f32_copy(MODEL, path, "{{ messages[0].content }}<think>\n</think>"),
        {
            "chat": True,
            "tools": "told in the system message",
            "reasoning": ["<think>", "</think>"],
            "embeddings": True,
            "ranking": False,
            "infill": False,
        },
    ),
    "encoder": (
        lambda path: encoder(path, PoolingType.MEAN),
        {
            "chat": False,
            "tools": None,
            "reasoning": None,
            "embeddings": True,
            "ranking": False,
            "infill": False,
        },
    ),
    "ranker": (
        lambda path: encoder(path, PoolingType.RANK),
        {
            "chat": False,
            "tools": None,
            "reasoning": None,
            "embeddings": False,
            "ranking": True,
            "infill": False,
        },
    ),
    "generative ranker": (
        lambda path: architectures.write("qwen3", MODEL, path, rerank="{query} {document}"),
        {
            "chat": False,
            "tools": None,
            "reasoning": None,
            "embeddings": False,
            "ranking": True,
            "infill": False,
        },
    ),
}


@pytest.mark.parametrize(("write", "can"), MODELS.values(), ids=MODELS)
def test_what_a_model_can_do_is_told(
    home: Path, write: Callable[[Path], object], can: dict[str, Any]
) -> None:
    path = home / "m.gguf"
    write(path)
    told = json.loads(run("show", str(path), "--json"))
    assert told["supports"] == can
    text = run("show", str(path))
    assert "Memory of forge serve" in text
    assert str(told["architecture"]) in text


def test_tokens_for_infilling_are_found_by_key_and_by_name() -> None:
    from gateway.model_files.description import infills
    from gateway.model_files.gguf import Gguf

    named = {"tokenizer.ggml.tokens": ["a", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]}
    assert infills(Gguf(named, (), 0, ()))
    keys = {f"tokenizer.ggml.fim_{part}_token_id": 1 for part in ("pre", "suf", "mid")}
    assert infills(Gguf(keys, (), 0, ()))
    assert not infills(Gguf({"tokenizer.ggml.tokens": ["<|fim_prefix|>"]}, (), 0, ()))


def test_memory_follows_the_options(home: Path) -> None:
    def memory(*options: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(run("show", str(MODEL), "--json", *options))["memory"]
        return told

    one, two = memory("--workers", "1"), memory("--workers", "2")
    assert two["total"] - (one["total"] - one["spare"]) == sum(one["each_worker"].values())
    small = memory("--workers", "1", "--ctx", "4096", "--cache-type-k", "q8_0")
    expected = 4096 * 6 * (192 * 34 / 32 + 192 * 2)
    assert small["each_worker"]["cells"] == pytest.approx(expected, abs=0.011 * (1 << 20))
    assert "--ctx" in memory("--ctx", str(2**30), "--workers", "1")["advice"]
    lora = random_lora(MODEL, 1).write(home / "legal.gguf")
    adapted = memory("--workers", "2", "--adapters", f"legal={lora}")
    assert adapted["each_worker"].pop("adapters") * 2 == adapted["total"] - two["total"] > 0
    assert "LoRA adapters" in run("show", str(MODEL), "--lora", str(lora))


def test_states_and_windows_are_told(home: Path) -> None:
    for name, word in (
        ("mamba", "recurrent"),
        ("jamba", "recurrent"),
        ("gemma2", "window of 128"),
        ("gemma3", "window of 128"),
    ):
        path = home / "m.gguf"
        write(name, MODEL, path)
        assert word in run("show", str(path))


def test_the_template_alone(home: Path) -> None:
    assert run("show", str(MODEL), "--template") == (MODEL.parent / "template.jinja").read_text()


def test_a_broken_template_is_told(home: Path) -> None:
    """As those will hear it who ask for a chat."""
    path = home / "m.gguf"
    f32_copy(MODEL, path, template="Hello\n{% if %}")
    shown = run("show", str(path))
    assert "template is broken: line 2" in shown
    told = json.loads(run("show", str(path), "--json"))
    assert told["supports"]["chat"] is False
    assert "broken" not in told["supports"]
    assert "line 2" in told["chat_template_error"]
    assert json.loads(run("show", str(MODEL), "--json"))["chat_template_error"] is None


def test_age() -> None:
    assert catalog.age(0, 90) == "1 minute ago"
    assert catalog.age(0, 3 * 86400.5) == "3 days ago"
    assert catalog.age(100, 50) == "just now"


def test_each_model_is_found_by_its_listed_name(home: Path) -> None:
    entries = catalog.everything()
    assert len(entries) == 4
    for entry in entries:
        assert catalog.named(entry.name) == entry
    assert catalog.named("hf:org/tiny") == catalog.named("hf:org/tiny:Q4_K_M")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "\x00",
        "x" * 5000,
        "forge",
        "tiny",
        "hf:",
        "hf:org/none",
        "hf:org/tiny:Q2_K",
        "hf:org/tiny:q4_k_m",
        "hf:../..",
        "hf:org/tiny:../../../refs/main",
        "/etc/passwd",
        "{home}/mine.gguf",
        "{home}/cache/forge/models/../mine.gguf",
        "{home}/cache/forge/models/host-1234/../../../../mine.gguf",
        "{home}/cache/forge/models/host-1234/none.gguf",
        "{home}/cache/forge/models/host-1234/half.gguf.incomplete",
    ],
)
def test_no_name_leads_out_of_the_caches(home: Path, name: str) -> None:
    for place in ("mine.gguf", "cache/forge/mine.gguf"):
        (home / place).write_bytes(CONTENT)
    assert catalog.named(name.format(home=home)) is None


def test_only_what_forge_has_brought_is_its_own(home: Path) -> None:
    hub = catalog.hub_cache()
    (q4,), (q8,) = (catalog.find(f"hf:org/tiny:{kind}").files for kind in ("Q4_K_M", "Q8_0"))
    assert not ownership.is_ours(q4, hub), "another program may have brought it"
    ownership.claim(q4)
    assert ownership.is_ours(q4, hub)
    assert not ownership.is_ours(q8, hub)
    ownership.disclaim(q4.resolve())
    assert not ownership.is_ours(q4, hub)
    plain = home / "cache/forge/models/host-1234/plain.gguf"
    assert ownership.is_ours(plain, hub)
    mine = home / "mine.gguf"
    mine.write_bytes(CONTENT)
    assert not ownership.is_ours(mine, hub)
    assert not ownership.is_ours(home / "none.gguf", hub)


def test_the_same_content_is_another_programs_elsewhere_and_later(home: Path) -> None:
    hub = catalog.hub_cache()
    (q4,) = catalog.find("hf:org/tiny:Q4_K_M").files
    ownership.claim(q4)
    content = q4.resolve()
    blob = hub / "models--other--copy" / "blobs" / content.name
    theirs = hub / "models--other--copy" / "snapshots" / "1" / q4.name
    for file in (blob, theirs):
        file.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    theirs.symlink_to(blob)
    assert not ownership.is_ours(theirs, hub)
    assert ownership.is_ours(q4, hub)
    content.unlink()
    assert not ownership.is_ours(q4, hub)
    content.write_bytes(CONTENT)
    os.utime(content, ns=(0, 0))
    assert not ownership.is_ours(q4, hub), "another program has brought it again"


def test_a_link_out_of_a_cache_is_not_its_own(home: Path) -> None:
    mine = home / "mine.gguf"
    mine.write_bytes(CONTENT)
    link = home / "cache/forge/models/host-1234/link.gguf"
    link.symlink_to(mine)
    assert not ownership.is_ours(link, catalog.hub_cache())
    folder = home / "cache/forge/models/elsewhere"
    folder.symlink_to(home)
    assert not ownership.is_ours(folder / "mine.gguf", catalog.hub_cache())
    (snapshot,) = (home / "hf/hub").glob("models--org--tiny/snapshots/*")
    away = snapshot / "away-Q2_K.gguf"
    content = home / f"{0:064}"
    content.write_bytes(CONTENT)
    away.symlink_to(content)
    ownership.claim(away)
    assert not ownership.is_ours(away, catalog.hub_cache())
