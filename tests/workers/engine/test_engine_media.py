"""Pictures and sound in the engine: what llama.cpp says by itself, however they are computed."""

from collections.abc import Iterator
from itertools import count

import msgspec
import pytest

from tests.support.engine_driver import Driver, Outcome, generate
from tests.support.media_driver import CTX, Seeing, asked, conversation, directly, seeing
from tests.support.pictures import audio, image
from tests.support.projectors import PROJECTORS
from workers.media.cache import MediaCache
from workers.protocol import (
    BAD_MEDIA,
    CONTEXT_OVERFLOW,
    NOT_SUPPORTED,
    Generate,
    Medium,
    medium,
)
from workers.refused import InputRefused

COUNT = 12
Parts = list[str | Medium]


@pytest.fixture(scope="module", params=PROJECTORS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seeing]:
    with seeing(request.param, tmp_path_factory.mktemp(request.param)) as seen:
        yield seen


@pytest.fixture
def running(made: Seeing) -> Iterator[Driver]:
    with made.driver() as driver:
        yield driver


def medium_of(made: Seeing, seed: int) -> Medium:
    return image(seed, f"messages.0.content.{seed}") if made.source.sees else audio(seed)


def prompts(made: Seeing) -> list[Parts]:
    """Media first, last, beside each other, and one of them twice; sound never comes last.

    llama.cpp's own helper gives no logits after a medium.
    """
    one, two, three = (medium_of(made, seed) for seed in (1, 2, 3))
    return [
        ["What ", one, "?"],
        ["What ", two, "?"],
        [two, one, "so"],
        ["x", one, " and ", two, "!"],
        ["x", one, " and ", three, "!"],
    ]


def requests(made: Seeing, start: int) -> list[Generate]:
    each = zip(count(start), prompts(made), strict=False)
    return [generate(id_, asked(*parts), max_tokens=COUNT) for id_, parts in each]


@pytest.fixture(scope="module")
def expected(made: Seeing) -> list[list[int]]:
    """Answers of llama.cpp and libmtmd to each of the prompts."""
    found = [directly(made, parts, COUNT) for parts in prompts(made)]
    if made.source.sees:
        assert len({tuple(ids) for ids in found}) > 2, "what it sees matters"
    return found


def ids(outcomes: list[Outcome]) -> list[list[int]]:
    assert [outcome.failure for outcome in outcomes] == [None] * len(outcomes)
    return [outcome.ids for outcome in outcomes]


def test_alone_and_together(made: Seeing, running: Driver, expected: list[list[int]]) -> None:
    alone = [running.alone(request) for request in requests(made, 0)]
    assert ids(alone) == expected
    assert ids(running.run(*requests(made, 10))) == expected


def test_in_small_slices_beside_streams(made: Seeing, expected: list[list[int]]) -> None:
    """Steps of a few rows; the streams get a token in each of them."""
    with made.driver(batch=32) as running:
        (stream,) = running.submit(generate(90, "Once", max_tokens=200))
        running.step(3)
        outcomes = running.submit(*requests(made, 0))
        while not all(outcome.ended for outcome in outcomes):
            before = len(stream.ids)
            running.step()
            assert len(stream.ids) > before or stream.ended
        assert ids(outcomes) == expected
        running.cancel(90)
        running.step()


def test_what_was_computed_is_neither_computed_nor_encoded_again(
    made: Seeing, running: Driver, expected: list[list[int]]
) -> None:
    fourth = requests(made, 0)[3]
    (first,) = running.run(fourth)
    encoded = made.encoder.encoded
    # Nor is it in the cache of encoded media, should the engine ask for it.
    made.source._cache, kept = MediaCache(0), made.source._cache
    for digest, layout in kept._layouts.items():
        made.source._cache.put_layout(digest, layout)
    (again,) = running.run(msgspec.structs.replace(fourth, id=1))
    assert ids([first, again]) == [expected[3]] * 2
    assert first.started is not None
    assert again.started is not None
    assert again.started.cached_tokens == first.started.prompt_tokens - 1
    assert made.encoder.encoded == encoded


