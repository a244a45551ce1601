"""The process that renders a model's chat template, and the worker's handle on it.

A template is a program that came with a download. Jinja's sandbox keeps it from reaching anything,
but not from running for ever, nor from one operation that takes minutes or gigabytes: doubled lists
in a ``tojson``, a string times a number. Those run in C and hold the GIL, so nothing in the same
interpreter could stop them, and the engine would wait too. Here the kernel limits CPU time and
memory, and a process that breaks a limit is replaced; only its request fails. CPU time, because on
a busy machine a harmless template waits for a core.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from workers.parent import die_with_parent
from workers.protocol import FrameDecoder, ProtocolError, children, encode
from workers.template.sandbox_messages import (
    Compile,
    Convert,
    Probe,
    Probed,
    Rejected,
    Render,
    Rendered,
    Reply,
    Request,
    SandboxLimits,
)
from workers.template.sources import FALLBACK, TemplateFailed, TemplateRefused

if TYPE_CHECKING:
    from workers.template.chat_template import ChatTemplate

READ_BYTES = 1 << 18
NO_MEMORY = 3
"""Exit code of a process that met its memory limit."""


class GrammarFailed(Exception):
    """A client sent an invalid grammar; the text is one line fit for the client."""


class SandboxFailed(Exception):
    """No process to render with: not the template's fault, as far as we know."""


# --------------------------------------------------------------------------- the worker's side


class TemplateSandbox:
    """Implements :class:`workers.input_processor.Sandbox`. For one thread at a time."""

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        """Starts the process and does not wait. Raises :class:`SandboxFailed`."""
        self._limits = limits or SandboxLimits()
        self._compile: Compile | None = None
        self._start()

    def compile(self, source: str | None, *, bos: str, eos: str) -> None:
        """Say which template. Raises :class:`TemplateFailed` or :class:`SandboxFailed`."""
        self._compile = Compile(source, bos, eos, self._limits)
        self._ask(self._compile)

    def render(
        self,
        messages: list[dict[str, Any]],
        now: float,
        tools: list[dict[str, Any]] | None = None,
        arguments: dict[str, Any] | None = None,
        *,
        opens: bool = True,
    ) -> str:
        """Render as :meth:`workers.template.chat_template.ChatTemplate.render` does.

        Raises :class:`TemplateFailed`, also when a limit was broken, or :class:`SandboxFailed`.
        """
        return self._text(Render(messages, now, tools, arguments, opens))

    def probe(self, conversations: list[list[dict[str, Any]]], now: float) -> list[str | None]:
        """Return what :meth:`workers.template.chat_template.ChatTemplate.probe` does.

        Raises :class:`TemplateFailed` when a limit was broken, or :class:`SandboxFailed`.
        """
        reply = self._try_twice(Probe(conversations, now))
        assert isinstance(reply, Probed)
        return reply.texts

    def to_lark(self, source: str) -> str:
        """A grammar in llguidance's Lark, from GBNF or Lark. Not a template, but as untrusted.

        Raises :class:`GrammarFailed`, also when a limit was broken: its parser takes minutes for
        some texts. Or :class:`SandboxFailed`.
        """
        try:
            return self._text(Convert(source))
        except TemplateFailed as error:
            raise GrammarFailed(str(error)) from error

    def _text(self, request: Render | Convert) -> str:
        reply = self._try_twice(request)
        assert isinstance(reply, Rendered)
        return reply.text

    def _try_twice(self, request: Render | Probe | Convert) -> Rendered | Probed:
        try:
            return self._answer(request)
        except SandboxFailed:
            return self._answer(request)  # it was killed, and need not be again

    def close(self) -> None:
        """End the process, whatever it does."""
        self._socket.close()
        self._end()

    def _end(self) -> int:
        """Kill the process; its exit code."""
        self._process.kill()
        return self._process.wait()

    def _answer(self, request: Render | Probe | Convert) -> Rendered | Probed:
        if self._process.poll() is not None:
            self.close()
            self._start()
            assert self._compile is not None
            self._ask(self._compile)
        return self._ask(request)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(self._limits.wall_s)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    children.command("workers.template.sandbox"),
                    env=children.environment(),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise SandboxFailed(f"templates can't be rendered: {error.strerror}") from error
        self._socket = ours

    def _ask(self, request: Request) -> Rendered | Probed:
        what = "the grammar" if isinstance(request, Convert) else "the model's chat template"
        replies: FrameDecoder[Reply] = FrameDecoder(Reply)
        try:
            self._socket.sendall(encode(request))
            while data := self._socket.recv(READ_BYTES):
                for reply in replies.feed(data):
                    if isinstance(reply, Rejected):
                        failure = TemplateRefused if reply.refused else TemplateFailed
                        raise failure(reply.reason)
                    return reply
        except TimeoutError:
            self._end()  # or a late answer would be taken for that to the next request
            reason = f"took more than {self._limits.wall_s:.0f} s"
            raise TemplateFailed(f"{what} {reason}") from None
        except ProtocolError:
            self._process.kill()
        except OSError:
            pass  # it hung up while we wrote
        raise self._ended(what)

    def _ended(self, what: str) -> TemplateFailed | SandboxFailed:
        """The process hung up over ``what``: why."""
        try:
            code = self._process.wait(self._limits.wall_s)
        except subprocess.TimeoutExpired:
            code = self._end()
        if code == -signal.SIGPROF:
            reason = f"took more than {self._limits.cpu_s:g} s"
        elif code == NO_MEMORY:
            reason = f"needed more than {self._limits.memory >> 20} MiB"
        else:
            return SandboxFailed(f"the process that renders templates ended with {code}")
        return TemplateFailed(f"{what} {reason}")


