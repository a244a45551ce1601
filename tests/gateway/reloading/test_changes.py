"""Differences between two configurations, and when they count."""

from pathlib import Path

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.config.model_tables import OF_THE_SERVER
from gateway.reloading import changes
from gateway.reloading.changes import ELSEWHERE, LIVE, SHARED


def test_each_option_of_the_server_counts_now_or_after_a_restart() -> None:
    old = Config()
    new = Config(max_body=2048, port=1, keepalive=7, data_dir=Path("/tmp/x"), host="::1")
    found = changes.of_server(old, new)
    assert found.live == ("keepalive", "max-body")
    assert found.restart == ("data-dir", "host", "port")
    assert (found.config.max_body, found.config.port, found.config.data_dir) == (2048, 8080, None)


def test_what_needs_a_restart_is_named_again_until_then() -> None:
    new = Config(port=1)
    once = changes.of_server(Config(), new).config
    assert changes.of_server(once, new).restart == ("port",)


def test_options_of_models_are_none_of_the_server() -> None:
    found = changes.of_server(Config(), Config(ctx=512, slots=3, sampling={"top_k": 1}, alias="x"))
    assert (found.live, found.restart) == ((), ())


def test_every_option_that_counts_at_once_is_one() -> None:
    known = Config.model_fields.keys()
    assert known >= LIVE
    assert LIVE - SHARED <= OF_THE_SERVER
    assert not LIVE & ELSEWHERE


def test_a_model_has_the_options_of_the_server_as_they_are() -> None:
    entry = ModelEntry(Config(alias="m", port=1, max_body=2048, ctx=512, spare=False))
    found = changes.settled(entry, Config(max_body=4096)).config
    assert (found.alias, found.ctx, found.spare) == ("m", 512, False)
    assert (found.port, found.max_body) == (8080, 4096)


def test_models_come_stay_and_go() -> None:
    entries = [ModelEntry(Config(alias=name)) for name in ("a", "new")]
    found = changes.of_models(["a", "gone"], entries)
    assert [each.name for each in found.added] == ["new"]
    assert [each.name for each in found.kept] == ["a"]
    assert found.retired == ("gone",)


def test_one_of_them_alone() -> None:
    entries = [ModelEntry(Config(alias=name)) for name in ("a", "b", "new")]
    assert changes.of_models(["a", "b", "gone"], entries, "b").kept == (entries[1],)
    assert changes.of_models(["a", "b", "gone"], entries, "new").added == (entries[2],)
    assert changes.of_models(["a", "b", "gone"], entries, "gone").retired == ("gone",)
    assert changes.of_models(["a", "b", "gone"], entries, "b").retired == ()
