"""The log of requests: what it says, and what it must not say."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import ForgeError, InvalidPrompt, QueueFull, WorkerFailed
from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Move
from gateway.dispatch.ticket import Ticket
from gateway.system.log_setup import Json, OneLine
from gateway.telemetry.request_log import RequestLog
from tests.support.memory_pool import job, only
from workers.protocol import Started

SECRET = "hello"
"""Prompt of these tests' job."""


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Records that are logged while the test runs."""
    handler, logger = Kept(), logging.getLogger("forge.requests")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def values(records: list[logging.LogRecord]) -> dict[str, Any]:
    """Return the values of the only record."""
    (record,) = records
    found: dict[str, Any] = record.__dict__["fields"]
    return found


def ended(move: Move, error: ForgeError | None = None) -> Ticket:
    """Waited for 1 s, had its first of five tokens after 1.5 s, and was done after 3.5 s."""
    ticket = Ticket(1, job(2.0, owner="app"), arrived_ns=NANO)
    sequence = only(ticket)
    sequence.move(Move.DISPATCH)
    ticket.dispatched_ns = 2 * NANO
    sequence.started = Started(1, 1, 11, 4)
    ticket.first_token_ns = 5 * NANO // 2
    sequence.ids, sequence.first_ids = [1, 2, 3, 4, 5], 1
    sequence.parked_ns = NANO // 4
    sequence.move(move)
    ticket.ended_ns = 9 * NANO // 2
    if error is not None:
        ticket.fail(error)
    return ticket


def test_a_finished_request(records: list[logging.LogRecord]) -> None:
    ticket = ended(Move.FINISH)
    RequestLog("tiny", prompts=False).on_end(ticket)
    assert records[0].getMessage() == "finished"
    assert values(records) == {
        "id": ticket.request_id,
        "model": "tiny",
        "owner": "app",
        "class": "urgent",
        "priority": 2.0,
        "sequences": 1,
        "queue_wait_s": 1.0,
        "ttft_s": 1.5,
        "e2e_s": 3.5,
        "parked_s": 0.25,
        "prompt_tokens": 11,
        "cached_tokens": 4,
        "generation_tokens": 5,
        "prompt_tokens_per_second": 14.0,
        "generation_tokens_per_second": 2.0,
    }


def test_one_that_never_had_a_slot(records: list[logging.LogRecord]) -> None:
    ticket = Ticket(1, job(), arrived_ns=0)
    only(ticket).move(Move.CANCEL)
    ticket.ended_ns = NANO
    RequestLog("tiny", prompts=False).on_end(ticket)
    assert records[0].getMessage() == "cancelled"
    found = values(records)
    assert (found["e2e_s"], found["queue_wait_s"], found["ttft_s"]) == (1.0, None, None)
    assert found["generation_tokens_per_second"] is None
    line = OneLine("%(message)s").format(records[0])
    assert "None" not in line
    assert "null" not in line


def test_a_failed_one(records: list[logging.LogRecord]) -> None:
    RequestLog("tiny", prompts=False).on_end(ended(Move.FAIL, WorkerFailed("it died")))
    assert records[0].getMessage() == "failed"
    found = values(records)
    assert (found["error"], found["reason"]) == ("worker_failed", "it died")


def test_a_refused_one(records: list[logging.LogRecord]) -> None:
    RequestLog("tiny", prompts=False).on_refused(job(0.5), QueueFull("the queue is full"))
    assert records[0].getMessage() == "rejected"
    assert values(records) == {
        "model": "tiny",
        "owner": None,
        "class": "other",
        "priority": 0.5,
        "error": "queue_full",
        "reason": "the queue is full",
    }


@pytest.mark.parametrize("form", [OneLine("%(message)s"), Json()])
def test_prompts_are_told_only_on_demand(
    records: list[logging.LogRecord], form: logging.Formatter
) -> None:
    """Nor do they come in by what an error says of them."""
    error = InvalidPrompt(f"the template can't take {SECRET!r}")
    for prompts in (False, True):
        records.clear()
        log = RequestLog("tiny", prompts=prompts)
        log.on_end(ended(Move.FINISH))
        log.on_end(ended(Move.FAIL, error))
        log.on_refused(Job(job().prompts, job().params, 1.0, 0.0), error)
        lines = [form.format(record) for record in records]
        assert [SECRET in line for line in lines] == [prompts] * 3
        assert "".join(lines).count("can't take") == 2 * prompts


def test_a_log_that_wants_none_gets_none(records: list[logging.LogRecord]) -> None:
    logging.getLogger("forge.requests").setLevel(logging.WARNING)
    RequestLog("tiny", prompts=True).on_end(ended(Move.FINISH))
    assert not records


def test_fields_that_were_ignored_are_told(records: list[logging.LogRecord]) -> None:
    """As the client is told of them, so within the same bounds."""
    plain, odd = job(1.0), dataclasses.replace(job(1.0), ignored="colour, size")
    log = RequestLog("m", prompts=False)
    log.on_refused(odd, QueueFull("full"))
    assert values(records)["ignored"] == "colour, size"
    records.clear()
    log.on_refused(plain, QueueFull("full"))
    assert "ignored" not in values(records)
