import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.batches.answers import (
    MOST_TRIES,
    MOST_WAIT_S,
    Body,
    TokenCounts,
    Verdict,
    never_run,
    result_line,
    tokens,
    verdict,
)


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=dict)


FAILED = {"error": {"code": "worker_failed", "message": "4 workers died while computing this"}}


@pytest.mark.parametrize("status", [429, 503])
def test_what_passes_is_waited_for_however_often(status: int) -> None:
    for tries in (1, 1000):
        assert verdict(Answer(status), tries, timeout=False).kind == "refused"
    assert verdict(Answer(status, {"retry-after": "7"}), 1, False) == Verdict("refused", 7)
    assert verdict(Answer(status, {"retry-after": "9999"}), 1, False).wait_s == MOST_WAIT_S
    assert verdict(Answer(status, {"retry-after": "soon"}), 1, False).wait_s > 0
    assert verdict(Answer(status, {"retry-after": "-1"}), 1, False).wait_s > 0


def test_a_model_that_is_gone_may_come_back() -> None:
    body: Body = {"error": {"code": "model_not_found", "message": "no"}}
    assert verdict(Answer(404, {}, body), 1000, timeout=False).kind == "refused"
    other: Body = {"error": {"code": "not_found", "message": "no"}}
    assert verdict(Answer(404, {}, other), 1, timeout=False).kind == "failed"


def test_a_line_that_workers_die_of_has_one_more_chance() -> None:
    assert verdict(Answer(500, {}, FAILED), 1, False).kind == "broken"
    assert verdict(Answer(500, {}, FAILED), MOST_TRIES, False).kind == "failed"
    assert (
        verdict(Answer(500, {}, {"error": {"code": "internal_error"}}), 1, False).kind == "failed"
    )


def test_a_deadline_of_its_own_is_its_result() -> None:
    assert verdict(Answer(504), 1, timeout=True).kind == "failed"
    assert verdict(Answer(504), 1, timeout=False).kind == "broken"
    assert verdict(Answer(504), MOST_TRIES, timeout=False).kind == "failed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 499, 500, 501])
def test_other_errors_are_results(status: int) -> None:
    assert verdict(Answer(status), 1, False) == Verdict("failed")
    assert verdict(Answer(status, {}, {"error": "text"}), 1, False) == Verdict("failed")


def test_success() -> None:
    assert verdict(Answer(200), 1, False) == Verdict("done")


USAGES: list[tuple[Any, TokenCounts]] = [
    (
        {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
        TokenCounts(9, 5, 4, 0),
    ),
    (
        {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 3},
        },
        TokenCounts(9, 2, 4, 3),
    ),
    ({"prompt_tokens": 9, "total_tokens": 9}, TokenCounts(9, 0, 0, 0)),
    (
        {"input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 2},
        TokenCounts(4, 3, 2, 0),
    ),
    (None, TokenCounts()),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_tokens(usage: Any, expected: TokenCounts) -> None:
    assert tokens({"usage": usage}) == expected
    assert tokens({}) == TokenCounts()


def test_tokens_of_rankers() -> None:
    assert tokens({"results": [], "meta": {"tokens": {"input_tokens": 7}}}) == TokenCounts(7)
    assert tokens([{"index": 0, "score": 1.0}]) == TokenCounts()
    assert tokens({"meta": "text"}) == TokenCounts()


def test_lines_of_the_files() -> None:
    told = result_line("batch_1", 7, "a\nb", Answer(200, {}, {"id": "chatcmpl-1"}), "req")
    assert told.count(b"\n") == 1
    assert told.endswith(b"\n")
    assert json.loads(told) == {
        "id": "batch_req_1_7",
        "custom_id": "a\nb",
        "response": {"status_code": 200, "request_id": "req", "body": {"id": "chatcmpl-1"}},
        "error": None,
    }
    assert json.loads(never_run("batch_1", 8, "c", "batch_expired", "too late")) == {
        "id": "batch_req_1_8",
        "custom_id": "c",
        "response": None,
        "error": {"code": "batch_expired", "message": "too late"},
    }
