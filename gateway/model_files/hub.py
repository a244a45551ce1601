"""Models of the Hugging Face hub, in the cache that its other users share.

huggingface_hub knows the hub's API, its errors, tokens and the cache; the bytes come by
:mod:`gateway.model_files.download`. It reads HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HUB_OFFLINE
itself.
"""

from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils.tqdm import disable_progress_bars

from gateway.core.byte_sizes import MIB
from gateway.model_files import ownership
from gateway.model_files.download import (
    FetchFailed,
    FileToFetch,
    Unreachable,
    busy,
    client,
    fetch,
)
from gateway.model_files.fetch_bounds import FULL, NoRoom, bounded_files, check_room, room
from gateway.model_files.progress import DownloadProgress
from gateway.model_files.source import Hub, choose, projector_of

REVISION = "main"
MOST_OVER_HTTP = 50_000_000_000
"""Bytes of a file that the hub gives over plain HTTP; larger ones need its own transfer."""


def pull(source: Hub, tell: DownloadProgress, note: Callable[[str], None]) -> Path:
    """The first or only file of the model, in the cache.

    ``note`` gets a line if the hub can't be reached and what the cache has is taken. Raises
    :class:`FetchFailed`, or :class:`gateway.model_files.source.BadSource` for what is not there.
    """
    disable_progress_bars()
    try:
        info = HfApi().model_info(
            source.repository, revision=source.commit, files_metadata=True, timeout=20
        )
    except (OfflineModeIsEnabled, httpx2.TransportError) as error:
        return _from_cache(source, error, note)
    except (HfHubHTTPError, HFValidationError) as error:
        raise _refusal(source, error) from error
    siblings = {one.rfilename: one for one in info.siblings or ()}
    chosen = choose({name: one.size or 0 for name, one in siblings.items()}, source)
    try:
        paths = [_file(source, info, siblings[name], tell) for name in chosen.files]
        if source.projector:
            sizes = {name: one.size or 0 for name, one in siblings.items()}
            beside = projector_of(sizes, chosen.files[0])
            if beside is not None:
                _file(source, info, siblings[beside], tell)
    except (HfHubHTTPError, httpx2.TransportError) as error:
        raise _refusal(source, error) from error
    if len({path.parent for path in paths}) > 1:
        raise FetchFailed(f"hf:{source.repository} was changed meanwhile; try again")
    return paths[0]


def _file(source: Hub, info: ModelInfo, sibling: RepoSibling, tell: DownloadProgress) -> Path:
    """One file, from the cache if it is there."""
    name, repository = sibling.rfilename, source.repository
    known = try_to_load_from_cache(repository, name, revision=info.sha)
    if isinstance(known, str):
        return Path(known)
    lfs = sibling.lfs
    theirs = lfs is None or (blobs(repository) / lfs.sha256).exists()
    here = lfs is not None and lfs.size <= MOST_OVER_HTTP
    if lfs is not None and here:
        blob = blobs(repository) / lfs.sha256
        wanted = FileToFetch(
            hf_hub_url(repository, name, revision=info.sha, endpoint=constants.ENDPOINT),
            blob,
            name.rpartition("/")[2],
            lfs.size,
            lfs.sha256,
            build_hf_headers(),
        )
        with client() as http:
            # By this end of its name the hub's own tools know what is unfinished.
            fetch(http, wanted, blob.with_name(f"{blob.name}.forge.incomplete"), tell)
    path = _named(source, name, sibling.size, here=here)
    if not theirs:
        ownership.claim(path)
    return path


def _named(source: Hub, name: str, size: int | None, *, here: bool) -> Path:
    """Return a file by its name in the cache; huggingface_hub brings it if it is not ``here``.

    That writes whatever comes, so that its files are bounded from outside.
    """
    folder = Path(constants.HF_HUB_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    most = room(folder) if size is None else size + MIB
    try:
        if size is not None and not here:
            check_room(folder, size)
        with bounded_files(most):
            revision = source.commit or REVISION
            return Path(hf_hub_download(source.repository, name, revision=revision))
    except NoRoom as error:
        raise FetchFailed(f"{name}: {error}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        for part in blobs(source.repository).glob("*.incomplete"):
            if part.stat().st_size == most:  # no attempt could go on from it
                part.unlink()
        what = "the disk is full, or more comes than the file was to have; try again"
        raise FetchFailed(f"{name}: {what}") from error


def blobs(repository: str) -> Path:
    """Return the cache's folder with the contents of a repository's files, under their hashes."""
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / folder / "blobs"


def _from_cache(source: Hub, error: Exception, note: Callable[[str], None]) -> Path:
    """Find the model in the cache. Raises :class:`Unreachable`."""
    why = f"can't reach {constants.ENDPOINT} ({_line(error)})"
    if isinstance(error, OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set"
    repository = blobs(source.repository).parent
    try:
        commit = source.commit or (repository / "refs" / REVISION).read_text()
        snapshot = repository / "snapshots" / commit
        files = {
            str(path.relative_to(snapshot)): path.stat().st_size
            for path in snapshot.rglob("*.gguf")
        }
    except OSError:
        files = {}
    if not files:
        raise Unreachable(f"{why}, and the cache has nothing of hf:{source.repository}") from error
    chosen = choose(files, source)
    note(f"{why}; taken from the cache: {chosen.files[0]}")
    return snapshot / chosen.files[0]


def _refusal(source: Hub, error: Exception) -> FetchFailed:
    """Return the error for the user: :class:`Unreachable` for what another attempt may mend."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    passing = isinstance(error, httpx2.TransportError) or (status is not None and busy(status))
    return (Unreachable if passing else FetchFailed)(_explain(source, error))


def _explain(source: Hub, error: Exception) -> str:
    """Return the reason why the hub refuses, in one line."""
    name, endpoint = f"hf:{source.repository}", constants.ENDPOINT
    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: accept its terms at {endpoint}/{source.repository}, and set "
            "HF_TOKEN to a token that may read it"
        )
    if isinstance(error, RepositoryNotFoundError):
        return f"{name}: there is no such model, or it is private and HF_TOKEN may not read it"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return f"{name}: the hub does not accept the token (HF_TOKEN)"
        return f"{name}: the hub answers {status}"
    return f"{name}: {_line(error)}"


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
