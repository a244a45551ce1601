"""The codec: every message survives any cutting of the bytes, and rubbish is named as such."""

import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers import protocol
from workers.protocol import (
    FAILURES,
    MAX_FRAME,
    AdapterFile,
    AdapterLoaded,
    Answered,
    ApplyTemplate,
    Ask,
    CallDelta,
    Cancel,
    Chat,
    Compare,
    ContextMemory,
    Delta,
    Detokenize,
    Drafts,
    Dry,
    Embedding,
    Extra,
    Failed,
    Finished,
    FrameDecoder,
    FromJob,
    FromMeasurer,
    FromMemoryProbe,
    FromWorker,
    Generate,
    GenerationParams,
    Grammar,
    Infill,
    Job,
    JsonSchema,
    Load,
    LoadAdapter,
    Loaded,
    Logprob,
    Measure,
    Measured,
    MeasureFailed,
    MediaBounds,
    Medium,
    MemoryUnknown,
    ModelInfo,
    Pair,
    Patience,
    PlanContext,
    ProtocolError,
    QuestionFailed,
    Ranking,
    Rate,
    Ready,
    Sampling,
    Score,
    Scored,
    Shrink,
    Started,
    StartupFailed,
    Step,
    Text,
    TextPair,
    Tick,
    TokenChance,
    Tokenize,
    Tokens,
    ToolUse,
    ToWorker,
    TraceParent,
    UnloadAdapter,
    Where,
    WorkerSpec,
    encode,
)

IDS = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2**31 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
# Characters that JSON bodies can hold: surrogates are refused before they get here.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TOKENS = st.lists(SMALL, max_size=5)
JSON = st.recursive(st.none() | st.booleans() | SMALL | TEXTS, lambda x: st.lists(x, max_size=3))

OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
SOME = st.lists(TEXTS, max_size=3)
TOOLS = st.builds(
    ToolUse, st.lists(OBJECTS, max_size=2), SOME, required=st.booleans(), parallel=st.booleans()
)
MEDIA = st.builds(Medium, st.sampled_from(["image", "audio"]), st.binary(), TEXTS, TEXTS)
CHATS = st.builds(
    Chat,
    st.lists(OBJECTS, max_size=3),
    st.none() | TOOLS,
    OBJECTS,
    media=st.lists(MEDIA, max_size=2),
)
PROMPTS = (
    CHATS
    | st.builds(Text, TEXTS)
    | st.builds(Tokens, TOKENS)
    | st.builds(Infill, TEXTS, TEXTS)
    | st.builds(TextPair, TEXTS, TEXTS, TEXTS, TEXTS)
)
CONSTRAINTS = st.builds(JsonSchema, OBJECTS, st.booleans(), TEXTS) | st.builds(
    Grammar, TEXTS, TEXTS
)
CHANCES = st.builds(TokenChance, SMALL, st.binary(max_size=4), NUMBERS)
EXTRAS = st.none() | st.builds(
    Extra,
    TEXTS,
    st.lists(st.builds(CallDelta, SMALL, st.none() | TEXTS, TEXTS), max_size=2),
    st.lists(st.builds(Logprob, CHANCES, st.lists(CHANCES, max_size=2)), max_size=2),
    st.booleans(),
)
SAMPLINGS = st.builds(
    Sampling,
    seed=st.integers(-(2**63), 2**63 - 1),
    temperature=NUMBERS,
    top_k=SMALL,
    repeat_penalty=NUMBERS,
    repeat_last_n=st.none() | SMALL,
    dry=st.none()
    | st.builds(Dry, NUMBERS, NUMBERS, SMALL, SMALL, st.lists(TEXTS, max_size=3).map(tuple)),
    logit_bias=st.lists(st.tuples(SMALL, NUMBERS | st.just(-math.inf)), max_size=3),
    samplers=st.none() | st.lists(TEXTS, max_size=3),
)
PARAMS = st.builds(
    GenerationParams,
    sampling=SAMPLINGS,
    max_tokens=st.none() | SMALL,
    stop=st.lists(TEXTS, max_size=3).map(tuple),
    ignore_eos=st.booleans(),
    constraint=st.none() | CONSTRAINTS,
    logprobs=st.none() | SMALL,
    echo=st.booleans(),
    cache_prompt=st.booleans(),
    prediction=TEXTS,
    embedding=st.none() | st.builds(Embedding, st.none() | SMALL, st.booleans()),
    thought_limit=st.none() | SMALL,
    thought_end=TEXTS,
    ranking=st.none()
    | st.builds(
        Ranking, st.none() | st.booleans(), st.booleans(), st.none() | SMALL, st.none() | SMALL
    ),
    context=st.none() | SMALL,
    cut_after=st.none() | SMALL,
    prompt_ids=st.booleans(),
)
QUESTIONS = (
    st.builds(Tokenize, TEXTS, st.booleans(), st.booleans(), st.booleans())
    | st.builds(Detokenize, TOKENS)
    | st.builds(ApplyTemplate, CHATS, NUMBERS)
)
ADAPTERS = st.builds(AdapterFile, TEXTS, st.tuples(TEXTS), TEXTS, SMALL, SMALL)
CHANGES = st.builds(LoadAdapter, ADAPTERS) | st.builds(UnloadAdapter, TEXTS)
TO_WORKER = (st.builds(Cancel, IDS) | st.builds(Ask, IDS, QUESTIONS) | CHANGES) | st.builds(
    Generate,
    id=IDS,
    attempt=SMALL,
    prompt=PROMPTS,
    params=PARAMS,
    now=NUMBERS,
    resume=TOKENS,
    cache_scope=TEXTS,
    trace=st.none() | st.builds(TraceParent, TEXTS, TEXTS),
)
RESULTS = st.builds(Extra, vector=st.binary(), score=st.none() | st.floats(allow_nan=False))
DRAFTS = st.none() | st.builds(Drafts, SMALL, SMALL, st.booleans())
EVENTS = (
    st.builds(Started, IDS, SMALL, SMALL, SMALL, TOKENS)
    | st.builds(Delta, IDS, SMALL, TOKENS, TEXTS, EXTRAS, DRAFTS)
    | st.builds(Finished, IDS, SMALL, TEXTS, TOKENS, TEXTS, EXTRAS, DRAFTS)
    | st.builds(Finished, IDS, SMALL, TEXTS, TOKENS, TEXTS, RESULTS)
    | st.builds(Failed, IDS, SMALL, st.sampled_from(sorted(FAILURES)), TEXTS, st.none() | TEXTS)
)
INFOS = st.builds(ModelInfo, TEXTS, TEXTS, IDS, IDS, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL)
LOADS = st.builds(Load, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL, NUMBERS)
FROM_WORKER = (
    st.builds(Ready, SMALL, SMALL, INFOS, st.lists(TEXTS, max_size=2))
    | st.builds(AdapterLoaded, TEXTS, TEXTS)
    | st.builds(StartupFailed, TEXTS)
    | st.builds(Step, st.lists(EVENTS, max_size=4), st.none() | LOADS)
    | st.builds(Answered, IDS, st.binary(max_size=20))
    | st.builds(
        QuestionFailed,
        IDS,
        st.sampled_from(sorted(FAILURES)),
        TEXTS,
        st.none() | st.just("tokens.1"),
    )
)


