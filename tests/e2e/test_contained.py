"""Trouble stays with who makes it: the reason is told, and whoever runs beside notices nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.support.dialects import CHAT, COMPLETIONS, DIALECTS, Dialect, Failure
from tests.support.f32 import f32_copy
from tests.support.fuzzing import Got, answer, connect
from tests.support.server import DEADLINE_S, ForgeServer, environment, eventually, gone
from tests.support.traffic import Streaming

TEMPLATE = (EMBEDDED_MODEL.parent / "template.jinja").read_text("utf-8")
TROUBLE = {
    "RAISE": "{{ raise_exception('this model takes no such words') }}",
    "LOOP": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "HUGE": "{{ 'x' * 10 ** 10 }}",
    "LONG": "{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
}
REASONS = {
    "RAISE": "this model takes no such words",
    "LOOP": "took more than 2 s",
    "HUGE": "needed more than 512 MiB",
    "LONG": "out of all proportion",
}
PROMPTS = ["hello", "tell me a story about a fox", "count from one to twenty"]
PARAMS: dict[str, Any] = {"temperature": 1, "seed": 5, "ignore_eos": True, "max_tokens": 120}
MEGABYTE = b"x" * (1 << 20)


@pytest.fixture(scope="module")
def server(
    exact: tuple[Path, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForgeServer]:
    """One worker, whose model's template makes trouble for some words; nobody may end it."""
    directory = tmp_path_factory.mktemp("contained")
    parts = "".join(
        f"{{% if '{word}' in messages[-1].content %}}{source}{{% endif %}}"
        for word, source in TROUBLE.items()
    )
    f32_copy(EMBEDDED_MODEL, directory / "m.gguf", template=parts + TEMPLATE)
    options = ("--workers", "1", "--slots", "8", *exact[1])
    model = directory / "m.gguf"
    with ForgeServer(directory / "server", *options, model=model).serving() as server:
        pids = server.pids()
        yield server
        eventually(lambda: server.busy() == 0 and not server.waiting(), "all slots are free")
        assert server.pids() == pids, server.stderr


class Neighbour:
    """Streams one prompt over and over, until it is told to stop."""

    def __init__(self, server: ForgeServer, prompt: str) -> None:
        self.texts: list[str] = []
        self._server, self._prompt = server, prompt
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._enough.is_set():
            stream = Streaming(self._server, self._prompt, **PARAMS)
            text = stream.finish()
            self.texts.append(text if stream.done else f"{stream.status}: {stream.error}")

    def stop(self) -> list[str]:
        self._enough.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        return self.texts


@contextmanager
def neighbours(server: ForgeServer) -> Iterator[None]:
    """Others are served meanwhile, in the same batches, with the texts they have when alone."""
    expected = [Streaming(server, prompt, **PARAMS).finish() for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)
    running = [Neighbour(server, prompt) for prompt in PROMPTS]
    eventually(lambda: server.busy() == len(PROMPTS), "the neighbours run")
    try:
        yield
    finally:
        texts = [neighbour.stop() for neighbour in running]
    assert [set(each) for each in texts] == [{text} for text in expected]


def refused(server: ForgeServer, dialect: Dialect, prompt: str, **params: Any) -> Failure:
    with server.client() as client:
        return dialect.refusal(client.post(dialect.path, json=dialect.body(prompt, **params)))


@pytest.mark.parametrize(
    "word", [word for word in TROUBLE if word != "HUGE" or sys.platform == "linux"]
)
def test_templates(server: ForgeServer, word: str) -> None:
    with neighbours(server):
        failure = refused(server, CHAT, f"please {word} now", max_tokens=1)
        # And the next one is served.
        with server.client() as client:
            assert CHAT.ask(client, max_tokens=1, ignore_eos=True).reason == "length"
    assert (failure.status, failure.code) == (400, "invalid_prompt")
    assert REASONS[word] in failure.message


def test_prompt_larger_than_the_context(server: ForgeServer) -> None:
    with neighbours(server):
        for dialect in DIALECTS:
            failure = refused(server, dialect, "a b c d " * 1000)
            assert (failure.status, failure.code) == (400, "context_length_exceeded")
            assert "tokens" in failure.message


def rss(server: ForgeServer) -> int:
    """Bytes of memory that the gateway's process has in use."""
    pid = str(server.process.pid)
    done = subprocess.run(["ps", "-o", "rss=", "-p", pid], capture_output=True, check=True)
    return 1024 * int(done.stdout)


