"""The spans of a ticket: their parts leave no gap, and their number has a bound."""

from gateway.core.trace import Trace
from gateway.dispatch.course import MOST_MOMENTS, What
from gateway.dispatch.sequence import Move
from gateway.dispatch.ticket import Ticket
from gateway.tracing.span import Span
from gateway.tracing.work import MOST_EVENTS, MOST_PARTS, work_spans
from tests.support.memory_pool import job

EPOCH = 1_000_000


def traced(*moments: tuple[What, int], n: int = 1, first_token: int | None = None) -> list[Span]:
    """The spans of a ticket that came at 0, whose sequences all had these moments."""
    trace = Trace("ab" * 16, request_span="12" * 8, work_span="cd" * 8, epoch_ns=EPOCH)
    ticket = Ticket(1, job(1.0, n=n, trace=trace), arrived_ns=0)
    for sequence in ticket.sequences:
        sequence.first_token_ns = first_token
        for what, at_ns in moments:
            assert sequence.course is not None
            worker = (3, "node-a") if what == "dispatched" else ()
            sequence.course.note(what, at_ns, *worker)
        sequence.move(Move.DISPATCH)
        sequence.move(Move.FINISH)
    ticket.ended_ns = moments[-1][1]
    return list(work_spans(ticket, trace, "tiny"))


def parts(spans: list[Span]) -> list[tuple[str, int, int]]:
    return [(each.name, each.start_ns - EPOCH, each.end_ns - EPOCH) for each in spans[1:]]


def test_a_usual_course() -> None:
    spans = traced(("dispatched", 5), ("ended", 20), first_token=12)
    assert parts(spans) == [("queue", 0, 5), ("prefill", 5, 12), ("decode", 12, 20)]
    assert spans[0].events == []
    assert "forge.trace.truncated" not in spans[0].attributes
    assert spans[0].attributes["forge.worker.id"] == 3
    for each in (spans[0], *spans[2:]):
        assert each.attributes["forge.worker.node"] == "node-a"


def test_it_never_had_a_slot() -> None:
    spans = traced(("ended", 20))
    assert parts(spans) == [("queue", 0, 20)]
    assert "forge.worker.id" not in spans[0].attributes


def test_no_token_came() -> None:
    """As of an embedding."""
    assert parts(traced(("dispatched", 5), ("ended", 20)))[1:] == [("prefill", 5, 20)]


def test_a_prompt_that_was_interrupted() -> None:
    spans = traced(
        ("dispatched", 5), ("preempted", 8), ("dispatched", 10), ("ended", 20), first_token=12
    )
    assert parts(spans)[:3] == [("queue", 0, 5), ("prefill", 5, 8), ("queue", 8, 10)]
    assert parts(spans)[3:] == [("prefill", 10, 12), ("decode", 12, 20)]
    assert [each.name for each in spans[0].events] == ["preempted", "parked", "resumed"]


def test_each_reason_to_wait() -> None:
    course: list[tuple[What, int]] = [("dispatched", 1)]
    reasons: tuple[What, ...] = ("preempted", "parked", "paused", "lost")
    for at, what in enumerate(reasons):
        course += [(what, 10 * at + 5), ("dispatched", 10 * at + 9)]
    spans = traced(*course, ("ended", 50), first_token=2)
    waits = [each.attributes["forge.queue.reason"] for each in spans if each.name == "queue"]
    assert waits == ["arrival", "preemption", "memory", "slow_reader", "worker_lost"]
    assert [each.name for each in spans[0].events] == [
        *("preempted", "parked", "resumed", "parked", "resumed", "parked", "resumed"),
        *("worker_lost", "failed_over"),
    ]
    told = [each.attributes.get("forge.parked.reason") for each in spans[0].events]
    assert [each for each in told if each] == ["preemption", "memory", "slow_reader"]


def test_thousands_of_pauses_are_bounded() -> None:
    course: list[tuple[What, int]] = []
    for at in range(0, 10_000, 2):
        course += [("dispatched", at + 1), ("paused", at + 2)]
    spans = traced(*course, ("ended", 10_001), first_token=1)
    assert len(spans) <= MOST_MOMENTS + 2
    assert len(spans[0].events) <= MOST_EVENTS
    assert spans[0].attributes["forge.trace.truncated"] is True
    ends = [each.end_ns for each in spans[1:]]
    assert ends[-1] == spans[0].end_ns, "the end is there"


def test_thousands_of_sequences_are_bounded() -> None:
    spans = traced(("dispatched", 5), ("lost", 6), ("dispatched", 7), ("ended", 20), n=500)
    assert len(spans) == 1 + MOST_PARTS
    assert len(spans[0].events) == MOST_EVENTS
    assert spans[0].attributes["forge.trace.truncated"] is True