def test_a_medium_is_used_again_as_a_whole_or_not_at_all(
    made: Seeing, running: Driver, expected: list[list[int]]
) -> None:
    """The fifth prompt parts from the fourth within, or at, the second medium."""
    fourth, fifth = requests(made, 0)[3:]
    running.run(fourth)
    (outcome,) = running.run(fifth)
    assert ids([outcome]) == [expected[4]]
    assert outcome.started is not None
    runs = running.input_processor.prepare(fifth).media.runs  # type: ignore[union-attr]
    cached = outcome.started.cached_tokens
    assert runs.whole(cached) == cached
    second = [run.start for run in runs if run.start >= cached]
    assert second, "the other picture is not taken for this one"


def test_parked_within_a_medium_and_gone_on(made: Seeing, expected: list[list[int]]) -> None:
    """After ten of its rows; where all are computed in one go, after the first picture."""
    together = "gemma3" in made.path.name
    with made.driver(batch=32 if together else 10) as running:
        request = requests(made, 0)[3]
        (outcome,) = running.submit(request)
        for _ in range(100):
            running.step()
            sequence = running.engine.scheduler.of(request.id)
            assert sequence is not None
            medium = sequence.medium
            if medium is not None and (together or sequence.computed > medium.run.start):
                break
        else:
            raise AssertionError("it was never there")
        running.park(request.id)
        running.step(2)
        assert (outcome.parked, outcome.ids) == (1, [])
        running.unpark(request)
        for _ in range(200):
            running.step()
        assert outcome.ids == expected[3]


def test_another_worker_goes_on_after_any_token(
    made: Seeing, running: Driver, expected: list[list[int]]
) -> None:
    request = requests(made, 0)[3]
    for at, resumed in ((1, 3), (2, COUNT - 1)):
        again = msgspec.structs.replace(
            request, id=at, attempt=2, resume=expected[3][:resumed], now=5.0
        )
        outcome = running.alone(again)
        assert [*again.resume, *outcome.ids] == expected[3]


def test_rows_that_are_gone_are_asked_for_again(
    made: Seeing, running: Driver, expected: list[list[int]]
) -> None:
    """Neither the cells nor the cache of encoded media have them; others go on meanwhile."""
    running.alone(requests(made, 0)[1])
    made.source._cache, kept = MediaCache(0), made.source._cache
    for digest, layout in kept._layouts.items():
        made.source._cache.put_layout(digest, layout)
    before = made.encoder.encoded
    (stream,) = running.submit(generate(90, "Once", max_tokens=40))
    outcomes = running.run(requests(made, 10)[1])
    assert ids(outcomes) == [expected[1]]
    assert len(stream.ids) == 40
    assert made.encoder.encoded == before + 1


def test_where_cells_run_short_all_are_served(made: Seeing, expected: list[list[int]]) -> None:
    cells = 1024 if made.source.hears else 256
    with made.driver(n_ctx=cells, unified="on") as running:
        assert ids(running.run(*requests(made, 0))) == expected


def test_a_conversation_that_goes_on(made: Seeing, running: Driver) -> None:
    first, second = medium_of(made, 1), medium_of(made, 2)
    turns: list[tuple[str, Parts]] = [("user", ["What ", first, "?"])]
    (one,) = running.run(generate(0, conversation(turns), max_tokens=4))
    turns += [("assistant", [one.text]), ("user", ["And ", second, "?"])]
    chat = conversation(turns)
    (two,) = running.run(generate(1, chat, max_tokens=COUNT))
    whole: Parts = ["What ", first, f"?{one.text}And ", second, "?"]
    assert ids([two]) == [directly(made, whole, COUNT)]
    assert two.started is not None
    assert two.started.cached_tokens > 16, "the first picture is not computed again"