RATES = st.builds(Rate, SMALL, NUMBERS)
FROM_MEASURER = (
    st.builds(Loaded, SMALL)
    | st.builds(Measured, st.lists(RATES, max_size=3), IDS)
    | st.builds(MeasureFailed, TEXTS)
)
SPECS = st.builds(
    WorkerSpec,
    model_path=TEXTS,
    n_ctx=st.none() | SMALL,
    n_gpu_layers=SMALL,
    slots=SMALL,
    threads=SMALL,
    batch=SMALL,
    cache_bytes=SMALL,
    yarn_orig_ctx=SMALL,
    main_gpu=SMALL,
    override_kv=st.dictionaries(TEXTS, st.booleans() | SMALL | NUMBERS | TEXTS, max_size=2),
    tensor_buffers=st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple),
    heartbeat_s=NUMBERS,
    patience=st.lists(st.builds(Patience, NUMBERS, st.none() | NUMBERS), max_size=3).map(tuple),
    mmproj=st.none() | TEXTS,
    media=st.builds(MediaBounds, SMALL, NUMBERS),
)
PLACES = st.builds(Where, TEXTS, IDS, SMALL)
PLANS = st.builds(ContextMemory, SMALL, SMALL, SMALL, SMALL, SMALL) | st.builds(
    MemoryUnknown, TEXTS
)
JOBS = (
    st.builds(Shrink, TEXTS, TEXTS, SMALL, SMALL, st.booleans(), st.booleans())
    | st.builds(Compare, st.lists(st.builds(Pair, TEXTS, SMALL, SMALL, PLACES, PLACES), max_size=3))
    | st.builds(Score, SPECS, TEXTS, SMALL)
)
FROM_JOB = (
    st.builds(Tick, SMALL, SMALL, TEXTS)
    | st.builds(protocol.Error, TEXTS, NUMBERS, NUMBERS, NUMBERS)
    | st.builds(Scored, SMALL, NUMBERS)
    | st.just(protocol.Done())
    | st.builds(protocol.JobFailed, TEXTS)
)


