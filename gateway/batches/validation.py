"""All lines of a file, checked: one that is wrong, and none of them runs. Pure.

Every wrong line is named, up to :data:`MOST_NAMED`; the others are counted. What is kept of a line
that is right is a digest of its `custom_id`.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, NotRequired

import orjson
from typing_extensions import TypedDict

from gateway.batches.clusters import cluster
from gateway.batches.input_line import InputLine, LineWrong, input_line, shown
from gateway.batches.splitting import RawLine

MOST_LINES = 50_000
MOST_ENQUEUED = 500_000
"""Lines of all batches of a key that have not ended."""
MOST_INPUTS = 50_000
"""Texts of all lines of a batch of embeddings."""
MOST_NAMED = 500
EMBEDDINGS = "/v1/embeddings"


class BatchProblem(TypedDict):
    """An error of the file, as clients of OpenAI's read it."""

    code: str
    message: str
    param: NotRequired[str | None]
    line: NotRequired[int | None]
    """Of the input file; 1 is the first."""


class CheckedLine(NamedTuple):
    """A line that is right."""

    number: int
    custom_id: str
    cluster: bytes
    body: bytes
    """JSON."""


class InputCheck:
    """Takes the lines of one file, in their order."""

    def __init__(
        self,
        endpoint: str,
        model: Callable[[str | None], str | None],
        longest: int,
        room: int,
    ) -> None:
        """``model`` returns the served model that a name means for the batch's owner, if any.

        ``longest``: bytes of a line, to be told to clients; ``room``: lines that the owner may
        still enqueue.
        """
        self._endpoint, self._find, self._longest = endpoint, model, longest
        self._room = room
        self._problems = list[BatchProblem]()
        self._unnamed = 0
        self._seen = dict[bytes, int]()
        self._inputs = 0
        self._named: tuple[str | None, str] | None = None
        self.model: str | None = None
        """The served model of all lines, once there is one."""
        self.lines = 0
        """The number of lines so far."""
        self.over = False
        """True: there are too many, and the rest need not be looked at."""

    def take(self, raw: RawLine) -> CheckedLine | None:
        """Return a line that is right, and None for one that is wrong."""
        self.lines += 1
        if self.lines > min(MOST_LINES, self._room):
            self.over = True
            self._wrong(*self._too_many())
            return None
        try:
            return self._checked(raw)
        except LineWrong as wrong:
            self._wrong(wrong.code, wrong.message, wrong.param, raw.number)
            return None

    @property
    def wrong(self) -> bool:
        """Return whether any line is wrong so far."""
        return bool(self._problems)

    def problems(self) -> list[BatchProblem]:
        """Return what is wrong with the file, which has ended; nothing, if it may run."""
        if not self.lines:
            return [{"code": "empty_file", "message": "The input file has no lines."}]
        if self._unnamed:
            message = f"{self._unnamed} more lines are wrong."
            return [*self._problems, {"code": "more_errors", "message": message}]
        return self._problems

    def _wrong(
        self, code: str, message: str, param: str | None = None, line: int | None = None
    ) -> None:
        if len(self._problems) >= MOST_NAMED:
            self._unnamed += 1
            return
        self._problems.append({"code": code, "message": message, "param": param, "line": line})

    def _too_many(self) -> tuple[str, str]:
        if self.lines > MOST_LINES:
            return "too_many_lines", f"A batch has {MOST_LINES} lines at most."
        message = (
            f"The batches of this key have {MOST_ENQUEUED} lines that are not done, the most there "
            "may be: send this batch again when others have ended."
        )
        return "token_limit_exceeded", message

    def _checked(self, raw: RawLine) -> CheckedLine:
        if raw.data is None:
            message = f"The line has more than the {self._longest} bytes that a request may have."
            raise LineWrong("line_too_large", message)
        line = input_line(raw.data, (self._endpoint,))
        self._check_id(line, raw.number)
        self._check_model(line)
        self._count_inputs(line)
        try:
            body = orjson.dumps(line.body)
        except TypeError as error:  # nested more deeply than is written, though it was read
            raise LineWrong("invalid_json_line", f"'body': {error}", "body") from None
        return CheckedLine(raw.number, line.custom_id, cluster(line.body), body)

    def _check_id(self, line: InputLine, number: int) -> None:
        digest = hashlib.blake2b(line.custom_id.encode(), digest_size=16).digest()
        first = self._seen.setdefault(digest, number)
        if first != number:
            message = f"The custom_id {shown(line.custom_id)} is that of line {first}, too."
            raise LineWrong("duplicate_custom_id", message, "custom_id")

    def _check_model(self, line: InputLine) -> None:
        name = line.model
        if self._named is not None and name == self._named[0]:
            return
        found = self._find(name)
        if found is None:
            message = f"There is no model {'here' if name is None else shown(name)}."
            raise LineWrong("model_not_found", message, "body.model")
        if self.model is None:
            self.model = found
        elif found != self.model:
            message = (
                f"All lines of a batch are for one model, and the first ones for {self.model}."
            )
            raise LineWrong("mismatched_model", message, "body.model")
        self._named = name, found

    def _count_inputs(self, line: InputLine) -> None:
        if self._endpoint != EMBEDDINGS:
            return
        given = line.body.get("input")
        texts = isinstance(given, list) and not (given and isinstance(given[0], int))
        self._inputs += len(given) if texts and isinstance(given, list) else 1
        if self._inputs > MOST_INPUTS:
            message = f"A batch of embeddings has {MOST_INPUTS} inputs at most, of all its lines."
            raise LineWrong("too_many_inputs", message, "body.input")