def test_several_answers_share_a_picture(
    made: Seeing, running: Driver, expected: list[list[int]]
) -> None:
    chat = asked(*prompts(made)[3])
    outcomes = running.run(*(generate(id_, chat, max_tokens=COUNT) for id_ in range(3)))
    assert ids(outcomes) == [expected[3]] * 3
    cached = [o.started.cached_tokens for o in outcomes if o.started is not None]
    assert min(cached[1:]) > 16


def test_usage_counts_its_tokens_and_overflow_too(made: Seeing, running: Driver) -> None:
    one = medium_of(made, 1)
    (outcome,) = running.run(generate(0, asked("What ", one, "?"), max_tokens=1))
    assert outcome.started is not None
    model = running.input_processor._model
    texts = len(model.tokenize("What ")) + len(model.tokenize("?"))
    assert outcome.started.prompt_tokens == texts + made.source.count(one)
    most = CTX // made.source.count(one) + 1
    with pytest.raises(InputRefused) as caught:
        running.submit(generate(1, asked(*[one] * most)))
    assert caught.value.code == CONTEXT_OVERFLOW


def test_a_medium_that_is_refused_names_its_field(made: Seeing, running: Driver) -> None:
    kind = medium_of(made, 1).kind
    broken = medium(kind, b"\x89PNG\r\n\x1a\nno picture", "messages.3.content.7")
    with pytest.raises(InputRefused) as caught:
        running.submit(generate(0, asked("What ", medium_of(made, 1), broken)))
    assert (caught.value.code, caught.value.param) == (BAD_MEDIA, "messages.3.content.7")


def test_rows_that_will_never_come_cost_their_request(
    made: Seeing, running: Driver, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = medium(medium_of(made, 1).kind, b"no picture", "messages.3.content.7")
    made.source._cache.put_layout(broken.digest, made.encoder.encode(medium_of(made, 1)).layout)
    good = requests(made, 10)[0]
    bad, fine = running.run(generate(0, asked("a ", broken, "?")), good)
    assert bad.failure is not None
    assert (bad.failure.code, bad.failure.param) == (BAD_MEDIA, "messages.3.content.7")
    assert fine.ids == expected[0]


def test_nothing_is_encoded_for_a_prompt_that_is_too_long(made: Seeing) -> None:
    seen, before = medium_of(made, 31), made.encoder.encoded
    with made.driver() as running:
        long = generate(0, asked(seen, "word " * CTX), max_tokens=1)
        with pytest.raises(InputRefused) as caught:
            running.submit(long)
        assert caught.value.code == CONTEXT_OVERFLOW
    assert made.encoder.encoded == before
    with made.driver() as running:
        (outcome,) = running.run(generate(0, asked(seen, "?"), max_tokens=1))
    assert outcome.reason == "length"
    assert made.encoder.encoded == before + 1


def test_rows_that_look_at_each_other_need_a_step_that_holds_them(made: Seeing) -> None:
    placed = made.source.placed(made.source.slot(medium_of(made, 1)), 0)[1]
    causal = all(each.rows.causal for each in placed)
    with made.driver(batch=8) as running:
        if causal:
            (outcome,) = running.run(generate(0, asked(medium_of(made, 1), "?"), max_tokens=1))
            assert outcome.reason == "length"
            return
        with pytest.raises(InputRefused, match="--batch") as caught:
            running.submit(generate(0, asked(medium_of(made, 1), "?")))
        assert caught.value.code == NOT_SUPPORTED


def test_a_model_without_a_projector(made: Seeing, f16: Driver) -> None:
    with pytest.raises(InputRefused) as caught:
        f16.submit(generate(0, asked("What ", medium_of(made, 1))))
    assert (caught.value.code, caught.value.param) == (NOT_SUPPORTED, medium_of(made, 1).param)