def fed(type_: Any, chunks: list[bytes]) -> list[Any]:
    decoder: FrameDecoder[Any] = FrameDecoder(type_)
    return [message for chunk in chunks for message in decoder.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces, some of them empty."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@settings(max_examples=80, deadline=None)
@given(st.lists(TO_WORKER, max_size=4), st.lists(st.integers(0, 2**16), max_size=12))
def test_messages_to_the_worker(messages: list[Generate | Cancel], places: list[int]) -> None:
    data = b"".join(map(encode, messages))
    assert fed(ToWorker, cut(data, places)) == messages


@settings(max_examples=80, deadline=None)
@given(st.lists(FROM_WORKER, max_size=4), st.lists(st.integers(0, 2**16), max_size=12))
def test_messages_from_the_worker(
    messages: list[Ready | StartupFailed | Step], places: list[int]
) -> None:
    data = b"".join(map(encode, messages))
    assert fed(FromWorker, cut(data, places)) == messages


@settings(max_examples=30, deadline=None)
@given(st.builds(Measure, TEXTS, st.lists(SMALL, max_size=3), NUMBERS), FROM_MEASURER)
def test_messages_of_measuring_are_json(
    asked: Measure, told: Loaded | Measured | MeasureFailed
) -> None:
    assert msgspec.json.decode(msgspec.json.encode(asked), type=Measure) == asked
    assert msgspec.json.decode(msgspec.json.encode(told), type=FromMeasurer) == told


@settings(max_examples=30, deadline=None)
@given(st.builds(PlanContext, st.binary(max_size=9), SPECS), PLANS)
def test_messages_about_memory(asked: PlanContext, told: ContextMemory | MemoryUnknown) -> None:
    assert list(FrameDecoder[PlanContext](PlanContext).feed(encode(asked))) == [asked]
    assert list(FrameDecoder[Any](FromMemoryProbe).feed(encode(told))) == [told]


@settings(max_examples=30, deadline=None)
@given(JOBS, FROM_JOB)
def test_messages_of_jobs_are_json(
    asked: Shrink | Compare | Score, told: Tick | protocol.Error | Scored
) -> None:
    assert msgspec.json.decode(msgspec.json.encode(asked), type=Job) == asked
    assert msgspec.json.decode(msgspec.json.encode(told), type=FromJob) == told


def test_every_message_type_is_tried() -> None:
    """A new message must come into the strategies above."""
    unions = (ToWorker, FromWorker, protocol.Event, protocol.Question)
    kinds = {kind for union in unions for kind in get_args(union)}
    kinds |= {*get_args(protocol.Prompt), *get_args(protocol.Constraint), ToolUse}
    kinds |= {GenerationParams}
    kinds |= {Measure, Rate, *get_args(FromMeasurer)}
    kinds |= {*get_args(Job), *get_args(FromJob), Pair, Where}
    kinds |= {PlanContext, *get_args(FromMemoryProbe)}
    kinds |= {
        AdapterFile,
        ModelInfo,
        Load,
        MediaBounds,
        Medium,
        Patience,
        Sampling,
        Dry,
        Drafts,
        Embedding,
        Ranking,
        Extra,
        CallDelta,
        Logprob,
        TokenChance,
        TraceParent,
    }
    defined = {
        value
        for value in vars(protocol).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct)
    } - {msgspec.Struct, WorkerSpec}
    assert kinds == defined


def test_one_byte_at_a_time() -> None:
    data = encode(Cancel(1)) + encode(Cancel(2))
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert fed(ToWorker, pieces) == [Cancel(1), Cancel(2)]


def test_frame_is_length_and_message() -> None:
    frame = encode(Cancel(5))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert msgspec.msgpack.decode(frame[4:]) == {"type": "cancel", "id": 5}


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def packed(value: Any) -> bytes:
    return frame(msgspec.msgpack.encode(value))


@pytest.mark.parametrize(
    "data",
    [
        frame(b""),
        frame(b"\xc1"),
        frame(b"hello"),
        packed({}),
        packed([]),
        packed(None),
        packed({"type": "nonsense", "id": 1}),
        packed({"id": 1}),
        packed({"type": "cancel"}),
        packed({"type": "cancel", "id": "1"}),
        packed({"type": "cancel", "id": None}),
        encode(StartupFailed("of the other direction")),
        frame(msgspec.msgpack.encode({"type": "cancel", "id": 1}) + b"\x00"),
    ],
)
def test_rubbish(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message of this protocol"):
        fed(ToWorker, [data])


def test_unknown_event_in_a_step() -> None:
    data = packed({"type": "step", "events": [["delta?", 1, 1, [], ""]], "load": None})
    with pytest.raises(ProtocolError):
        fed(FromWorker, [data])


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 2**32 - 1])
def test_oversize_frame_is_refused_by_its_length(size: int) -> None:
    """Four bytes are enough to know: nobody waits for gigabytes that never come."""
    with pytest.raises(ProtocolError, match=f"a frame of {size} bytes"):
        fed(ToWorker, [size.to_bytes(4, "big")])


def test_largest_frame_is_waited_for() -> None:
    assert fed(ToWorker, [MAX_FRAME.to_bytes(4, "big"), b"x"]) == []


def test_messages_before_the_rubbish_are_heard() -> None:
    decoder: FrameDecoder[Any] = FrameDecoder(ToWorker)
    heard = []
    with pytest.raises(ProtocolError):  # noqa: PT012 - what came before is the point
        for message in decoder.feed(encode(Cancel(1)) + packed({}) + encode(Cancel(2))):
            heard.append(message)
    assert heard == [Cancel(1)]


def test_resume_of_two_requests_is_not_one_list() -> None:
    def make() -> Generate:
        return Generate(1, 1, Text(""), GenerationParams(Sampling(1)), 0.0)

    first, second = make(), make()
    first.resume.append(1)
    assert second.resume == []
