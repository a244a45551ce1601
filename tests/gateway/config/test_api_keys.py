"""Keys: what a file may say, what is refused in one line, and that no secret is ever shown."""

import dataclasses
import hmac
import logging
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import ConfigError
from gateway.core.api_key import ANYONE, ApiKey

SECRET = "sk-very-secret-0123456789"
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def write(path: Path, text: str) -> Path:
    file = path / "keys.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def refusal(secret: str | None, file: Path | None) -> str:
    """Return why these keys are refused: one line, and nothing in it is secret."""
    with pytest.raises(ConfigError) as caught:
        Keyring.load(None if secret is None else SecretStr(secret), file)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert SECRET not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text


def test_without_keys_a_server_is_open() -> None:
    keyring = Keyring.load(None, None)
    assert keyring.open
    assert list(keyring) == []
    assert keyring.find("anything") is None
    assert (ANYONE.name, ANYONE.max_priority, ANYONE.weight) == ("", math.inf, 1.0)


def test_one_key_from_the_command_line() -> None:
    keyring = Keyring.load(SecretStr(SECRET), None)
    assert not keyring.open
    own = ApiKey("default", digest(SECRET), admin=True)
    assert list(keyring) == [own]
    assert keyring.find(SECRET) == own
    for other in ("", SECRET[:-1], SECRET + "x", SECRET.upper(), "schlüssel", "\x00"):
        assert keyring.find(other) is None


