"""One generation: the tokens that are known, and how many of them are computed."""

from typing import Any, Protocol

from workers.llama import Model, Sampler
from workers.protocol import (
    BAD_PROMPT,
    COMPUTE_FAILED,
    CONTEXT_OVERFLOW,
    Chat,
    Generate,
    Infill,
    Prompt,
    Tokens,
)
from workers.renderer import RendererFailed
from workers.template import TemplateFailed
from workers.text import TextStream


class Refused(Exception):
    """The prompt can't be served; ``code`` is one of the protocol's FAILURES."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        """``param`` is the field to blame, in OpenAI's names."""
        super().__init__(message)
        self.code = code
        self.param = param


class Sequence:
    """A request on its way through the engine.

    ``tokens`` holds the prompt and everything sampled since. Cells exist for the first
    ``computed`` of them, under the llama.cpp sequence id ``seq``; without cells ``seq`` is None.
    """

    def __init__(self, request: Generate, model: Model, prompt: list[int], limit: int) -> None:
        self.request = request
        self.prompt_tokens = len(prompt)
        self.tokens = prompt + request.resume
        self.seq: int | None = None
        self.computed = 0
        self.started = False
        """Whether the gateway was told that it took a slot."""
        self._model = model
        self._sampler: Sampler | None = None
        self._text = TextStream(request.stop)
        wanted = request.max_tokens
        room = limit - len(prompt)
        self.max_tokens = room if wanted is None else min(wanted, room)

    @property
    def known(self) -> int:
        return len(self.tokens)

    @property
    def sampled(self) -> int:
        """Tokens of the completion so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def sampler(self) -> Sampler:
        """Made on first use; an earlier attempt's tokens are replayed into sampler and text."""
        if self._sampler is None:
            request = self.request
            self._sampler = Sampler(self._model, request.sampling, ignore_eos=request.ignore_eos)
            for token in request.resume:
                self._sampler.accept(token)
                self._text.push(self._model.pieces[token])
        return self._sampler

    def append(self, token: int) -> tuple[str, str | None]:
        """Take a sampled token; return the text it released and why the generation ends, if so."""
        self.tokens.append(token)
        if token in self._model.eog and not self.request.ignore_eos:
            return self._text.flush(), "stop"
        text = self._text.push(self._model.pieces[token])
        if self._text.stopped:
            return text, "stop"
        if self.sampled >= self.max_tokens:
            return text + self._text.flush(), "length"
        return text, None

    def close(self) -> None:
        """Free what the sampler holds in C."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None


class Template(Protocol):
    """Messages in, prompt text out: :class:`workers.renderer.Renderer` in a worker."""

    def render(
        self,
        messages: list[dict[str, Any]],
        now: float,
        tools: list[dict[str, Any]] | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> str:
        """Raises :class:`TemplateFailed`, or :class:`RendererFailed` if nobody could try."""
        ...


class Preparer:
    """Turns a request into a sequence: template, tokeniser, and the checks that need them."""

    def __init__(self, model: Model, template: Template, limit: int) -> None:
        """``limit`` is the most tokens a sequence may hold, prompt and completion together."""
        self._model = model
        self._template = template
        self._limit = limit

    def prepare(self, request: Generate) -> Sequence:
        """Raises :class:`Refused`. Runs in a thread of its own while the engine decodes."""
        prompt = self._tokens(request.prompt, request.now)
        if not prompt:
            raise Refused(BAD_PROMPT, "the prompt holds no token")
        if len(prompt) >= self._limit:
            raise Refused(
                CONTEXT_OVERFLOW,
                f"the prompt has {len(prompt)} tokens, the context holds {self._limit} tokens "
                "for prompt and completion together",
            )
        return Sequence(request, self._model, prompt, self._limit)

    def _tokens(self, prompt: Prompt, now: float) -> list[int]:
        if isinstance(prompt, Tokens):
            return self._checked(prompt.ids)
        if isinstance(prompt, Infill):
            return self._infill(prompt)
        if isinstance(prompt, Chat):
            return self._model.tokenize(self._render(prompt, now))
        return self._model.tokenize(prompt.text)

    def _checked(self, ids: list[int]) -> list[int]:
        """llama.cpp ends the process over an id that it does not have."""
        wrong = next((id_ for id_ in ids if not 0 <= id_ < self._model.n_vocab), None)
        if wrong is not None:
            last = self._model.n_vocab - 1
            message = f"'prompt': token ids of this model are 0 to {last}, not {wrong}"
            raise Refused(BAD_PROMPT, message, "prompt")
        return list(ids)

    def _infill(self, prompt: Infill) -> list[int]:
        fim = self._model.fim
        if fim is None:
            raise Refused(BAD_PROMPT, "'suffix': this model has no tokens for infilling", "suffix")
        prefix, suffix = (
            self._model.tokenize(text, special=False) for text in (prompt.prefix, prompt.suffix)
        )
        return [*self._model.tokenize(""), fim.pre, *prefix, fim.suf, *suffix, fim.mid]

    def _render(self, prompt: Chat, now: float) -> str:
        try:
            text = self._template.render(prompt.messages, now)
        except TemplateFailed as error:
            raise Refused(BAD_PROMPT, str(error)) from error
        except RendererFailed as error:
            raise Refused(COMPUTE_FAILED, str(error)) from error
        # Many templates write BOS themselves; the tokeniser would add a second one.
        bos = self._model.special_text("bos")
        return text.removeprefix(bos) if bos and self._model.adds_bos else text
