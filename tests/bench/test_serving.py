"""Forge beside others: the arithmetic, the client, and a smallest run against real processes."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")
pytest.importorskip("matplotlib", reason="the benchmarks need the extra [bench]")

from bench.peers import NoPeer, programs
from bench.serving.__main__ import main
from bench.serving.ceiling import figures as ceiling_figures
from bench.serving.client import Answer, Client, Request
from bench.serving.measure import Figures, Ratio, figures, medians, ratio
from bench.serving.prompts import Prompts, arrivals, known
from bench.serving.report import Result, as_json, ceilings, markdown, peer, ratios
from bench.serving.styles import LIFELIKE, UNIFORM
from bench.serving.systems import beside
from bench.serving.workloads import Plan, Run, lengths, workloads
from gateway.config.config import EMBEDDED_MODEL

pytestmark = pytest.mark.usefixtures("unmeasured")
SMALLEST = Plan(rounds=1, words=3, tokens=4, waves={2: 2}, loads=(), shared=(2,), system_words=9,
                chats=1, turns=2, streams=1, long_words=20, long_tokens=8)  # fmt: skip


def test_arrivals_are_a_poisson_process_that_can_be_repeated() -> None:
    first = arrivals(10, 4000, "a")
    assert first == arrivals(10, 4000, "a") == sorted(first)
    assert first != arrivals(10, 4000, "b")
    assert first[-1] == pytest.approx(400, rel=0.1)


def test_prompts_are_the_models_own_words_and_never_the_same() -> None:
    found = known(EMBEDDED_MODEL)
    assert found.context == 2048
    assert "time" in found.words
    prompts, again = Prompts(found.words, "a"), Prompts(found.words, "a")
    texts = [prompts.text(50) for _ in range(100)]
    assert texts == [again.text(50) for _ in range(100)]
    assert len(set(texts)) == 100
    assert {len(text.split()) for text in texts} == {50}
    assert [m["role"] for m in prompts.chat(3, "be kind")] == ["system", "user"]


def test_prompts_fit_into_the_context() -> None:
    for room in (512, 2048, 100_000):
        by_name = {w.name: w for w in workloads(Plan(rounds=1), room, 32)}
        assert [name.partition(": ")[2] for name in by_name][:3] == [
            "1 client", "8 clients", "32 clients"
        ]  # fmt: skip
        big = by_name["a long prompt into streams"].run.keywords["plan"]  # type: ignore[attr-defined]
        assert big.long_words == min(3000, int(0.7 * room) - 32)
        assert [w.forge_only for w in by_name.values()].count(True) == 2


def test_answers_of_all_lengths_are_as_long_together() -> None:
    for clients, waves, tokens in ((32, 3, 32), (8, 2, 5), (1, 2, 7)):
        found = lengths(clients, waves, tokens, spread=True)
        assert found == lengths(clients, waves, tokens, spread=True)
        for wave in zip(*found, strict=True):
            assert abs(sum(wave) - clients * tokens) <= 1
        assert lengths(clients, waves, tokens, spread=False) == [[tokens] * waves] * clients
    spread = lengths(32, 1, 32, spread=True)
    assert min(spread) == [8]
    assert max(spread) == [56]


def test_the_long_prompt_finds_a_slot() -> None:
    """Beside the streams: else it would come when they are over."""
    for slots, streams in ((32, 8), (9, 8), (8, 7), (1, 1)):
        (found,) = (
            w for w in workloads(Plan(rounds=1), 2048, slots) if w.name.startswith("a long")
        )
        assert found.run.keywords["plan"].streams == streams  # type: ignore[attr-defined]


def answer(asked: float, *moments: float, error: str = "") -> Answer:
    """Two tokens for each piece."""
    return Answer(asked, [*moments], moments[-1] if moments else asked, "x", 2 * len(moments), 7, 1,
                  error)  # fmt: skip


def test_figures() -> None:
    run = Run([answer(0, 1, 2, 5), answer(1, 3, 3.5), answer(0, error="500")], seconds=5)
    found = figures(run)
    assert (found["requests"], found["errors"], found["tokens"]) == (3, 1, 10)
    assert (found["tokens_per_s"], found["requests_per_s"]) == (2, 0.4)
    assert (found["ttft_p50"], found["ttft_max"]) == (2, 2)
    assert (found["itl_p50"], found["itl_max"]) == (1, 3)
    assert (found["e2e_p50"], found["e2e_max"]) == (5, 5)
    assert (found["prompt_tokens"], found["cached_tokens"]) == (7, 2)
    assert found["cached_share"] == 2 / 14
    assert "repeated_share" not in found
    assert "long_ttft" not in found


def test_only_pauses_that_touch_the_window_count() -> None:
    streams, long = [answer(0, 1, 4, 4.5, 5.5, 9)], answer(4.6, 5)
    found = figures(Run(streams, 9, window=(4.6, 5), long=long))
    assert (found["itl_max"], found["itl_p50"]) == (1, 1)
    assert found["long_ttft"] == pytest.approx(0.4)
    nothing = figures(Run(streams, 9, window=(10, 11), long=answer(10, error="no")))
    assert math.isnan(nothing["itl_max"])
    assert math.isnan(nothing["long_ttft"])
    assert nothing["errors"] == 1


def rounds(*speeds: float, **more: float) -> list[Figures]:
    return [{"tokens_per_s": speed, **more} for speed in speeds]


def test_ratios_are_taken_round_by_round() -> None:
    found = ratio(rounds(1, 4, 9), rounds(1, 2, 3), "tokens_per_s")
    assert found == Ratio(2, 1, 3)
    assert str(found) == "2.00 (1.00-3.00)"
    assert str(Ratio(2, 2, 2)) == "2.00"
    assert ratio(rounds(1), rounds(1), "itl_max") is None
    assert ratio(rounds(1, itl_max=1), rounds(1, itl_max=math.nan), "itl_max") is None
    assert medians(rounds(1, 5, 3)) == {"tokens_per_s": 3}


SYSTEMS = {
    "forge": rounds(10, 12, ttft_p50=1),
    "llama-server": rounds(4, 6, ttft_p50=2),
    "llama-server-no-repack": rounds(5, 6, ttft_p50=4),
    "llama-batched-bench": rounds(20, 20),
    "llama-batched-bench-no-repack": rounds(10, 10),
}


def test_best_is_compared_with_best() -> None:
    """In each figure with the best in it."""
    assert peer(SYSTEMS, "tokens_per_s") == "llama-server-no-repack"
    assert peer(SYSTEMS, "ttft_p50") == "llama-server"
    assert ratios(SYSTEMS, "forge", UNIFORM)["tokens/s"] == Ratio(2, 2, 2)
    assert ratios(SYSTEMS, "forge", UNIFORM)["TTFT p50"] == Ratio(0.5, 0.5, 0.5)
    assert [*ratios(SYSTEMS, "llama-server-no-repack", UNIFORM)] == ["TTFT p50"]
    assert ceilings(SYSTEMS, "forge") == Ratio(0.55, 0.5, 0.6)
    assert peer({"forge": rounds(1)}, "tokens_per_s") is None
    assert peer(SYSTEMS, "goodput") is None
    assert ceilings({"forge": rounds(1)}, "forge") is None


def test_drafts_are_compared_with_none() -> None:
    """Forge with and without, whatever the peer does."""
    systems = {
        "forge": rounds(30),
        "forge-no-drafts": rounds(20),
        "llama-server": rounds(10, goodput=2),
    }
    assert ratios(systems, "forge", LIFELIKE) == {
        "tokens/s": Ratio(3, 3, 3),
        "tokens/s of forge-no-drafts": Ratio(1.5, 1.5, 1.5),
    }
    assert [*ratios(systems, "forge-no-drafts", LIFELIKE)] == ["tokens/s"]
    assert ratios(systems, "llama-server", LIFELIKE) == {}


def test_forge_beside_itself(tmp_path: Path) -> None:
    assert beside("tuned: --workers 2 --kv-type 'a b'") == (
        "tuned", None, ["--workers", "2", "--kv-type", "a b"]
    )  # fmt: skip
    (tmp_path / "gateway").mkdir()
    assert beside(f"before: @{tmp_path} --workers 1") == ("before", tmp_path, ["--workers", "1"])
    assert beside(f"before:@{tmp_path}") == ("before", tmp_path, [])
    for wrong in ("", "name", "name:", ": --slots 1", "name: @nowhere --slots 1"):
        with pytest.raises(ValueError, match=r"expected LABEL: OPTIONS|is no checkout"):
            beside(wrong)


def test_a_report() -> None:
    options = {"slots": 2, "ctx": 64, "threads": 1, "batch": 128, "plan": SMALLEST}
    missing = {"llama_cpp.server": "needs fastapi"}
    result = Result("m", UNIFORM, options, missing, found={"all": SYSTEMS})
    text = markdown(result)
    assert "1 threads, 2 rounds, 2 slots, batch 128, 2 requests" in text
    assert "| all | forge | 2.00 | 0.50 |" in text
    assert "Not measured: llama_cpp.server (needs fastapi)." in text
    assert "forge: tokens/s 2.00, TTFT p50 0.50, of llama-batched-bench 0.55 (0.50-0.60)." in text
    (row,) = (line for line in text.splitlines() if line.startswith("| forge "))
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["11.0", "", "1.000"]
    found = as_json(result)["workloads"]["all"]["forge"]
    assert found["median"]["tokens_per_s"] == 11
    assert found["ratios"]["tokens/s"] == {"median": 2, "least": 2, "most": 2}


def test_what_the_ceiling_is() -> None:
    found = ceiling_figures({"pp": 60, "tg": 32, "pl": 8, "t_pp": 3.0, "t_tg": 1.0})
    assert (found["tokens_per_s"], found["requests_per_s"]) == (64, 2)


CHUNKS = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "a"}}]},
    {"choices": [{"delta": {"content": "b\u00e9"}}]},
    {"choices": [], "usage": {"completion_tokens": 5, "prompt_tokens": 9,
                              "prompt_tokens_details": {"cached_tokens": 4}}},
]  # fmt: skip
EVENTS = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS)


async def asked_of(*pieces: bytes) -> Answer:
    """Return the client's answer from a server that says this, piece by piece, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}/v1", "m")
        return await client.ask(Request([{"role": "user", "content": "hi"}], 5))


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_the_client_reads_events_however_they_are_cut(size: int) -> None:
    body = EVENTS + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    found = await asked_of(head, *(b"%x\r\n%s\r\n" % (len(x), x) for x in cut), b"0\r\n\r\n")
    assert (found.error, found.text, len(found.moments)) == ("", "ab\u00e9", 2)
    assert (found.tokens, found.prompt_tokens, found.cached_tokens) == (5, 9, 4)
    assert found.asked <= found.moments[0] <= found.moments[1] <= found.ended


