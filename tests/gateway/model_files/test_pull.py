"""`forge pull` against a hub on this machine: real processes, the real huggingface_hub."""

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from gateway.core.projectors import beside
from gateway.core.split_files import part_name
from tests.conftest import Start
from tests.support.hub import TOKEN, Hub, sha
from tests.support.server import DEADLINE_S, MODEL, environment, eventually, free_port

CONTENT = MODEL.read_bytes()
HALF = len(CONTENT) // 2


def pull(
    hub: Hub, home: Path, what: str, file_limit: int | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit or 0, file_limit or 0))

    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "pull", what],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment({**hub.environment(str(home)), **env}),
        preexec_fn=limit if file_limit else None,
    )


def pulled(
    hub: Hub, home: Path, what: str, file_limit: int | None = None, **env: str
) -> tuple[Path, str]:
    """It must succeed: the file, and what it said."""
    done = pull(hub, home, what, file_limit, **env)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()), done.stderr


def refused(hub: Hub, home: Path, what: str, file_limit: int | None = None, **env: str) -> str:
    """It must fail, with one line."""
    done = pull(hub, home, what, file_limit, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("forge pull: error: ")
    assert "Traceback" not in done.stderr
    return line


def nothing_to_serve(home: Path) -> bool:
    return not [path for path in home.rglob("*.gguf") if path.exists()]


@pytest.fixture
def one(hub: Hub) -> Hub:
    """A hub with one model in two quantisations."""
    hub.repositories["org/tiny"] = {"tiny-Q4_K_M.gguf": CONTENT, "tiny-Q8_0.gguf": CONTENT + b"8"}
    return hub


def test_a_model_comes_once_into_the_shared_cache(one: Hub, tmp_path: Path) -> None:
    path, said = pulled(one, tmp_path, "hf:org/tiny")
    assert path.name == "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == CONTENT
    assert re.search(r"tiny-Q4_K_M\.gguf: 5\.9 MiB\n.*all of it is here", said)
    asked = len(one.seen)
    again, said = pulled(one, tmp_path, "hf:org/tiny:q4_k_m")
    assert again == path
    assert len(one.seen) == asked
    # The hub's own tools know it, and find nothing unfinished.
    cache = scan_cache_dir(tmp_path / "hf/hub")
    (repository,) = cache.repos
    (revision,) = repository.revisions
    assert revision.refs == {"main"}
    assert {file.file_path for file in revision.files} == {path}
    assert not cache.incomplete_files
    assert not cache.warnings


def test_another_quantisation_or_file_by_name(one: Hub, tmp_path: Path) -> None:
    assert pulled(one, tmp_path, "hf:org/tiny:Q8_0")[0].name == "tiny-Q8_0.gguf"
    path, _ = pulled(one, tmp_path, "hf:org/tiny:tiny-Q4_K_M.gguf")
    assert path.read_bytes() == CONTENT


def test_a_projector_comes_with_its_model(one: Hub, tmp_path: Path) -> None:
    one.repositories["org/tiny"]["mmproj-F16.gguf"] = CONTENT + b"p"
    path, _ = pulled(one, tmp_path, "hf:org/tiny")
    assert beside(path) is None, "nothing asked for it"
    path, _ = pulled(one, tmp_path, "hf:org/tiny+mmproj")
    assert path.name == "tiny-Q4_K_M.gguf"
    found = beside(path)
    assert found is not None
    assert found.read_bytes() == CONTENT + b"p"


def test_parts_come_together(hub: Hub, tmp_path: Path) -> None:
    names = [part_name("big-Q4_K_M", number, 2) for number in (1, 2)]
    hub.repositories["org/big"] = {names[0]: CONTENT, names[1]: CONTENT + b"2"}
    path, _ = pulled(hub, tmp_path, "hf:org/big")
    assert path.name == names[0]
    assert path.with_name(names[1]).read_bytes() == CONTENT + b"2"


def test_a_cut_connection_is_taken_up_again(one: Hub, tmp_path: Path) -> None:
    one.cuts = [HALF, 100_000]
    path, _ = pulled(one, tmp_path, "hf:org/tiny")
    assert sha(path.read_bytes()) == sha(CONTENT)
    ranges = [seen.range for seen in one.seen if seen.path.startswith("/contents")]
    # What came is kept to the last byte, so that also a line that often breaks gets on.
    assert ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 100_000}-"]


