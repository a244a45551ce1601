"""Getting one file over HTTP: resumed where it was interrupted, checked, then put in its place.

huggingface_hub throws away what came when its process ends, and does not compare hashes; a model
takes hours to come over a slow line. So this is our own, into its cache.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2

from gateway.model_files import response_facts
from gateway.model_files.fetch_bounds import FULL, FetchBounds, NoRoom, TooLong
from gateway.model_files.gguf import MAGIC, Unreadable, check_whole
from gateway.model_files.progress import DownloadProgress

ATTEMPTS = 5
"""In a row, without a byte in between."""
TIMEOUT_S = 20.0
"""Without a byte."""


class FetchFailed(Exception):
    """The reason why a file did not come, in one line."""


class Unreachable(FetchFailed):
    """No server answered."""


@dataclass(frozen=True, slots=True)
class FileToFetch:
    """A file to get."""

    url: str
    target: Path
    name: str
    """For people."""
    size: int | None = None
    sha256: str | None = None
    """In hexadecimal."""
    headers: Mapping[str, str] = field(default_factory=dict)


def busy(status: int) -> bool:
    """Return whether an answer of this status says nothing of the next one."""
    return status in (408, 429) or status >= 500


def client(transport: httpx2.BaseTransport | None = None) -> httpx2.Client:
    """One that follows redirects, without showing a token to another host.

    None leads from https to plain http, where what comes may be altered, nor to a service inside
    that speaks nothing else. ``transport`` replaces the network.
    """
    hooks = {"response": [_stay_on_https]}
    return httpx2.Client(
        follow_redirects=True, timeout=TIMEOUT_S, event_hooks=hooks, transport=transport
    )


def _stay_on_https(response: httpx2.Response) -> None:
    if response.url.scheme != "https" or not response.has_redirect_location:
        return
    try:
        to = response.url.join(response.headers["location"])
    except (httpx2.InvalidURL, ValueError) as error:
        raise FetchFailed("the server redirects to no address") from error
    if to.scheme != "https":
        raise FetchFailed("the server redirects to plain http, where what comes can be altered")


def fetch(
    http: httpx2.Client,
    wanted: FileToFetch,
    part: Path,
    tell: DownloadProgress,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Bring ``wanted`` to its target through ``part``, which stays if it is interrupted.

    A reader of the target sees a whole file or none. Raises :class:`FetchFailed`.
    """
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part, wanted.target) as stream:
            if stream is not None:
                _Download(http, wanted, part, stream, tell, sleep).run()
    except OSError as error:
        if isinstance(error.__context__, FetchFailed):  # nor could the rest be written at the end
            raise error.__context__ from error
        reason = f"can't write into {wanted.target.parent}: {error.strerror}"
        raise FetchFailed(f"{wanted.name}: {reason}") from error


@contextlib.contextmanager
def _alone(part: Path, target: Path) -> Iterator[BinaryIO | None]:
    """The part, which no other process writes now; None: another one has brought the target."""
    while True:
        with part.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is(part, stream):
                continue  # another process brought it, or threw it away, meanwhile
            try:
                yield None if target.exists() else stream
            finally:
                if _is(part, stream) and part.stat().st_size == 0:
                    part.unlink()
            return


