"""``forge quantize`` as its users have it, on real llama.cpp."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from gateway.config.config import EMBEDDED_MODEL
from tests.support.server import DEADLINE_S, environment, eventually, gone

FORGE = [sys.executable, "-m", "gateway.cli"]
TEXT = (
    "Once upon a time there was a small fox who lived beside a river. One sunny morning the fox "
    "met a bear, and the bear asked for help. They built a bridge of wood and sang a song. "
) * 4


def quantize(*arguments: str | Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*FORGE, "quantize", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment({"COLUMNS": "100"}),
    )
    assert done.returncode == code, done.stderr
    return done


def told(*arguments: str | Path) -> dict[str, Any]:
    """Return what it prints as JSON."""
    found: dict[str, Any] = json.loads(quantize(*arguments, "--json").stdout)
    return found


def weights(file: Path) -> dict[str, Any]:
    """All of them as floats, as another program reads them."""
    reader = GGUFReader(file)
    return {
        each.name: dequantize(each.data, each.tensor_type).astype(np.float64).ravel()
        for each in reader.tensors
    }


def answer(model: Path) -> str:
    done = subprocess.run(
        [*FORGE, "run", "--model", str(model), "--temperature", "0", "What is 2 + 2?"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
    )
    return done.stdout or done.stderr


def test_what_is_told_is_what_another_program_finds(tmp_path: Path) -> None:
    """And eight bits lose less than four."""
    old, mean = weights(EMBEDDED_MODEL), {}
    for kind in ("Q8_0", "Q4_0", "Q4_K_M"):
        target = tmp_path / f"{kind}.gguf"
        found = told(EMBEDDED_MODEL, target, kind)
        new = weights(target)
        assert found["bytes_after"] == target.stat().st_size < EMBEDDED_MODEL.stat().st_size
        assert [each["name"] for each in found["tensors"]] == list(old)
        for each in found["tensors"]:
            lost = np.abs(old[each["name"]] - new[each["name"]])
            assert each["mean_absolute_error"] == pytest.approx(lost.mean(), rel=1e-4, abs=1e-12)
            power = np.square(old[each["name"]]).sum()
            relative = np.sqrt(np.square(lost).sum() / power)
            assert each["relative_error"] == pytest.approx(relative, rel=1e-4, abs=1e-12)
        mean[kind] = found["all"]["mean_absolute_error"]
        assert sum(each["tensors"] for each in found["types"]) == len(old)
        assert sum(each["bytes_after"] for each in found["kinds"]) == found["all"]["bytes_after"]
    assert 0 < mean["Q8_0"] < mean["Q4_K_M"] < mean["Q4_0"]


def test_the_result_is_a_model(tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    shown = quantize(EMBEDDED_MODEL, target, "q8_0").stdout
    assert "F16 → Q8_0" in shown
    assert "Most lost" in shown
    assert "--text FILE" in shown
    shown = quantize(EMBEDDED_MODEL, target, "Q8_0", "--force", "--pure", "--threads", "1").stdout
    assert "8.5" in shown
    assert "4" in answer(target)
    listed = subprocess.run(
        [*FORGE, "show", str(target)], capture_output=True, text=True, check=True
    )
    assert "Q8_0" in listed.stdout


def test_the_guide_shows_what_is_told(tmp_path: Path) -> None:
    """Its rows, but for the errors' last digits, and its refusals."""
    guide = (Path(__file__).parents[2] / "docs/guides/quantising.md").read_text("utf-8")
    _, shown, refused = re.split(r"\$ forge quantize .*(?:Q4_K_M|Q4_0)\n", guide)
    target = tmp_path / "small.gguf"
    said = quantize("forge-tiny", target, "Q4_K_M").stdout
    row = re.compile(r"^ (\S.*?) +(\d+) +([\d.]+ \wi?B) +([\d.]+ \wi?B) ", re.MULTILINE)
    shown_rows = row.findall(shown.partition("```")[0])
    assert len(shown_rows) == 6
    assert set(shown_rows) <= set(row.findall(said))
    expected = " ".join(refused.partition("$")[0].split()).removeprefix("forge quantize: ")
    again = quantize(target, tmp_path / "smaller.gguf", "Q4_0", code=2).stderr
    assert re.sub(r"type \w+ is", "type q8_0 is", " ".join(again.split())).endswith(expected)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let llama_cpp's own class leave weights as they are: repacked ones may end the process."""
    usual = llama_cpp.llama_cpp.llama_model_default_params

    def params() -> Any:
        found = usual()
        found.use_extra_bufts = False
        return found

    monkeypatch.setattr(llama_cpp.llama_cpp, "llama_model_default_params", params)


