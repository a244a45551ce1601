"""The timings of an answer are its own, however many others its request has."""

import pytest

from gateway.api import body
from gateway.api.llama_server.answer import LlamaWriter
from gateway.api.llama_server.body import LlamaCompletionBody
from gateway.core.usage import Usage
from gateway.dispatch.ticket import Ticket
from tests.support.desk import Desk
from tests.support.memory_pool import job
from workers.protocol import Delta, Drafts, Started

PROMPT = {"prompt": "x", "stream": True, "timings_per_token": True}


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[Ticket]:
    """The tickets whose answers were summed up: each time it costs a look at all of them."""
    asked: list[Ticket] = []

    def usage(ticket: Ticket) -> Usage:
        asked.append(ticket)
        return Usage(0, 0, 0)

    monkeypatch.setattr(Ticket, "usage", property(usage))
    return asked


def made(count: int) -> tuple[Ticket, LlamaWriter]:
    ticket = Ticket(1, job(n=count), 0)
    given = body.parse(LlamaCompletionBody, PROMPT)
    return ticket, LlamaWriter(ticket, Desk().registry.first, given)


def test_they_are_those_of_the_answer() -> None:
    ticket, writer = made(3)
    first, second, _ = ticket.sequences
    first.ids, first.first_ids = [1] * 9, 1
    second.started = Started(second.id, 1, 7, 3)
    second.began_ns, second.first_token_ns, second.last_token_ns = 10**9, 3 * 10**9, 4 * 10**9
    second.ids, second.first_ids = [1, 2, 3], 1
    second.count_drafts(Drafts(5, 4))
    found = writer._piece(1, Delta(second.id, 1, [3], "a"))["timings"]
    assert (found["cache_n"], found["prompt_n"], found["prompt_ms"]) == (3, 4, 2000.0)
    assert (found["predicted_n"], found["predicted_ms"]) == (3, 1000.0)
    assert (found["predicted_per_second"], found["predicted_per_token_ms"]) == (2.0, 500.0)
    assert (found["draft_n"], found["draft_n_accepted"]) == (5, 4)
    idle = writer._piece(2, Delta(3, 1, [3], "a"))["timings"]
    assert (idle["prompt_ms"], idle["predicted_ms"], idle["predicted_n"]) == (0.0, 0.0, 0)
    assert "draft_n" not in idle


def test_a_token_costs_no_look_at_other_answers(sums: list[Ticket]) -> None:
    _, writer = made(128)
    for at in range(128):
        assert b'"timings":' in writer.event(Delta(1 + at, 1, [3], "a"))
    assert not sums


def test_they_run_from_the_first_slot_on() -> None:
    """A worker's death changes neither the begin nor the first token."""
    desk = Desk(1, 1)

    async def script() -> None:
        ticket = desk.submit()
        (sequence,) = ticket.sequences
        assert sequence.began_ns is None
        (id_,) = await desk.settle()
        began = sequence.began_ns
        assert began is not None
        desk.pool.begin(id_)
        desk.pool.progress(id_)
        first = sequence.first_token_ns
        assert first == ticket.first_token_ns
        assert first is not None
        desk.clock.now += 10**9
        desk.pool.die(0)
        assert await desk.settle() == [id_, id_]
        desk.pool.begin(id_)
        desk.pool.progress(id_)
        assert (sequence.began_ns, sequence.first_token_ns) == (began, first)
        assert sequence.last_token_ns is not None
        assert sequence.last_token_ns > first

    desk.run(script)
