"""The spans of a request's work, made at its end of what was noted on the way.

    chat forge-tiny   |--------------------------------------------------|
      queue           |----|                       |--|
      prefill              |-----|
      decode                     |-----------------|  |------------------|
      events                                     parked resumed

A span of the work, and below it the parts of each sequence, which leave no gap: it waits (*queue*),
its prompt is computed (*prefill*), its tokens are sampled (*decode*). A sequence that gave up its
slot waits again, with another span; the moments are events of the span above.
"""

from collections.abc import Iterator
from itertools import islice

from gateway.core.trace import Trace
from gateway.dispatch import outcome
from gateway.dispatch.course import Moment
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket
from gateway.tracing.span import Attributes, Span, SpanEvent
from gateway.tracing.work_attributes import operation, work_attributes, worker_of

MOST_PARTS = 100
"""Spans below that of the work: a request may have thousands of inputs."""
MOST_EVENTS = 128
REASONS = {
    "preempted": "preemption",
    "parked": "memory",
    "paused": "slow_reader",
    "lost": "worker_lost",
}
"""The reasons for which a sequence left its slot and waits again."""


def work_spans(ticket: Ticket, trace: Trace, usual_model: str) -> Iterator[Span]:
    """Yield the spans of a ticket that has ended. ``usual_model``: that of one which names none."""
    assert ticket.ended_ns is not None, "it has ended"
    model = ticket.job.model or usual_model
    parts = (part for each in ticket.sequences for part in _parts(each, trace, ticket))
    kept_parts = list(islice(parts, MOST_PARTS))
    several = len(ticket.sequences) > 1
    events = (each for s in ticket.sequences for each in _events(s, trace, several=several))
    kept_events = sorted(islice(events, MOST_EVENTS), key=lambda event: event.at_ns)
    attributes = work_attributes(ticket, model)
    more = next(parts, None) is not None or next(events, None) is not None
    if more or any(each.course is not None and each.course.dropped for each in ticket.sequences):
        attributes["forge.trace.truncated"] = True
    failed = outcome.of_ticket(ticket) not in ("finished", "cancelled")
    yield Span(
        trace=trace,
        name=f"{operation(ticket.job)} {model}",
        span_id=trace.work_span,
        parent=trace.request_span,
        start_ns=trace.epoch_ns + ticket.arrived_ns,
        end_ns=trace.epoch_ns + ticket.ended_ns,
        attributes=attributes,
        events=kept_events,
        error=ticket.error.code if failed and ticket.error is not None else None,
    )
    yield from kept_parts


def _parts(sequence: Sequence, trace: Trace, ticket: Ticket) -> Iterator[Span]:
    """Yield the parts of a sequence, one after the other."""
    since, run, waits_for, attempt = ticket.arrived_ns, None, "arrival", 0
    choice: Attributes = {"forge.choice": sequence.index} if len(ticket.sequences) > 1 else {}
    for moment in sequence.course.moments if sequence.course is not None else ():
        if run is None:
            about: Attributes = {**choice, "forge.queue.reason": waits_for}
            yield _part("queue", since, moment.at_ns, trace, about)
        else:
            about = {**choice, "forge.attempt": attempt, **worker_of(run)}
            yield from _run(sequence, run.at_ns, moment.at_ns, trace, about)
        since, run = moment.at_ns, None
        if moment.what == "dispatched":
            run, attempt = moment, attempt + 1
        else:
            waits_for = REASONS.get(moment.what, "")


def _run(
    sequence: Sequence, since: int, until: int, trace: Trace, about: Attributes
) -> Iterator[Span]:
    """Yield the parts of one stay in a slot: the prompt's, and that of the tokens."""
    first = sequence.first_token_ns
    computed = until if first is None else min(max(first, since), until)
    if first is None or first > since:
        yield _part("prefill", since, computed, trace, about)
    if computed < until:
        yield _part("decode", computed, until, trace, about)


def _part(name: str, since: int, until: int, trace: Trace, attributes: Attributes) -> Span:
    return Span(
        trace=trace,
        name=name,
        span_id="",
        parent=trace.work_span,
        start_ns=trace.epoch_ns + since,
        end_ns=trace.epoch_ns + until,
        attributes=attributes,
    )


def _events(sequence: Sequence, trace: Trace, *, several: bool) -> Iterator[SpanEvent]:
    """Yield the moments of a sequence at which its course was not the usual one."""
    left: Moment | None = None
    for moment in sequence.course.moments if sequence.course is not None else ():
        for name in _names(moment, left):
            about: Attributes = {"forge.choice": sequence.index} if several else {}
            about.update(worker_of(moment))
            if name == "parked":
                about["forge.parked.reason"] = REASONS[moment.what]
            yield SpanEvent(name, trace.epoch_ns + moment.at_ns, about)
        left = None if moment.what == "dispatched" else moment


def _names(moment: Moment, left: Moment | None) -> tuple[str, ...]:
    """Return the names of a moment as events; ``left``: that at which it left its last slot."""
    match moment.what:
        case "preempted":
            return ("preempted", "parked")
        case "parked" | "paused":
            return ("parked",)
        case "lost":
            return ("worker_lost",)
        case "dispatched" if left is not None:
            return ("failed_over",) if left.what == "lost" else ("resumed",)
    return ()