@pytest.mark.usefixtures("mapped")
def test_perplexity_is_what_llama_cpp_says(tmp_path: Path) -> None:
    """Computed here from its own logits: of each window the second half, after the first."""
    target, text = tmp_path / "small.gguf", tmp_path / "text"
    text.write_text(TEXT)
    found = told(EMBEDDED_MODEL, target, "Q4_0", "--text", text, "--window", "64")["perplexity"]
    for model, expected in ((EMBEDDED_MODEL, found["before"]), (target, found["after"])):
        assert perplexity(model, 64) == pytest.approx((expected, found["tokens"]), rel=1e-2)
    assert found["after"] != found["before"]


def perplexity(model: Path, window: int) -> tuple[float, int]:
    """And of how many tokens."""
    llama = llama_cpp.Llama(str(model), n_ctx=window, logits_all=True, verbose=False)
    tokens = llama.tokenize(TEXT.encode(), special=False)
    nats = list[float]()
    for first in range(0, len(tokens) - window + 1, window):
        llama.n_tokens = 0
        llama.eval(tokens[first : first + window])
        for at in range(window // 2, window):
            logits = llama.scores[at - 1].astype(np.float64)
            nats.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max())
            nats[-1] -= logits[tokens[first + at]]
    llama.close()
    return float(np.exp(np.mean(nats))), len(nats)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{in}", "{new}", "Q9"), "there is no 'Q9'; there are"),
        (("{in}", "{new}", "IQ1_S"), "importance matrix"),
        (("{in}", "{there}", "Q8_0"), "is there already (--force"),
        (("{in}", "{in}", "Q8_0", "--force"), "the same file as IN"),
        (("{in}", "{dir}", "Q8_0"), "is a folder"),
        (("{in}", "{dir}/no/x.gguf", "Q8_0"), "is not a folder"),
        (("nobody", "{new}", "Q8_0"), "neither a file nor a model"),
        (("{cut}", "{new}", "Q8_0"), "cut off"),
        (("{there}", "{new}", "Q8_0"), "not a GGUF"),
        (("{in}", "{new}", "Q8_0", "--text", "{dir}/none"), "--text: can't read"),
        (("{in}", "{new}", "Q8_0", "--text", "{short}"), "tokens; 32 are the least"),
    ],
)
def test_what_can_not_be_done_is_said(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """And nothing is left behind, nor anything lost that was there."""
    places = {"in": EMBEDDED_MODEL, "dir": tmp_path}
    for name in ("new", "there", "cut", "short"):
        places[name] = tmp_path / name
    places["there"].write_text("mine")
    places["short"].write_text("Too short.")
    places["cut"].write_bytes(EMBEDDED_MODEL.read_bytes()[:100_000])
    before = sorted(os.listdir(tmp_path))
    done = quantize(*(each.format(**places) for each in arguments), code=2)
    assert said in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == before
    assert places["there"].read_text() == "mine"


def test_weights_that_are_quantised_already(tmp_path: Path) -> None:
    eight, four = tmp_path / "eight.gguf", tmp_path / "four.gguf"
    quantize(EMBEDDED_MODEL, eight, "Q8_0")
    done = quantize(eight, four, "Q4_0", code=2)
    assert "--allow-requantize" in done.stderr
    assert not four.exists()
    assert "Q8_0 → Q4_0" in quantize(eight, four, "Q4_0", "--allow-requantize").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Neither a file nor a process."""
    text = tmp_path / "text"
    text.write_text(TEXT * 3000)
    process = subprocess.Popen(
        [*FORGE, "quantize", EMBEDDED_MODEL, tmp_path / "new.gguf", "Q8_0", "--text", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    children = eventually(lambda: offspring(process.pid), "it works")
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, said
    assert re.search("interrupted$", said.strip())
    eventually(lambda: all(map(gone, children)), "its process ends")
    assert os.listdir(tmp_path) == ["text"]


def offspring(pid: int) -> list[int]:
    """The processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