def hear_interrupts() -> None:
    """A shell starts what is to run in the background deaf to them, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_download_goes_on_where_it_was(
    one: Hub, tmp_path: Path, number: signal.Signals
) -> None:
    one.hold_after = HALF
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "pull", "hf:org/tiny"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(one.environment(str(tmp_path))),
        preexec_fn=hear_interrupts,
    )
    assert one.held.wait(DEADLINE_S)
    wait_for_bytes(tmp_path, HALF - 2**17)
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE_S)
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.splitlines()[-1].startswith("forge pull: interrupted; what came is kept")
    assert nothing_to_serve(tmp_path)
    one.hold_after = None
    path, said = pulled(one, tmp_path, "hf:org/tiny")
    assert path.read_bytes() == CONTENT
    assert "MiB are here" in said
    assert any(re.fullmatch(r"bytes=\d{6,}-", seen.range or "") for seen in one.seen)


def wait_for_bytes(home: Path, count: int) -> None:
    def there() -> bool:
        return any(path.stat().st_size >= count for path in home.rglob("*.incomplete"))

    eventually(there, "half of it is here")


def test_what_is_damaged_is_thrown_away(one: Hub, tmp_path: Path) -> None:
    one.alter = True
    assert "damaged on the way" in refused(one, tmp_path, "hf:org/tiny")
    assert not list(tmp_path.rglob("*.incomplete"))
    assert nothing_to_serve(tmp_path)
    one.alter = False
    assert pulled(one, tmp_path, "hf:org/tiny")[0].read_bytes() == CONTENT


def test_a_token_opens_what_is_gated_and_is_shown_to_the_hub_alone(
    one: Hub, tmp_path: Path
) -> None:
    one.gated.add("org/tiny")
    line = refused(one, tmp_path, "hf:org/tiny")
    assert "is gated: accept its terms at" in line
    assert "HF_TOKEN" in line
    assert "does not accept the token" in refused(one, tmp_path, "hf:org/tiny", HF_TOKEN="hf_no")
    pulled(one, tmp_path, "hf:org/tiny", HF_TOKEN=TOKEN)
    for seen in one.seen:
        expected = None if seen.path.startswith("/contents") else f"Bearer {TOKEN}"
        assert seen.authorization == expected


def test_wrong_names(one: Hub, tmp_path: Path) -> None:
    assert "there is no such model, or it is private" in refused(one, tmp_path, "hf:org/none")
    line = refused(one, tmp_path, "hf:org/tiny:Q5_K_M")
    assert "has no Q5_K_M; it has Q4_K_M (5.9 MiB), Q8_0 (5.9 MiB)" in line
    assert "expected hf:ORG/REPO" in refused(one, tmp_path, "hf:tiny")


def test_without_a_network_the_cache_serves(one: Hub, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    line = refused(one, tmp_path, "hf:org/tiny", HF_ENDPOINT=nobody)
    assert f"can't reach {nobody}" in line
    assert "the cache has nothing of hf:org/tiny" in line
    path, _ = pulled(one, tmp_path, "hf:org/tiny")
    again, said = pulled(one, tmp_path, "hf:org/tiny", HF_ENDPOINT=nobody)
    assert again == path
    assert "taken from the cache: tiny-Q4_K_M.gguf" in said
    assert pulled(one, tmp_path, "hf:org/tiny", HF_HUB_OFFLINE="1")[0] == path
    line = refused(one, tmp_path, "hf:org/tiny:Q8_0", HF_HUB_OFFLINE="1")
    assert "has no Q8_0" in line


def test_a_full_disk_is_said_and_what_came_is_kept(one: Hub, tmp_path: Path) -> None:
    line = refused(one, tmp_path, "hf:org/tiny", file_limit=HALF)
    assert "is full; what came so far is kept" in line
    assert nothing_to_serve(tmp_path)
    pulled(one, tmp_path, "hf:org/tiny")
    assert f"bytes={HALF}-" in [seen.range for seen in one.seen]


def test_a_plain_address(hub: Hub, tmp_path: Path) -> None:
    hub.files["tiny.gguf"] = CONTENT
    url = f"{hub.url}/files/tiny.gguf?signature=abc"
    path, _ = pulled(hub, tmp_path, url)
    assert path.name == "tiny.gguf"
    assert path.read_bytes() == CONTENT
    asked = len(hub.seen)
    assert pulled(hub, tmp_path, url)[0] == path
    assert len(hub.seen) == asked
    assert "has no such file (404)" in refused(hub, tmp_path, f"{hub.url}/files/none.gguf")


def test_a_plain_address_is_resumed_only_if_it_is_the_same_file(hub: Hub, tmp_path: Path) -> None:
    hub.files["tiny.gguf"] = CONTENT
    refused(hub, tmp_path, f"{hub.url}/files/tiny.gguf", file_limit=HALF)
    other = CONTENT[:-4] + b"more"
    hub.files["tiny.gguf"] = other
    path, _ = pulled(hub, tmp_path, f"{hub.url}/files/tiny.gguf")
    assert path.read_bytes() == other


def test_a_plain_addresses_digest_counts(hub: Hub, tmp_path: Path) -> None:
    hub.files["tiny.gguf"] = CONTENT
    hub.headers["X-Checksum-Sha256"] = sha(b"something else")
    assert "damaged on the way" in refused(hub, tmp_path, f"{hub.url}/files/tiny.gguf")
    hub.headers["X-Checksum-Sha256"] = sha(CONTENT)
    pulled(hub, tmp_path, f"{hub.url}/files/tiny.gguf")


def test_a_page_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.files["tiny.gguf"] = b"<!doctype html>"
    assert "not a GGUF" in refused(hub, tmp_path, f"{hub.url}/files/tiny.gguf")
    hub.files["tiny.gguf"] = b""
    refused(hub, tmp_path, f"{hub.url}/files/tiny.gguf")
    assert not list(tmp_path.rglob("*.incomplete"))


def test_an_answer_without_a_length_must_be_whole(hub: Hub, tmp_path: Path) -> None:
    hub.lengths = False
    hub.files["tiny.gguf"] = CONTENT[:HALF]
    assert "did not come whole" in refused(hub, tmp_path, f"{hub.url}/files/tiny.gguf")
    hub.files["tiny.gguf"] = CONTENT
    assert pulled(hub, tmp_path, f"{hub.url}/files/tiny.gguf")[0].read_bytes() == CONTENT


def test_an_answer_that_does_not_end_is_ended(one: Hub, tmp_path: Path) -> None:
    """More comes than the hub's list, or the file itself, says; from the hub and elsewhere."""
    one.lengths, one.surplus = False, 40 * 2**20
    line = refused(one, tmp_path, "hf:org/tiny")
    assert "more comes than the 5.9 MiB that it was to have; nothing of it is kept" in line
    one.files["tiny.gguf"] = CONTENT
    line = refused(one, tmp_path, f"{one.url}/files/tiny.gguf")
    assert "more comes than the 5.9 MiB of its own contents; nothing of it is kept" in line
    one.lfs = False  # huggingface_hub itself takes it
    line = refused(one, tmp_path, "hf:org/tiny:Q8_0")
    assert "more comes than the file was to have" in line
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 2 * len(CONTENT)
    one.surplus = 0
    assert pulled(one, tmp_path, "hf:org/tiny:Q8_0")[0].read_bytes() == CONTENT + b"8"


def test_a_server_serves_what_it_gets(one: Hub, start_server: Start, tmp_path: Path) -> None:
    server = start_server(
        "--model", "hf:org/tiny", "--workers", "1", "--slots", "1", model=None,
        env=one.environment(str(tmp_path)),
    )  # fmt: skip
    assert server.get("/v1/models")["data"][0]["id"] == "tiny-Q4_K_M"
    server.stop()
    nobody = start_server("--model", "hf:org/none", model=None,
                          env=one.environment(str(tmp_path)), ready=False)  # fmt: skip
    assert nobody.wait() == 2
    assert "forge serve: error: --model: hf:org/none: there is no such model" in nobody.stderr