def send_100_mb(server: ForgeServer, head: bytes, before: bytes = b"", after: bytes = b"") -> Got:
    """Send all of it, whatever is answered meanwhile, looking at the gateway's memory."""
    usual = rss(server)
    with connect(server) as sock:
        sock.sendall(head)
        try:
            for _ in range(100):
                sock.sendall(before + MEGABYTE + after)
                assert rss(server) < usual + (40 << 20)
        except ConnectionError:
            pass  # it may hang up after its answer
        got = answer(sock)
    assert got is not None
    return got


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_body_of_100_mb(server: ForgeServer, dialect: Dialect) -> None:
    head = f"POST {dialect.path} HTTP/1.1\r\nHost: forge\r\n"
    with neighbours(server):
        length = f"Content-Length: {100 << 20}\r\n\r\n"
        got = send_100_mb(server, (head + length).encode())
        assert dialect.refusal(got.response()).code == "body_too_large"
        assert got.status == 413


def test_a_body_of_100_mb_in_chunks(server: ForgeServer) -> None:
    """Nobody said before how large it would be."""
    head = f"POST {CHAT.path} HTTP/1.1\r\nHost: forge\r\nTransfer-Encoding: chunked\r\n\r\n"
    with neighbours(server):
        got = send_100_mb(server, head.encode(), b"%x\r\n" % len(MEGABYTE), b"\r\n")
        assert CHAT.refusal(got.response()).code == "body_too_large"
        assert got.status == 413


def test_no_cells_left(start_server: Start, exact: tuple[Path, tuple[str, ...]]) -> None:
    """Eight sequences that want more than twice the cells there are, and one that can't have any.

    All end with the text they have when alone: some were put back, and went on from saved states.
    """
    model, options = exact
    tight = ("--workers", "1", "--slots", "8", "--ctx", "512", *options)
    server = start_server(*tight, model=model)
    long = {**PARAMS, "max_tokens": 150}
    prompts = [f"{n} {prompt}" for n in range(3) for prompt in PROMPTS][:8]
    expected = [Streaming(server, prompt, **long).finish() for prompt in prompts]
    before = server.workers()[0]
    streams = [Streaming(server, prompt, **long) for prompt in prompts]
    failure = refused(server, COMPLETIONS, "a b c d " * 300)
    texts = [stream.finish() for stream in streams]
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
    assert [stream.error or stream.broken for stream in streams] == [None] * 8
    assert texts == expected
    after = server.workers()[0]
    assert after["prefill_tokens"] - before["prefill_tokens"] <= 8, "only the last token of each"
    prompts_restored = before["prefill_tokens"]
    restored = after["restored_tokens"] - before["restored_tokens"]
    assert restored > prompts_restored, "the cells were enough: this tests nothing"
    server.stop()


# ------------------------------------------------------------------ the process of the templates


def renderers(server: ForgeServer) -> list[int]:
    """The processes that the workers started."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    workers = server.pids()
    return [pid for pid, parent in pairs if parent in workers]


def test_a_renderer_is_killed(server: ForgeServer) -> None:
    """Somebody ends it: the next conversation gets another one, and the worker stays."""
    (pid,) = renderers(server)
    with neighbours(server):
        os.kill(pid, signal.SIGKILL)
        with server.client() as client:
            assert CHAT.ask(client, max_tokens=1, ignore_eos=True).reason == "length"
    (other,) = renderers(server)
    assert other != pid


def test_renderers_end_with_their_workers(start_server: Start) -> None:
    server = start_server("--workers", "2", "--slots", "1")
    pids = renderers(server)
    assert len(pids) == 2
    worker = server.pids()[0]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: sum(map(gone, pids)) == 1, "the renderer of the dead worker ends")
    eventually(lambda: len({*server.pids()} - {worker}) == 2, "the worker is replaced")
    server.wait_ready()
    pids = renderers(server)
    assert len(pids) == 2
    server.stop()
    eventually(lambda: all(map(gone, pids)), "no renderer is left")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% if %}", "is broken: line 1: "),
        ("{{ " + "[" * 90_000, "is broken: maximum recursion depth"),
        ("{% for a in 'a' %}" * 25 + "{% endfor %}" * 25, "is broken: too many statically nested"),
        ("{{ 3 ** (3 ** 17) // 7 ** (3 ** 16) }}", "took more than 2 s"),
    ],
)
def test_a_template_that_can_not_be_compiled(tmp_path: Path, template: str, reason: str) -> None:
    """Given by the operator it ends the start; for a model's own see test_fallback."""
    (tmp_path / "t.jinja").write_text(template)
    command = [sys.executable, "-m", "gateway.cli", "serve", "--port", "0", "--workers", "1"]
    done = subprocess.run(
        [*command, "--chat-template-file", str(tmp_path / "t.jinja")],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("forge serve: error: the model's chat template ")
    assert reason in line
