"""The questions that the shared suites put to any dialect, and the answers in shared words."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import httpx

DONE = "[DONE]"
OVERFLOW = {"n_prompt_tokens", "n_ctx"}
"""Beside the message about a prompt that is too long."""


@dataclass(frozen=True)
class Failure:
    """An error in any dialect's shape."""

    status: int
    code: str
    param: str | None
    message: str


@dataclass(frozen=True)
class Answer:
    """A generation in any dialect's shape."""

    text: str
    reason: str
    usage: dict[str, Any]
    headers: httpx.Headers
    body: Any


@dataclass(frozen=True)
class Told:
    """The outcome of a request, streamed or not: its text so far, and its reason or its error."""

    text: str
    reason: str = ""
    failure: Failure | None = None


class Dialect:
    """The way to ask, and to read what comes back."""

    name: str
    path: str
    field: str
    """Name of the prompt's field."""
    streams = True
    begins = b"data: "
    """Bytes that come with a stream's first chunk."""
    counted = "usage"
    """The field of a whole answer that tells its tokens."""
    named = True
    """True: answers and streams tell the request's name, not only their headers."""
    uncut: ClassVar[dict[str, Any]] = {}
    """Parameters without which its own defaults would cut improbable tokens."""
    open_ended = False
    """True: fields that Forge does not know are ignored whatever the operator says."""
    loads = False
    """True: a request without a prompt is no error, but loads the model."""
    maps = True
    """True: other programs' names for its fields are known, too."""
    caseless = False
    """True: models' names count without regard to case."""
    fractions = False
    """True: of an integer with a fraction that is left out."""
    stateful = "refused"
    """Fate of samplers that Forge does not have: `refused` or `ignored`."""
    streamed_codes: Mapping[str, str] = MappingProxyType({})
    """Codes that errors have in streams, by Forge's, where the dialect has a list of its own."""
    overflow = (
        r"This model's maximum context length is (?P<limit>\d+) tokens\. "
        r"However, your messages resulted in (?:at least )?(?P<tokens>\d+)"
    )
    """The words about a prompt that is too long."""

    def __repr__(self) -> str:
        return self.name

    # ------------------------------------------------------------------ to ask

    def value(self, prompt: str) -> Any:
        """The prompt as it stands in its field."""
        return prompt

    def body(self, prompt: str = "hello", **params: Any) -> dict[str, Any]:
        """The body of a request, with INFER's words in ``params``, ``stream`` and ``model``."""
        return {self.field: self.value(prompt), **params}

    def ask(
        self,
        client: httpx.Client,
        prompt: str = "hello",
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Answer:
        """A whole answer; anything but 200 fails the test."""
        response = client.post(self.path, json=self.body(prompt, **params), headers=headers)
        assert response.status_code == 200, response.text
        return self.answer(response)

    def stream(self, client: httpx.Client, prompt: str = "hello", **params: Any) -> list[Any]:
        """All chunks of a stream, without the final [DONE] where the dialect has one.

        A stream that ends in an error, or without an end, fails the test.
        """
        body = self.body(prompt, stream=True, **params)
        with client.stream("POST", self.path, json=body) as response:
            assert response.status_code == 200, response.read()
            chunks = self.chunks(response.iter_lines())
        assert self.error(chunks[-1]) is None, chunks[-1]
        return [chunk for chunk in chunks if chunk != DONE]

    # ------------------------------------------------------------------ to read

    def answer(self, response: httpx.Response) -> Answer:
        """The generation in a response of status 200; its shape is checked to the last key."""
        raise NotImplementedError

    def refusal(self, response: httpx.Response) -> Failure:
        """The error in a response; its shape is checked to the last key."""
        raise NotImplementedError

    def chunk(self, line: str) -> Any:
        """The chunk that a line of a stream brings; None if it brings none."""
        data = line.removeprefix("data: ")
        if data == line:
            return None
        return DONE if data == DONE else json.loads(data)

    def ended(self, chunk: Any) -> bool:
        """Return whether a chunk is the last one of a stream that ends well."""
        raise NotImplementedError

    def error(self, chunk: Any) -> Failure | None:
        """The error that a chunk tells, which is the last then."""
        raise NotImplementedError

    def piece(self, chunk: Any) -> str:
        """The text that a chunk brings."""
        raise NotImplementedError

    def reason(self, chunks: list[Any]) -> str:
        """The reason why a stream ended, in a chat's words."""
        raise NotImplementedError

    def chunks(self, lines: Iterable[str]) -> list[Any]:
        """The chunks of a whole stream: the last, and no other, is an end or an error."""
        found = [chunk for line in lines if (chunk := self.chunk(line)) is not None]
        last = [at for at, each in enumerate(found) if self.ended(each) or self.error(each)]
        assert last == [len(found) - 1], found[-3:]
        return found

    def joined(self, chunks: list[Any]) -> str:
        return "".join(map(self.piece, chunks))

    def told(self, response: httpx.Response) -> Told:
        """The outcome of a request that was made in any way, and read to its end."""
        if response.status_code != 200:
            return Told("", failure=self.refusal(response))
        if response.headers["content-type"] == "application/json":
            answer = self.answer(response)
            return Told(answer.text, answer.reason)
        chunks = self.chunks(response.text.split("\n"))
        failure, text = self.error(chunks[-1]), self.joined(chunks)
        return Told(text, failure=failure) if failure else Told(text, self.reason(chunks))


@dataclass(frozen=True)
class Way:
    """A dialect, streamed or not."""

    dialect: Dialect
    stream: bool

    def __str__(self) -> str:
        return f"{self.dialect}{'-stream' if self.stream else ''}"

    @property
    def path(self) -> str:
        return self.dialect.path

    def body(self, prompt: str = "hello", **params: Any) -> dict[str, Any]:
        return self.dialect.body(prompt, **({"stream": True} if self.stream else {}), **params)


def data_of(lines: Iterable[str]) -> Iterator[str]:
    """The data of server-sent events."""
    for line in lines:
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
