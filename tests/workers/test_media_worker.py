"""A real worker process that takes pictures; the test is the gateway."""

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import generate
from tests.support.media_driver import TEMPLATE, asked, media_spec
from tests.support.pictures import audio, image
from tests.support.projectors import write_pair
from tests.support.server import DEADLINE_S
from tests.workers.test_main import Line
from workers.__main__ import main
from workers.protocol import (
    BAD_MEDIA,
    COMPUTE_FAILED,
    NOT_SUPPORTED,
    Answered,
    Ask,
    Cancel,
    CountTokens,
    Delta,
    Failed,
    Finished,
    Generate,
    QuestionFailed,
    Ready,
    Started,
    StartupFailed,
    Step,
    WorkerSpec,
    medium,
)

FIELD = "messages.0.content.0.image_url"


class MediaLine(Line):
    """The gateway's end, and all that was said of each generation."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.events: dict[int, list[Started | Delta | Finished | Failed]] = {}
        self.answers: dict[int, Answered | QuestionFailed] = {}
        self._reports = self.reports()

    def listen(self) -> object:
        """Take the next report."""
        report = next(self._reports)
        if isinstance(report, Answered | QuestionFailed):
            self.answers[report.id] = report
        for event in report.events if isinstance(report, Step) else ():
            assert isinstance(event, Started | Delta | Finished | Failed)
            self.events.setdefault(event.id, []).append(event)
        return report

    def ends(self, id_: int) -> Finished | Failed:
        """Wait for a generation's end."""
        while True:
            last = self.events.get(id_, [None])[-1]
            if isinstance(last, Finished | Failed):
                return last
            self.listen()

    def run(self, request: Generate) -> list[int]:
        """Return the tokens of an answer."""
        self.send(request)
        last = self.ends(request.id)
        assert isinstance(last, Finished), last
        return [
            id_ for e in self.events[request.id] if isinstance(e, Delta | Finished) for id_ in e.ids
        ]

    def ask(self, question: Ask) -> Answered | QuestionFailed:
        self.send(question)
        while question.id not in self.answers:
            self.listen()
        return self.answers[question.id]


@contextmanager
def worker(spec: WorkerSpec) -> Iterator[tuple[MediaLine, int]]:
    """A worker, and its process."""
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("spawn").Process(target=main, args=(theirs, spec))
    with theirs:
        process.start()
    assert process.pid is not None
    with ours:
        ours.settimeout(DEADLINE_S)
        yield MediaLine(ours), process.pid
    process.join(DEADLINE_S)
    process.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return write_pair("qwen2vl", EMBEDDED_MODEL, folder, template=TEMPLATE)


def children(pid: int) -> dict[int, str]:
    """The processes that a process has started, by their modules."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes().decode().split("\0")
        except (OSError, ValueError):
            continue
        if parent == pid and "-m" in words:
            found[int(path.parent.name)] = words[words.index("-m") + 1]
    return found


def encoder_of(pid: int) -> int:
    (found,) = (child for child, name in children(pid).items() if name == "workers.media.process")
    return found


def test_a_worker_with_a_projector(files: tuple[Path, Path]) -> None:
    """Its facts, a picture beside a stream, counting, refusals, its encoder's death and its own."""
    picture = asked("What ", image(1, FIELD), "?")
    with worker(media_spec(*files, timeout_s=1.0)) as (line, pid):
        ready = line.listen()
        assert isinstance(ready, Ready)
        assert (ready.model.sees, ready.model.hears) == (True, False)

        answer = line.run(generate(1, picture))
        counted = line.ask(Ask(1, CountTokens(picture, 0.0)))
        assert isinstance(counted, Answered)
        (started,) = (e for e in line.events[1] if isinstance(e, Started))
        assert json.loads(counted.json) == {"input_tokens": started.prompt_tokens}
        new = line.ask(Ask(2, CountTokens(asked(image(2, FIELD, 200, 100)), 0.0)))
        assert isinstance(new, Answered)

        refused = line.ask(Ask(3, CountTokens(asked(audio(1)), 0.0)))
        assert isinstance(refused, QuestionFailed)
        assert refused.code == NOT_SUPPORTED
        line.send(generate(2, asked("a ", medium("image", b"no", FIELD))))
        failed = line.ends(2)
        assert isinstance(failed, Failed)
        assert (failed.code, failed.param) == (BAD_MEDIA, FIELD)

        # A stream goes on while the encoder stands still, is ended, and another takes its place.
        os.kill(encoder_of(pid), signal.SIGSTOP)
        line.send(generate(3, "Once upon a time", max_tokens=1500))
        line.send(generate(4, asked("b ", image(4, FIELD))))
        line.send(generate(5, "Short", max_tokens=3))
        assert isinstance(line.ends(5), Finished), "texts don't wait for pictures"
        hung = line.ends(4)
        assert isinstance(hung, Failed)
        assert (hung.code, hung.param) == (COMPUTE_FAILED, FIELD)
        line.send(Cancel(3))
        assert isinstance(line.ends(3), Finished)
        assert line.run(generate(6, asked("b ", image(4, FIELD)))) != []
        assert line.run(generate(7, picture, cache_prompt=False)) == answer
        last = encoder_of(pid)
    deadline = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{last}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{last}").exists(), "it ends with its worker"


def test_pictures_that_are_given_up_are_not_encoded(files: tuple[Path, Path]) -> None:
    with worker(media_spec(*files)) as (line, pid):
        assert isinstance(line.listen(), Ready)
        encoder = encoder_of(pid)
        os.kill(encoder, signal.SIGSTOP)
        for id_ in (1, 2, 3):
            line.send(generate(id_, asked("b ", image(id_, FIELD)), max_tokens=1))
        for id_ in (2, 3):
            line.send(Cancel(id_))
        line.send(generate(4, "Short", max_tokens=1))
        assert isinstance(line.ends(4), Finished)
        os.kill(encoder, signal.SIGCONT)
        assert isinstance(line.ends(1), Finished)
        assert all(isinstance(line.ends(id_), Failed) for id_ in (2, 3))


def test_a_projector_that_does_not_fit_ends_the_start(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "mmproj.gguf"
    broken.write_bytes(files[1].read_bytes()[:500])
    with worker(msgspec.structs.replace(media_spec(*files), mmproj=str(broken))) as (line, _):
        told = line.listen()
        assert isinstance(told, StartupFailed)
        assert "mmproj.gguf" in told.message