# --------------------------------------------------------------------------- the process


def main() -> None:
    """Answer requests on standard input, a stream socket, until the worker hangs up."""
    die_with_parent()
    _limit(resource.RLIMIT_CORE, 0)  # a broken limit is no bug to look into
    sock = socket.socket(fileno=os.dup(0))
    try:
        _serve(sock)
    except ConnectionError:
        return
    except MemoryError:
        os._exit(NO_MEMORY)


def _serve(sock: socket.socket) -> None:
    from workers.template.chat_template import ChatTemplate  # Jinja, which a worker has not

    requests: FrameDecoder[Request] = FrameDecoder(Request)
    template: ChatTemplate | None = None
    cpu_s = SandboxLimits().cpu_s
    while data := sock.recv(READ_BYTES):
        for request in requests.feed(data):
            if isinstance(request, Compile):
                cpu_s = request.limits.cpu_s
                _limit(resource.RLIMIT_AS, request.limits.memory)
            # Not RLIMIT_CPU, which counts whole seconds. The signal has no handler, so it ends us.
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            reply: Reply
            try:
                if isinstance(request, Compile):
                    source = FALLBACK if request.source is None else request.source
                    template = ChatTemplate(source, bos=request.bos, eos=request.eos)
                    reply = Rendered("")
                else:
                    reply = _reply(request, template)
            except TemplateFailed as error:
                reply = Rejected(str(error), isinstance(error, TemplateRefused))
            sock.sendall(encode(reply))
            if template is None:
                return


def _reply(request: Render | Probe | Convert, template: "ChatTemplate | None") -> Rendered | Probed:
    """Answer a request. Raises :class:`TemplateFailed`."""
    if isinstance(request, Convert):
        return Rendered(_lark(request.source))
    if template is None:
        return Rendered("")
    if isinstance(request, Probe):
        texts = template.probe(request.conversations, request.now)
        return Probed([None if text is None else _encodable(text) for text in texts])
    text = template.render(
        request.messages, request.now, request.tools, request.arguments, opens=request.opens
    )
    return Rendered(_encodable(text))


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which a template can write."""
    return text.encode("utf-8", "replace").decode()


def _lark(source: str) -> str:
    """Raises :class:`TemplateFailed`, the word for all that is rejected."""
    from llguidance.gbnf_to_lark import any_to_lark  # many models never need it

    try:
        return any_to_lark(source)
    except MemoryError:
        raise
    except Exception as error:  # any of Python's: it reads a foreign text without checks
        reason = " ".join(str(error).split())[:200]
        raise TemplateFailed(f"not a grammar in GBNF or Lark: {reason}") from error


def _limit(what: int, value: int) -> None:
    """Set a limit that can be raised again; an operator's own, if lower, stays."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS has no limit on address space
        resource.setrlimit(what, (value, hard))


if __name__ == "__main__":
    main()
