"""The files of a model on a node: real processes fetch them from a hub on this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL, Config
from gateway.pool.cluster.control import FileComes, FileSources
from gateway.pool.cluster.node_files import FilesMissing, NodeFiles
from tests.support.hub import COMMIT, TOKEN, Hub, serving
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio
CONTENT = EMBEDDED_MODEL.read_bytes()
NAME = "tiny-Q8_0.gguf"
PINNED = f"hf:org/tiny@{COMMIT}:{NAME}"
SPEC = Config(workers=1, slots=1, threads=1).worker_spec()


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    found.repositories["org/tiny"] = {NAME: CONTENT, "tiny-mmproj-f16.gguf": CONTENT + b"p"}
    found.files[NAME] = CONTENT
    yield from serving(found)


@pytest.fixture
def node(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of this node's user, who knows nothing of the hub."""
    for name, value in hub.environment(str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def brought(files: NodeFiles, access: dict[str, str] | None = None) -> list[FileComes]:
    async with asyncio.timeout(DEADLINE_S):
        return [each async for each in files.bring(access or {})]


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not check():  # noqa: ASYNC110 (the hub is in another thread)
            await asyncio.sleep(0.01)


async def test_a_model_and_its_projector_from_the_hub(hub: Hub, node: Path) -> None:
    """By the gateway's access, which is lent to a node that needs some, and has none."""
    hub.gated.add("org/tiny")
    access = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    sources = FileSources(PINNED, f"hf:org/tiny@{COMMIT}:tiny-mmproj-f16.gguf")
    files = NodeFiles(sources)
    await files.look()
    assert files.needs_access
    assert hub.seen == [], "no network was asked"
    news = await brought(files, access)
    assert news[-1] == FileComes("tiny-mmproj-f16.gguf", len(CONTENT) + 1, len(CONTENT) + 1)
    spec = files.placed(SPEC)
    assert content(spec.model_path) == CONTENT
    assert Path(spec.model_path).is_relative_to(node)
    assert spec.mmproj is not None
    assert spec.mmproj.endswith("tiny-mmproj-f16.gguf")

    successor = NodeFiles(sources)
    assert successor.needs_access
    await successor.look()
    assert not successor.needs_access, "all is in the cache"
    assert successor.placed(SPEC) == spec


async def test_a_node_with_an_access_of_its_own_is_lent_none(
    hub: Hub, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    files = NodeFiles(FileSources(PINNED))
    assert not files.needs_access
    await brought(files)
    assert Path(files.placed(SPEC).model_path).name == NAME


async def test_a_refusal_has_the_reason_and_no_secret(hub: Hub, node: Path) -> None:
    hub.gated.add("org/tiny")
    with pytest.raises(FilesMissing, match=r"can't be had: hf:org/tiny is gated") as refusal:
        await brought(NodeFiles(FileSources(PINNED)), {"HF_ENDPOINT": hub.url})
    source = f"{hub.url}/files/none.gguf?signature=sesame"
    with pytest.raises(FilesMissing, match=r"none.gguf can't be had: .*\(404\)") as missing:
        await brought(NodeFiles(FileSources(source)))
    for error in (refusal, missing):
        assert not [each for each in (TOKEN, "sesame") if each in str(error.value)]


async def test_another_version_of_the_repository_is_not_taken(hub: Hub, node: Path) -> None:
    source = f"hf:org/tiny@{'f' * 40}:{NAME}"
    with pytest.raises(FilesMissing, match="can't be had"):
        await brought(NodeFiles(FileSources(source)), {"HF_ENDPOINT": hub.url})


async def test_workers_that_start_together_share_a_download(hub: Hub, node: Path) -> None:
    sources = FileSources(f"{hub.url}/files/{NAME}")
    several = [NodeFiles(sources) for _ in range(3)]
    await asyncio.gather(*(brought(files) for files in several))
    assert len({files.placed(SPEC).model_path for files in several}) == 1
    assert len(hub.seen) == 1


async def test_a_download_is_ended_and_goes_on(hub: Hub, node: Path) -> None:
    """Progress is told meanwhile, now and then."""
    hub.hold_after = 1 << 17
    files = NodeFiles(FileSources(f"{hub.url}/files/{NAME}"))
    news: list[FileComes] = []

    async def listen() -> None:
        async for each in files.bring({}):
            news.append(each)

    task: Awaitable[None] = asyncio.create_task(listen())
    await until(lambda: news and news[-1].done)
    assert (news[-1].file, news[-1].total) == (NAME, len(CONTENT))
    files.stop()
    with pytest.raises(FilesMissing, match="given up"):
        await task
    hub.hold_after = None
    await until(hub.left.is_set)
    await brought(files)
    assert hub.seen[-1].range is not None
    assert content(files.placed(SPEC).model_path) == CONTENT