def _is(part: Path, stream: BinaryIO) -> bool:
    """Return whether ``stream`` still is the file of that name."""
    try:
        return os.path.samestat(part.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


class _Download:
    """One file on its way."""

    def __init__(
        self,
        http: httpx2.Client,
        wanted: FileToFetch,
        part: Path,
        stream: BinaryIO,
        tell: DownloadProgress,
        sleep: Callable[[float], None],
    ) -> None:
        self._http, self._wanted, self._part = http, wanted, part
        self._stream, self._tell, self._sleep = stream, tell, sleep
        self._said = response_facts.ResponseFacts(wanted.size, wanted.sha256, None)
        self._note = part.with_name(f"{part.name}.validator")
        """Beside the part: which version of the file it belongs to."""
        self._unsure = False
        """True if nothing but the end of the connection says that this is the whole file."""

    def run(self) -> None:
        """Bring it. Raises FetchFailed, or OSError."""
        try:
            self._bring()
        except TooLong as error:
            self._throw_away()
            raise FetchFailed(f"{self._wanted.name}: {error}; nothing of it is kept") from error
        except NoRoom as error:
            raise FetchFailed(f"{self._wanted.name}: {error}{self._remains()}") from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            full = f"{self._wanted.name}: the disk of {self._part.parent} is full"
            raise FetchFailed(f"{full}{self._remains()}") from error

    def _remains(self) -> str:
        """Say what becomes of the part; one with which no attempt can go on is thrown away."""
        if not self._have():
            self._note.unlink(missing_ok=True)
            return ""
        if self._wanted.sha256 or self._note.exists():
            return "; what came so far is kept, and the next attempt goes on from there"
        self._throw_away()
        return "; what came is thrown away, for the server does not tell one version from another"

    def _bring(self) -> None:
        failures = 0
        while not self._complete():
            before = self._have()
            reason = self._request_or_reason(before)
            failures = 0 if self._have() > before else failures + 1
            if failures >= ATTEMPTS:
                raise Unreachable(f"{self._wanted.name}: {reason}")
            if reason is not None and not self._complete():
                self._sleep(min(8.0, 0.5 * 2**failures))
        self._check()
        os.fsync(self._stream.fileno())
        self._part.replace(self._wanted.target)
        self._note.unlink(missing_ok=True)

    def _request_or_reason(self, have: int) -> str | None:
        """Return the reason why what came is not all of it, if one request told."""
        try:
            self._request(have)
        except (httpx2.TransportError, httpx2.StreamError) as error:
            return _of_network(error)
        return None if self._complete() else "the server ends too early"

    def _have(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _complete(self) -> bool:
        size = self._said.size
        if size is not None and self._have() > size:
            self._begin_anew()
        return size is not None and self._have() == size

    def _begin_anew(self) -> None:
        self._stream.truncate(0)
        self._note.unlink(missing_ok=True)

    def _request(self, have: int) -> None:
        """One answer, as far as it comes. Without a length its end is the file's."""
        headers = {**self._wanted.headers, "Accept-Encoding": "identity"}
        validator = self._note.read_text() if self._note.exists() else None
        # A hash says what the file is, else the server has to.
        if have and (validator or self._wanted.sha256):
            headers["Range"] = f"bytes={have}-"
            if validator and not self._wanted.sha256:
                headers["If-Range"] = validator
        elif have:
            self._begin_anew()
        with self._http.stream("GET", self._wanted.url, headers=headers) as response:
            if response.status_code == 416 and have:
                self._begin_anew()
                return
            self._refuse_errors(response)
            at = response_facts.begin(response)
            if at != self._have():
                self._begin_anew()
                if at:
                    return
            self._said = self._merged(response)
            if self._said.size == 0:
                self._note.unlink(missing_ok=True)
                raise FetchFailed(f"{self._wanted.name}: what comes is empty, not a GGUF file")
            bounds = FetchBounds(self._part, self._said.size, hashed=self._said.sha256 is not None)
            bounds.begin(self._have())
            self._take(response, bounds)
        if self._said.size is None:
            self._said.size = self._have()
            self._unsure = self._said.sha256 is None

    def _refuse_errors(self, response: httpx2.Response) -> None:
        status = response.status_code
        if busy(status):
            raise httpx2.ReadError(f"the server answers {status}")
        if status >= 400:
            reasons = {401: "asks for a login", 403: "forbids it", 404: "has no such file"}
            reason = reasons.get(status, f"answers {status}")
            raise FetchFailed(f"{self._wanted.name}: the server {reason} ({status})")

    def _merged(self, response: httpx2.Response) -> response_facts.ResponseFacts:
        said = response_facts.said(response)
        if said.validator:
            self._note.write_text(said.validator)
        known = self._wanted
        return response_facts.ResponseFacts(
            known.size or said.size, known.sha256 or said.sha256, said.validator
        )

    def _take(self, response: httpx2.Response, bounds: FetchBounds) -> None:
        have = self._have()
        self._told(have)
        for chunk in response.iter_raw():
            if have == 0 and not chunk.startswith(MAGIC[: len(chunk)]):
                self._note.unlink(missing_ok=True)
                raise FetchFailed(f"{self._wanted.name}: what comes is not a GGUF file")
            bounds.grow(have, have + len(chunk))
            self._stream.write(chunk)
            self._stream.flush()
            have += len(chunk)
            self._told(have)

    def _told(self, have: int) -> None:
        self._tell(self._wanted.name, have, self._said.size, sha256=self._said.sha256)

    def _throw_away(self) -> None:
        self._part.unlink()
        self._note.unlink(missing_ok=True)

    def _check(self) -> None:
        """Raises :class:`FetchFailed` if the file is not the one that was meant."""
        if self._unsure:
            try:
                check_whole(self._part)
            except Unreadable as error:
                self._throw_away()
                raise FetchFailed(
                    f"{self._wanted.name}: it did not come whole; try again"
                ) from error
        if self._said.sha256 is None:
            return
        with self._part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self._said.sha256:
            self._throw_away()
            raise FetchFailed(
                f"{self._wanted.name}: it was damaged on the way (its SHA-256 is {found[:12]}..., "
                f"not {self._said.sha256[:12]}...) and thrown away; try again"
            )


def _of_network(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"nothing came for {TIMEOUT_S:.0f} seconds"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