@pytest.mark.anyio
async def test_the_client_tells_errors() -> None:
    refused = await asked_of(b"HTTP/1.1 429 No\r\nContent-Length: 4\r\n\r\nbusy")
    assert refused.error == "429: busy"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    event = b'data: {"error": {"code": "displaced"}}\n\n'
    late = await asked_of(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
    assert "displaced" in late.error
    assert (await asked_of(head)).error == "cut off"
    assert "no HTTP" in (await asked_of(b"hello\r\n\r\n")).error
    gone = await Client("http://127.0.0.1:1", "m").ask(Request([], 1))
    assert "ConnectionRefused" in gone.error


def test_what_can_not_be_had_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NoPeer, match="has no llama-server, llama-batched-bench, llama-bench"):
        programs(tmp_path, lambda *_: None)
    for wrong, message in (
        (["--systems", "forge,other"], "no system is called other"),
        (["--model", "none.gguf"], "none.gguf is no file"),
        (["--url", "nothing"], "expected NAME=VALUE"),
        (["--beside", "nothing"], "expected LABEL: OPTIONS"),
    ):
        with pytest.raises(SystemExit):
            main(wrong)
        assert message in capsys.readouterr().err


def test_a_small_run(tmp_path: Path) -> None:
    """Forge and the bare engine, with the peer missing; figures are for a longer run to say."""
    main(
        [
            "--suite", "uniform", "--model", "embedded",
            "--systems", "forge,engine,llama-server", "--threads", "1",
            "--slots", "2", "--ctx", "512", "--batch", "128",
            "--llama-bin", str(tmp_path), "--out", str(tmp_path),
        ],
        SMALLEST,
    )  # fmt: skip
    text = (tmp_path / "serving-embedded.md").read_text("utf-8")
    assert f"llama-server ({tmp_path} has no llama-server" in text
    told = (tmp_path / "serving-embedded.json").read_text("utf-8")
    assert str(tmp_path) not in json.dumps(json.loads(told)["options"])
    found = json.loads(told)["workloads"]
    assert [*found] == [
        "closed loop: 2 clients", "answers of all lengths: 2 clients", "shared prompt: 2 clients",
        "shared prompt without cache: 2 clients", "chat of 2 turns", "a long prompt into streams",
    ]  # fmt: skip
    assert [*found["closed loop: 2 clients"]] == ["forge", "engine"]
    for workload, systems in found.items():
        for system, (given,) in ((name, one["rounds"]) for name, one in systems.items()):
            assert given["errors"] == 0, (workload, system)
            assert given["tokens"] == given["requests"] * (8 if "long" in workload else 4)
    assert found["shared prompt without cache: 2 clients"]["forge"]["median"]["cached_tokens"] == 0
    images = ("serving-embedded-speed.png", "serving-embedded-pauses.png")
    assert all((tmp_path / image).read_bytes().startswith(b"\x89PNG") for image in images)
