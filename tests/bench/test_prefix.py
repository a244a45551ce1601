"""The worth of the prefix cache, in the smallest form of the experiment."""

from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.prefix.__main__ import BLIND, CACHE, SHAPE, WORKERS, Plan, measure, report, turns_of
from bench.prefix.load import Answer
from bench.prefix.turns import CASES, play
from bench.server import running
from tests.support.architectures import write
from tests.support.server import MODEL

pytestmark = pytest.mark.usefixtures("unmeasured")
RESULTS = Path(__file__).parent.parent.parent / "bench" / "results" / "prefix.md"


def test_a_small_run() -> None:
    plan = Plan(rounds=1, conversations=2, turns=2, clients=(8, 32), requests=1, system=60)
    with running(*SHAPE) as server:
        server.wait_ready()
        chats, crowds = measure(server, plan, Console(quiet=True))
    assert set(chats) == set(BLIND)
    (found,) = chats["by prefix"]
    assert 0.9 * found.known < found.cached < found.prompts
    for clients in plan.clients:
        (on,), (off,) = (crowds[clients, name] for name in CACHE)
        assert 1 <= on.times <= WORKERS, "once per worker"
        assert off.times == clients
        assert on.computed < off.computed
    text = report((chats, crowds), plan)
    assert headings(text) == headings(RESULTS.read_text("utf-8")), "as the committed report"


def headings(text: str) -> list[list[str]]:
    """The first cells of all rows of the tables."""
    return [line.split("|")[1:2] for line in text.splitlines() if line.startswith("|")]


def test_the_first_turn_of_a_conversation_does_not_count() -> None:
    chat = [Answer(100, 0, 50.0), Answer(150, 90, 10.0), Answer(200, 150, 20.0)]
    turns = turns_of([chat, chat])
    assert (turns.prompts, turns.known, turns.cached) == (700, 500, 480)
    assert turns.ttft_ms == 15.0


@pytest.mark.timeout(300)  # seconds on an idle machine
def test_turns_of_a_model_whose_memory_cannot_be_cut(tmp_path: Path) -> None:
    write("jamba", MODEL, tmp_path / "jamba.gguf")
    found = play(str(tmp_path / "jamba.gguf"), 400)
    assert set(found) == set(CASES)
    assert min(found.values()) >= 0.8, found
