"""LoRA adapters in the engine: each text is that of the merged weights, whatever runs beside it.

The danger is in what is kept: cells of a prompt that one adapter computed must never be read by a
sequence with another.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL
from tests.support import architectures
from tests.support.adapters import ATTENTION, Lora, adapter_file, merged, random_lora
from tests.support.engine_driver import (
    Driver,
    Outcome,
    driver,
    embed,
    generate,
    loaded,
    with_params,
)
from tests.support.f32 import f32_copy
from workers.engine.drafting import Drafting
from workers.llama import Model
from workers.protocol import (
    COMPUTE_FAILED,
    AdapterSet,
    Generate,
    JsonSchema,
    LoadAdapter,
    Sampling,
    UnloadAdapter,
    adapter_set,
)

PROMPTS = (
    "Once upon a time there was a little girl. She had a dog that",
    "Once upon a time there was a little girl. " * 8 + "One day",
    "The queue is a heap ordered by priority plus age, so",
)
BASE: AdapterSet = ()
A: AdapterSet = (("a", 1.0),)
HALF: AdapterSet = (("a", 0.5),)
B: AdapterSet = (("b", 1.0),)
BOTH: AdapterSet = (("a", 1.0), ("b", -0.75))
SETS = (BASE, A, HALF, B, BOTH)
LENGTH = 24


class House(NamedTuple):
    """A model with two adapters, and what each set of them says, by the merged weights."""

    path: Path
    model: Model
    files: dict[str, Path]
    loras: dict[str, Lora]
    texts: dict[tuple[AdapterSet, str], str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("adapters")
    path = folder / "base.gguf"
    f32_copy(EMBEDDED_MODEL, path)
    loras = {"a": random_lora(path, 1), "b": random_lora(path, 2, rank=2, tensors=ATTENTION)}
    files = {name: lora.write(folder / f"{name}.gguf") for name, lora in loras.items()}
    texts = dict[tuple[AdapterSet, str], str]()
    for number, wanted in enumerate(SETS):
        whole = [(loras[name], scale) for name, scale in wanted]
        other = merged(path, folder / f"merged-{number}.gguf", whole)
        with loaded(other) as model, driver(model, other, exact=True) as made:
            for prompt in PROMPTS:
                texts[wanted, prompt] = made.alone(generate(1, prompt, max_tokens=LENGTH)).text
    with loaded(path) as model:
        for file in files.values():
            model.adapters.load(adapter_file(file))
        yield House(path, model, files, loras, texts)


@pytest.fixture
def made(house: House) -> Iterator[Driver]:
    with driver(house.model, house.path, n_ctx=2048, exact=True) as made:
        yield made


def asking(id_: int, prompt: str, adapters: AdapterSet, **wish: object) -> Generate:
    return generate(id_, prompt, max_tokens=LENGTH, adapters=adapters, **wish)  # type: ignore[arg-type]


def cached(outcome: Outcome) -> int:
    assert outcome.started is not None
    return outcome.started.cached_tokens


def test_each_set_says_something_of_its_own(house: House) -> None:
    for prompt in PROMPTS:
        assert len({house.texts[each, prompt] for each in SETS}) == len(SETS)


@pytest.mark.parametrize("adapters", SETS)
def test_the_text_is_that_of_the_merged_weights(
    house: House, made: Driver, adapters: AdapterSet
) -> None:
    for id_, prompt in enumerate(PROMPTS):
        found = made.alone(asking(id_, prompt, adapters))
        assert found.text == house.texts[adapters, prompt]


@pytest.mark.parametrize("unified", ["on", "off"])
def test_all_sets_at_once(house: House, unified: str) -> None:
    """Fifteen streams on eight numbers of sequences, in turns."""
    with driver(house.model, house.path, n_ctx=4096, exact=True, unified=unified) as made:  # type: ignore[arg-type]
        wanted = [(each, prompt) for prompt in PROMPTS for each in SETS]
        found = made.run(*(asking(id_, p, each) for id_, (each, p) in enumerate(wanted)))
        for outcome, key in zip(found, wanted, strict=True):
            assert outcome.text == house.texts[key]


def test_streams_of_two_sets_go_on_side_by_side(made: Driver) -> None:
    """Neither waits for the end of the other."""
    left, right = made.submit(
        generate(1, PROMPTS[0], max_tokens=200, adapters=A),
        generate(2, PROMPTS[0], max_tokens=200),
    )
    while not (left.ids and right.ids):
        made.step()
    assert not left.ended
    assert not right.ended
    before = len(left.ids), len(right.ids)
    for _ in range(300):
        made.step()
        if len(left.ids) > before[0] + 5 and len(right.ids) > before[1] + 5:
            break
    assert len(left.ids) > before[0] + 5
    assert len(right.ids) > before[1] + 5
    made.cancel(1)
    made.cancel(2)
    made.run()


def test_what_was_computed_is_shared_within_a_set_alone(house: House, made: Driver) -> None:
    prompt = PROMPTS[1]
    tokens = len(made.input_processor._model.tokenize(prompt))
    found = []
    for id_, adapters in enumerate((*SETS, *SETS)):
        (outcome,) = made.run(asking(id_, prompt, adapters))
        assert outcome.text == house.texts[adapters, prompt]
        found.append(cached(outcome))
    assert found == [0] * len(SETS) + [tokens - 1] * len(SETS)


def test_running_prompts_are_awaited_within_a_set_alone(house: House, made: Driver) -> None:
    """Two of each set come together: the second copies what the first computes."""
    wanted = [each for each in SETS for _ in range(2)]
    found = made.run(*(asking(id_, PROMPTS[1], each) for id_, each in enumerate(wanted)))
    for outcome, adapters in zip(found, wanted, strict=True):
        assert outcome.text == house.texts[adapters, PROMPTS[1]]
    tokens = len(made.input_processor._model.tokenize(PROMPTS[1]))
    assert [cached(outcome) for outcome in found] == [0, tokens - 1] * len(SETS)


REQUESTS = st.lists(
    st.tuples(st.sampled_from(SETS), st.sampled_from(PROMPTS), st.integers(0, 3)),
    min_size=1,
    max_size=10,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(REQUESTS, st.sampled_from([384, 1024]), st.data())
def test_nothing_computed_with_one_set_is_read_with_another(
    house: House, requests: list[tuple[AdapterSet, str, int]], n_ctx: int, data: st.DataObject
) -> None:
    """Few cells, prompts that begin alike, parks in the middle: every text is its set's."""
    with driver(house.model, house.path, n_ctx=n_ctx, exact=True) as made:
        sent, outcomes, parked = list[Generate](), list[Outcome](), dict[int, Generate]()
        for id_, (adapters, prompt, steps) in enumerate(requests):
            sent.append(asking(id_, prompt, adapters))
            outcomes += made.submit(sent[-1])
            made.step(steps)
            victim = data.draw(st.integers(-1, id_))
            if victim >= 0 and victim not in parked and not outcomes[victim].ended:
                made.park(victim)
                made.step()
                if outcomes[victim].parked and not outcomes[victim].ended:
                    parked[victim] = sent[victim]
        for request in parked.values():
            made.unpark(request)
        made.run()
        for (adapters, prompt, _), outcome in zip(requests, outcomes, strict=True):
            assert outcome.text == house.texts[adapters, prompt]


