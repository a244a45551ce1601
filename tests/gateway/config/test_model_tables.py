"""Tables of models in the config file: what they say, what they inherit, and what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from gateway.api.body import SamplingBody, parse
from gateway.cli.main import build_parser
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.config.model_entry import ModelEntry
from gateway.config.model_tables import OF_THE_SERVER, OWN, PER_MODEL, load
from gateway.config.sources import load as load_one
from gateway.model_files.memory_estimate import GATEWAY
from gateway.served.memory_budget import plan

MODEL = f"model = '{EMBEDDED_MODEL}'\n"


def check_sampling(defaults: dict[str, Any]) -> None:
    parse(SamplingBody, defaults)


def loaded(folder: Path, text: str, **given: Any) -> tuple[Config, list[ModelEntry]]:
    file = folder / "forge.toml"
    file.write_text(text)
    return load(given, {}, file, check_sampling)


def test_every_option_is_of_the_server_or_per_model() -> None:
    assert set(Config.model_fields) == OF_THE_SERVER | set(PER_MODEL)
    assert not OF_THE_SERVER & set(PER_MODEL)
    assert not set(OWN) & set(Config.model_fields)
    assert {"model", "ctx", "slots", "workers", "threads", "keep_alive", "force"} <= set(PER_MODEL)


def test_a_table_is_the_common_options_with_its_own(tmp_path: Path) -> None:
    text = f"ctx = 512\nkeep-alive = '1h'\nport = 9\n[models.a]\n{MODEL}ctx = 64\n"
    text += f"[models.'b/c:x']\n{MODEL}preload = true\nkeep-alive = 'forever'\nsystem = 'Hi.'\n"
    server, (a, b) = loaded(tmp_path, text, slots="3")
    assert server.port == 9
    assert (a.name, a.config.ctx, a.config.slots, a.keep_alive) == ("a", 64, 3, 3600)
    assert (a.preload, a.system, a.sampling) == (False, None, {})
    assert (b.name, b.config.ctx, b.keep_alive) == ("b/c:x", 512, None)
    assert (b.preload, b.system) == (True, "Hi.")


def test_aliases(tmp_path: Path) -> None:
    _, (a,) = loaded(tmp_path, f"[models.a]\n{MODEL}aliases = ['b', 'claude-*']\n")
    assert a.aliases == ("b", "claude-*")


def test_a_table_counts_for_its_model_whatever_is_said_for_all(tmp_path: Path) -> None:
    _, (a,) = loaded(tmp_path, f"[models.a]\n{MODEL}ctx = 64\n", ctx="512")
    assert a.config.ctx == 64


def test_without_tables_there_is_one_model(tmp_path: Path) -> None:
    config, entries = loaded(tmp_path, "ctx = 512\n")
    assert (config.ctx, entries) == (512, [])


def test_a_model_beside_tables_is_the_first(tmp_path: Path) -> None:
    text = f"[models.a]\n{MODEL}"
    _, (first, a) = loaded(tmp_path, text, model=str(EMBEDDED_MODEL))
    assert (first.name, first.preload, a.name) == ("forge-tiny", True, "a")
    _, (first, a) = loaded(tmp_path, text, model=str(EMBEDDED_MODEL), alias="b")
    assert (first.name, a.name) == ("b", "a")
    with pytest.raises(ConfigError, match=r"'a' is a model of .*, too"):
        loaded(tmp_path, text, model=str(EMBEDDED_MODEL), alias="a")


def test_other_commands_do_not_mind_tables(tmp_path: Path) -> None:
    file = tmp_path / "forge.toml"
    file.write_text(f"ctx = 512\n[models.a]\n{MODEL}")
    assert load_one({}, {}, file).ctx == 512
    assert build_parser().parse_args(["serve", "--keep-alive", "5m"]).keep_alive == "5m"


def test_saved_prefixes_share_what_is_automatic(tmp_path: Path) -> None:
    text = f"[models.a]\n{MODEL}[models.b]\n{MODEL}[models.c]\n{MODEL}cache-ram = 7\n"
    _, (a, b, c) = loaded(tmp_path, text)
    assert a.config.cache_ram == b.config.cache_ram
    assert c.config.cache_ram == 7
    assert 3 * a.config.cache_bytes() <= Config().cache_bytes()


def test_defaults_of_requests_are_kept_as_requests_say_them(tmp_path: Path) -> None:
    text = f"[models.a]\n{MODEL}[models.a.sampling]\ntop-p = 0.5\nstop = ['x']\n"
    _, (a,) = loaded(tmp_path, text)
    assert a.sampling == {"top_p": 0.5, "stop": ["x"]}


def test_defaults_for_all_models_and_those_of_one(tmp_path: Path) -> None:
    text = f"sampling = {{top_k = 1, seed = 2}}\n[models.a]\n{MODEL}sampling = {{top_k = 3}}\n"
    server, (a, b) = loaded(tmp_path, f"{text}[models.b]\n{MODEL}", sampling=['{"seed": 4}'])
    assert server.sampling == b.sampling == {"top_k": 1, "seed": 4}
    assert a.sampling == {"top_k": 3, "seed": 4}
    alone, _ = loaded(tmp_path, "sampling = {top_k = 1}\n")
    assert alone.sampling == {"top_k": 1}


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("", '{"top_p": 7}', "--sampling.top_p: 'top_p': Input should be"),
        ("", '{"no": 7}', "--sampling.no: unknown parameter"),
        ("", '{"grammar": "root ::= x"}', "--sampling.grammar: this is no default"),
        ("sampling = {seed = 1}\n", '{"min_p": true}', "sampling.min_p in {file}, --sampling: "),
        ("sampling = {seed = 'x'}\n", None, "sampling.seed in {file}: "),
        (
            "sampling = {seed = 'x'}\n",
            '{"min_p": 1}',
            "sampling.seed in {file}, --sampling: 'seed'",
        ),
    ],
)
def test_wrong_defaults_are_told_with_their_place(
    tmp_path: Path, text: str, given: str | None, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text, **({} if given is None else {"sampling": [given]}))
    assert expected.format(file=tmp_path / "forge.toml") in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models = 1\n", "models in {file}: expected tables such as [models.NAME]"),
        ("[models]\n", "models in {file}: expected tables such as [models.NAME]"),
        ("[models.a]\nctx = 64\n", "models.a in {file}: there is no 'model' in it"),
        (f"[models.a]\n{MODEL}ctx = 1\n", "models.a.ctx in {file}: "),
        (f"[models.a]\n{MODEL}port = 1\n", "models.a.port in {file}: this option is one for all"),
        (f"[models.a]\n{MODEL}alias = 'b'\n", "models.a.alias in {file}: this option is one"),
        (f"[models.a]\n{MODEL}no = 1\n", "models.a.no in {file}: there is no such option"),
        (f"[models.a]\n{MODEL}preload = 'x'\n", "models.a.preload in {file}: "),
        (f"[models.a]\n{MODEL}aliases = 'x'\n", "models.a.aliases in {file}: "),
        (f"[models.a]\n{MODEL}aliases = ['']\n", "models.a.aliases in {file}: "),
        (f"[models.a]\n{MODEL}system = 1\n", "models.a.system in {file}: "),
        (f"[models.a]\n{MODEL}keep-alive = 'x'\n", "models.a.keep-alive in {file}: "),
        (f"[models.a]\n{MODEL}sampling = {{top_p = 7}}\n", "models.a.sampling.top_p in {file}: "),
        (f"[models.a]\n{MODEL}sampling = 7\n", "models.a.sampling in {file}: expected a JSON"),
        (f"[models.a]\n{MODEL}sampling = {{no = 7}}\n", "models.a.sampling.no in {file}: "),
        (f"[models.a]\n{MODEL}sampling = {{timeout = 7}}\n", "models.a.sampling.timeout in {file}"),
        (
            f"[models.a]\n{MODEL}sampling = {{cache_salt = 'x'}}\n",
            "models.a.sampling.cache_salt in {file}: this is no default",
        ),
        ("[models.a]\nmodel = '/no/such'\n", "models.a.model in {file}: can't read /no/such"),
        (f"alias = 'x'\n[models.a]\n{MODEL}", "alias in {file}: models are called what"),
        (f"ctx = 1\n[models.a]\n{MODEL}", "ctx in {file}: "),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    assert str(error.value).startswith(expected.format(file=tmp_path / "forge.toml"))
    assert len(str(error.value).splitlines()) == 1


TWO = f"workers = 1\nslots = 2\nctx = 512\n[models.a]\n{MODEL}[models.b]\n{MODEL}"


def test_a_plan_tells_what_each_needs(tmp_path: Path) -> None:
    server, entries = loaded(tmp_path, f"memory-budget = 200\n{TWO}")
    made = plan(server, entries)
    assert made.budget == 200 * 2**20 - GATEWAY
    assert [each.entry.name for each in made.shares] == ["a", "b"]
    assert made.shares[0].need == made.shares[1].need > 10 * 2**20


def test_what_has_no_room_together_is_refused_at_the_start(tmp_path: Path) -> None:
    text = "memory-budget = 150\n" + TWO.replace(MODEL, MODEL + "preload = true\n")
    with pytest.raises(ConfigError, match=r"there from the start need .* are the memory budget"):
        plan(*loaded(tmp_path, text))
    assert plan(*loaded(tmp_path, text, force=True)).shares


def test_what_has_no_room_alone_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.a: the model needs .* \(--force"):
        plan(*loaded(tmp_path, "memory-budget = 60\n" + TWO))


def test_a_file_that_nobody_can_read_is_the_workers_to_complain_about(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and no more")
    made = plan(*loaded(tmp_path, f"[models.a]\nmodel = '{broken}'\n"))
    assert made.shares[0].need == 0