def test_a_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [[key]]
        name = "app"
        key = "sk-app"

        [[key]]
        name = "batch jobs"
        key = "sk-batch"
        max-priority = "Batch"
        weight = 2
        requests-per-minute = 60
        tokens-per-minute = 10_000

        [[key]]
        name = "half"
        key = "sk-half"
        max_priority = 0.5
        weight = 0.25
        cache-group = "team"
        """,
    )
    keyring = Keyring.load(SecretStr(SECRET), file)
    assert [key.name for key in keyring] == ["default", "app", "batch jobs", "half"]
    assert keyring.find("sk-app") == ApiKey("app", digest("sk-app"))
    assert keyring.find("sk-batch") == ApiKey(
        "batch jobs", digest("sk-batch"), 0.0, 2.0, 60, 10_000
    )
    assert keyring.find("sk-half") == ApiKey(
        "half", digest("sk-half"), 0.5, 0.25, cache_group="team"
    )
    assert keyring.find(SECRET) == ApiKey("default", digest(SECRET), admin=True)


TABLE = f'[[key]]\nname = "app"\nkey = "{SECRET}"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no [[key]] table"),
        ("key = 5", "there is no [[key]] table"),
        ("key = []", "there is no [[key]] table"),
        (f'key = ["{SECRET}"]', "there is no [[key]] table"),
        (f"port = 1\n{TABLE}", "there may be [[key]] tables only, not 'port'"),
        ("[[key]]\n", "key 1: 'name' is missing"),
        ('[[key]]\nname = "app"\n', "key 1 ('app'): 'key' is missing"),
        (f'{TABLE}[[key]]\nname = "b"\nkey = ""', "key 2 ('b'): key: must be visible ASCII"),
        (f'[[key]]\nname = "b"\nkey = "{SECRET}\\n"', "key 1 ('b'): key: must be visible ASCII"),
        (f'[[key]]\nname = "b"\nkey = ["{SECRET}"]', "key 1 ('b'): key: input should be a valid"),
        (f'[[key]]\nname = ""\nkey = "{SECRET}"', "key 1 (''): name: string should have"),
        (f'[[key]]\nname = "a\\nb"\nkey = "{SECRET}"', r"key 1 ('a\nb'): name: string should"),
        (f'[[key]]\nname = ["{SECRET}"]\nkey = "x"', "key 1: name: input should be a valid"),
        (f'{TABLE}secret = "{SECRET}"', "key 1 ('app'): there is no field 'secret'"),
        (f'{TABLE}max-prio = "{SECRET}"', "key 1 ('app'): there is no field 'max-prio'"),
        (f'{TABLE}max-priority = "{SECRET}"', "key 1 ('app'): max-priority: must be a finite"),
        (f"{TABLE}max-priority = nan", "key 1 ('app'): max-priority: must be a finite number"),
        (f"{TABLE}max-priority = inf", "key 1 ('app'): max-priority: must be a finite number"),
        (f"{TABLE}max-priority = true", "key 1 ('app'): max-priority: input should be a valid"),
        (f"{TABLE}weight = 0", "key 1 ('app'): weight: input should be greater than or"),
        (f"{TABLE}weight = 1e-9", "key 1 ('app'): weight: input should be greater than or"),
        (f"{TABLE}weight = inf", "key 1 ('app'): weight: input should be"),
        (f'{TABLE}weight = "{SECRET}"', "key 1 ('app'): weight: input should be a valid number"),
        (f"{TABLE}requests-per-minute = 0", "key 1 ('app'): requests-per-minute: input should"),
        (f"{TABLE}requests-per-minute = 1.5", "key 1 ('app'): requests-per-minute: input should"),
        (f"{TABLE}tokens-per-minute = true", "key 1 ('app'): tokens-per-minute: input should be"),
        (f'{TABLE}cache-group = ""', "key 1 ('app'): cache-group: string should have"),
        (f'{TABLE}cache-group = "a\\nb"', "key 1 ('app'): cache-group: string should match"),
        (f"{TABLE}cache-group = 1", "key 1 ('app'): cache-group: input should be a valid string"),
        (f'{TABLE}cache-group = "{"x" * 65}"', "key 1 ('app'): cache-group: string should have"),
        (f'{TABLE}[[key]]\nname = "app"\nkey = "x"', "two keys have the name 'app'"),
        (f'{TABLE}[[key]]\nname = "b"\nkey = "{SECRET}"', "the keys 'app' and 'b' are the same"),
    ],
)
def test_a_bad_file_is_refused_by_name(text: str, reason: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    assert refusal(None, file).startswith(f"--api-key-file: {file}: {reason}")


@pytest.mark.parametrize("text", [f'[[key]]\nname = "a"\nkey = "{SECRET}', f"key = {SECRET}", "["])
def test_a_file_that_is_no_toml(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Keyring.load(None, write(tmp_path, text))
    assert "is not valid TOML" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_an_unreadable_file(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(ConfigError, match="--api-key-file: can't read "):
            Keyring.load(None, file)


def test_the_flag_and_the_file_must_differ(tmp_path: Path) -> None:
    file = write(tmp_path, TABLE)
    assert refusal(SECRET, file).endswith("the keys 'default' and 'app' are the same")
    file = write(tmp_path, TABLE.replace("app", "default"))
    assert refusal("other", file).endswith("two keys have the name 'default'")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_everybody_can_read_is_worth_a_warning(
    mode: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, TABLE)
    file.chmod(mode)
    with caplog.at_level(logging.DEBUG):
        assert Keyring.load(None, file).find(SECRET) is not None
    assert [str(file) in record.getMessage() for record in caplog.records] == [True] * warned
    assert SECRET not in caplog.text


def test_a_key_does_not_hold_its_secret() -> None:
    (key,) = Keyring.load(SecretStr(SECRET), None)
    assert SECRET not in f"{key!r} {dataclasses.asdict(key)}"
    assert repr(key.digest) not in repr(key)


@given(st.lists(VISIBLE, unique=True, max_size=8), VISIBLE)
def test_each_secret_finds_its_own_key(secrets: list[str], other: str) -> None:
    keyring = Keyring(ApiKey(str(at), digest(secret)) for at, secret in enumerate(secrets))
    for at, secret in enumerate(secrets):
        found = keyring.find(secret)
        assert found is not None
        assert found.name == str(at)
    assert (keyring.find(other) is not None) == (other in secrets)


@pytest.mark.parametrize("asked", ["sk-0", "sk-4", "nobody's"])
def test_every_key_is_compared_wherever_the_right_one_is(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def spy(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    every = [ApiKey(str(at), digest(f"sk-{at}")) for at in range(5)]
    Keyring(every).find(asked)
    assert compared == [key.digest for key in every]


def test_rights_over_models(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [[key]]
        name = "root"
        key = "sk-root"
        admin = true

        [[key]]
        name = "app"
        key = "sk-app"
        models = ["tiny", "hf:org/*"]
        """,
    )
    root, app = Keyring.load(None, file)
    assert (root.admin, root.models) == (True, None)
    assert (app.admin, app.models) == (False, ("tiny", "hf:org/*"))
    assert root.may_use("anything")
    names = ("tiny", "Tiny", "tiny2", "hf:org/a:Q8_0", "hf:orga/b:Q8_0")
    assert [app.may_use(name) for name in names] == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("models = []", "models: "),
        ('models = "tiny"', "models: "),
        ('models = [""]', "models: "),
        ('models = ["a\\u0007"]', "models: "),
        ('admin = "yes"', "admin: "),
        ("admin = 1", "admin: "),
    ],
)
def test_rights_that_can_not_be_meant(tmp_path: Path, line: str, reason: str) -> None:
    file = write(tmp_path, f'[[key]]\nname = "a"\nkey = "{SECRET}"\n{line}\n')
    assert f"key 1 ('a'): {reason}" in refusal(None, file)