def test_resumed_elsewhere_the_text_goes_on(house: House, made: Driver) -> None:
    """As after a worker's death: prompt and tokens are computed anew, with the same adapters."""
    for at in (1, 7, LENGTH - 1):
        whole = made.alone(asking(1, PROMPTS[0], BOTH))
        rest = made.alone(asking(2, PROMPTS[0], BOTH, resume=tuple(whole.ids[:at])))
        assert rest.ids == whole.ids[at:]
        assert whole.text == house.texts[BOTH, PROMPTS[0]]


def test_seeds_constraints_logprobs_and_choices(made: Driver) -> None:
    """Mixed, each is what it is alone."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    requests = list[Generate]()
    for adapters in (BASE, A, B):
        for seed in (7, 8):  # n = 2
            sampling = Sampling(seed, 0.8)
            requests.append(asking(len(requests), PROMPTS[0], adapters, sampling=sampling))
        requests.append(asking(len(requests), PROMPTS[0], adapters, logprobs=3))
        bound = asking(len(requests), PROMPTS[0], adapters, ignore_eos=False)
        requests.append(with_params(bound, constraint=JsonSchema(schema)))
    alone = [made.alone(request) for request in requests]
    found = made.run(*requests)
    for one, other in zip(alone, found, strict=True):
        assert (one.ids, one.text, one.reason) == (other.ids, other.text, other.reason)
        mine = [each.chosen.logprob for each in one.logprobs]
        assert [each.chosen.logprob for each in other.logprobs] == pytest.approx(mine, abs=1e-3)
    assert len({outcome.text for outcome in found}) > 6


def test_drafts(house: House) -> None:
    """Texts that repeat themselves are drafted, by each set for itself."""
    prompt = "one two three four five six seven one two three four five six seven " * 4
    requests = [
        generate(id_, prompt, max_tokens=60, adapters=each) for id_, each in enumerate((BASE, A, B))
    ]
    with driver(house.model, house.path, n_ctx=4096, exact=True) as made:
        alone = [made.alone(request).ids for request in requests]
    with driver(house.model, house.path, n_ctx=4096, exact=True, drafting=Drafting(64)) as made:
        assert [outcome.ids for outcome in made.run(*requests)] == alone


def test_cells_are_divided_anew_under_an_adapter(house: House) -> None:
    """A long prompt makes the context another one, which has the adapters again."""
    with driver(house.model, house.path, n_ctx=1024, exact=True, unified="auto") as made:
        outcomes = made.submit(asking(1, PROMPTS[0], A), asking(2, PROMPTS[0], BASE))
        made.step(3)
        before = made.kv.geometry
        long = generate(3, PROMPTS[1] * 6, max_tokens=8, adapters=A)
        made.run(long)
        assert made.kv.geometry != before or made.context.n_ctx == 1024
        assert outcomes[0].text == house.texts[A, PROMPTS[0]]
        assert outcomes[1].text == house.texts[BASE, PROMPTS[0]]


def test_a_memory_that_cant_be_cut(tmp_path: Path) -> None:
    """Recurrent states, too, are shared within a set alone."""
    path = tmp_path / "mamba.gguf"
    architectures.write("mamba", EMBEDDED_MODEL, path)
    lora = random_lora(path, 5, tensors=("ssm_in.weight", "ssm_out.weight"))
    other = merged(path, tmp_path / "merged.gguf", [(lora, 1.0)])
    prompt = "Once upon a time there was a little girl. " * 5
    with loaded(other) as model, driver(model, other, n_ctx=2048, exact=True) as made:
        wanted = made.alone(generate(1, prompt)).ids
    with loaded(path) as model, driver(model, path, n_ctx=2048, exact=True) as made:
        model.adapters.load(adapter_file(lora.write(tmp_path / "a.gguf")))
        base = made.alone(generate(1, prompt)).ids
        assert base != wanted
        for round_ in range(2):
            ids = [
                outcome.ids
                for outcome in made.run(
                    generate(10 + round_, prompt, adapters=A), generate(20 + round_, prompt)
                )
            ]
            assert ids == [wanted, base]


def test_embeddings(house: House, made: Driver, tmp_path: Path) -> None:
    other = merged(house.path, tmp_path / "merged.gguf", [(house.loras["a"], 1.0)])
    with loaded(other) as model, driver(model, other, exact=True) as there:
        (whole,) = there.run(embed(1, PROMPTS[0]))
    requests = [embed(id_, PROMPTS[0]) for id_ in (1, 2, 3)]
    requests[1] = with_params(requests[1], adapters=A)
    vectors = [np.frombuffer(each.vector, "<f4") for each in made.run(*requests)]
    assert vectors[1] == pytest.approx(np.frombuffer(whole.vector, "<f4"), abs=1e-4)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2


# --------------------------------------------------------------------- they come and go


def test_loaded_and_unloaded_while_others_run(house: House, tmp_path: Path) -> None:
    """Sequences whose adapter goes fail; the next may lie where it lay, and is another."""
    path = tmp_path / "own.gguf"
    path.symlink_to(house.path)
    with loaded(path) as model, driver(model, path, n_ctx=2048, exact=True) as made:
        made.inbox.put(LoadAdapter(adapter_file(house.files["a"])))
        base, adapted = made.submit(asking(1, PROMPTS[0], BASE), asking(2, PROMPTS[0], A))
        made.step(8)
        assert made.loaded == {"a": ""}
        assert not adapted.ended
        made.park(2)
        made.step()
        made.inbox.put(UnloadAdapter("a"))
        made.step()
        assert adapted.failure is not None
        assert adapted.failure.code == COMPUTE_FAILED
        made.inbox.put(LoadAdapter(adapter_file(house.files["b"], "a")))
        (other, late) = made.run(asking(3, PROMPTS[0], A), asking(4, PROMPTS[0], (("c", 1.0),)))
        assert base.text == house.texts[BASE, PROMPTS[0]]
        assert other.text == house.texts[B, PROMPTS[0]]
        assert late.failure is not None
        assert late.failure.code == COMPUTE_FAILED


def test_a_file_that_cant_be_loaded_is_told(house: House, made: Driver, tmp_path: Path) -> None:
    """A broken one, another one than was checked, none, and one of another model."""
    whole = house.files["a"].read_bytes()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole[: len(whole) // 2])
    changed = adapter_file(house.files["b"], "changed")
    other = tmp_path / "other.gguf"
    architectures.write("qwen2", EMBEDDED_MODEL, other)
    files = {
        "broken": adapter_file(broken),
        "changed": msgspec.structs.replace(changed, size=changed.size + 1),
        "gone": msgspec.structs.replace(changed, digest="gone", paths=(str(tmp_path / "no"),)),
        "other": adapter_file(random_lora(other, 1).write(tmp_path / "other-a.gguf"), "other"),
    }
    for file in files.values():
        made.inbox.put(LoadAdapter(file))
    (outcome,) = made.run(asking(1, PROMPTS[0], A))
    assert outcome.text == house.texts[A, PROMPTS[0]]
    assert made.loaded.keys() == files.keys()
    assert all(made.loaded.values())
    assert all(digest not in house.model.adapters for digest in files)
    assert "written since" in made.loaded["changed"]
    assert "mismatch" in made.loaded["other"]


def test_equal_sets_are_equal() -> None:
    assert adapter_set([("b", 1.0), ("a", 2.0), ("c", 0.0)]) == (("a", 2.0), ("b", 1.0))
    assert adapter_set([("a", 1.0), ("a", -1.0)]) == ()
    assert adapter_set([("a", 1.0), ("a", 0.5)]) == (("a", 1.5),)
