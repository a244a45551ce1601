"""From a request to a sequence: template, tokeniser, constraint, and the checks that need them."""

import math
from collections.abc import Callable

from msgspec.structs import replace

from workers.chat_format import ChatFormat, OutputParser, Thoughts
from workers.engine.answer_text import Voice
from workers.engine.embedder import Input
from workers.engine.sequence import EngineSequence
from workers.guide_maker import GuideMaker
from workers.llama import EmbeddingShape, Model
from workers.llama.pooling import Pooling
from workers.llama.tokenizer import Part
from workers.media.prompt import MediaPrompt, media_prompt
from workers.media.source import MediaSource, not_taken
from workers.output.echo import Echo
from workers.output.thought_budget import ThoughtBudget
from workers.pairs import PairWriter
from workers.planning.borders import borders
from workers.planning.invocation import last_of
from workers.planning.prompt_lookup import PromptLookup
from workers.prompt_tokens import PromptTokens, check_token_ids
from workers.prompter import Prompter, Sandbox, WrittenPrompt
from workers.protocol import (
    BAD_PARAMETER,
    BAD_PROMPT,
    COMPUTE_FAILED,
    CONTEXT_OVERFLOW,
    NOT_SUPPORTED,
    Chat,
    Generate,
    GenerationParams,
    Mixed,
    Text,
    TextPair,
    Tokens,
    longest_prompt,
    overflow_message,
    refusal,
)
from workers.refused import InputRefused
from workers.template.sandbox import SandboxFailed
from workers.template.sources import TemplateFailed, stops

MOST_PER_TOKEN = 16
"""Characters of a prediction that are read for each token an answer may have: few have as many."""


def _overflow(tokens: int, limit: int, what: str, param: str | None = None) -> InputRefused:
    message = overflow_message(what, str(tokens), limit, param)
    return InputRefused(CONTEXT_OVERFLOW, message, param, (tokens, limit))


def _fit(request: Generate, prompt: MediaPrompt, limit: int) -> None:
    """Take tokens out of a prompt if it is too long and may be cut.

    Raises :class:`InputRefused`.
    """
    params, tokens = request.params, prompt.tokens
    if len(tokens) + (params.max_tokens != 0) <= limit:
        return
    if params.cut_after is None:
        what = "messages" if isinstance(request.prompt, Chat) else "prompt"
        raise _overflow(len(tokens), limit, what)
    room = longest_prompt(limit, params.max_tokens)
    prompt.cut(min(params.cut_after, room // 2), room)


class InputProcessor:
    """Turns a request into a sequence or an input. For one thread."""

    def __init__(
        self,
        model: Model,
        sandbox: Sandbox,
        chat_format: ChatFormat,
        limit: int,
        embeddings: EmbeddingShape | None = None,
        *,
        generates: bool = True,
        broken: str | None = None,
        name: str = "this model",
        drafts: bool = False,
        media: MediaSource | None = None,
        batch: int = 0,
    ) -> None:
        """``limit`` is the most tokens a sequence may hold, prompt and completion together.

        ``embeddings``: None if the model gives none. ``generates``: whether it does anything else.
        ``broken``: why it can't chat, if so.
        ``name``: what clients call it. ``drafts``: whether sequences look up what comes next.
        ``media``: its pictures and sound, if it takes any. ``batch``: the most tokens of a step.
        """
        self._embeddings = embeddings
        self._generates = generates
        self._media = media
        self._batch = batch
        self._name = name
        self._model = model
        self._chat_format = chat_format
        self._prompter = Prompter(model, sandbox, chat_format, broken)
        self._pairs = PairWriter(model)
        self._stops = stops(model.chat_template, lambda mark: model.control_token(mark) is not None)
        self._limit = limit
        self._prompt_tokens = PromptTokens(model, limit, name)
        self._drafts = drafts
        delimiters = {text: model.control_token(text) for text in chat_format.preserved}
        self._delimiters = {text: token for text, token in delimiters.items() if token is not None}
        """Control tokens that delimit calls and thoughts."""
        self._guides = GuideMaker(model, sandbox, self._delimiters)

    def prepare(self, request: Generate) -> EngineSequence | Input:
        """Raises :class:`InputRefused`. Runs in a thread of its own while the engine decodes."""
        self._check_kind(request.params)
        if not request.params.generates:
            return self._input(request)
        request = self._bias_texts(request)
        self._check_bias(request)
        prompt, thinking, form = request.prompt, False, self._chat_format
        if isinstance(prompt, Chat):
            written = self._prompter.write(prompt, request.now)
            thinking, form = written.thinking, written.chat_format
            found = self._with_media(written, prompt, request.cache_scope)
            found.fit(self._after(prompt.before, found.tokens))
            # What was sent is with the runs, and not kept for longer than these need it.
            prompt = replace(prompt, media=[])
            request = replace(request, prompt=prompt)
        else:
            assert not isinstance(prompt, TextPair), "pairs are ranked"
            found = MediaPrompt(self._prompt_tokens.of(prompt, request.params.max_tokens), ())
        if not found.tokens:
            raise InputRefused(BAD_PROMPT, "the prompt holds no token")
        limit = min(self._limit, request.params.context or self._limit)
        _fit(request, found, limit)
        if self._media is not None:
            self._media.encode_new(found.slots)
        tokens = found.tokens
        guide = self._guides.guide(request, thinking, form)
        voice = self._voice(prompt, thinking, form) if isinstance(prompt, Chat) else None
        echo = self._echo(request, tokens) if request.params.echo else None
        ends = self._stops if isinstance(prompt, Chat) else ()
        marks = [] if self._model.can_cut else borders(tokens, self._is_control)
        lookup = self._lookup(request, tokens) if self._drafts else None
        budget = None if voice is None else self._budget(request, form.thoughts)
        tells = request.params.tell_prompt and not request.resume
        shown = self._shown(tokens) if tells else None
        return EngineSequence(
            request, self._model, tokens, limit, guide, voice, echo, ends, marks, lookup,
            budget, shown, self._activates(request, tokens), found.media,
        )  # fmt: skip

    def _with_media(self, written: WrittenPrompt, chat: Chat, scope: str) -> MediaPrompt:
        """Return the prompt's tokens, and the runs of its media. Raises :class:`InputRefused`."""
        if not written.marks:
            return MediaPrompt(self._prompter.tokenize(written), ())
        if self._media is None:
            raise not_taken(chat.media[0], self._name)
        tokenizer = self._model.tokenizer
        found = media_prompt(
            written.parts, written.marks, chat.media, tokenizer, self._media, scope
        )
        for each in found.media.placed:
            if not each.rows.causal and each.rows.count > self._batch:
                param = each.slot.medium.param
                message = f"a picture takes {each.rows.count} tokens, which this worker's steps"
                message = f"'{param}': {message} can't hold (--batch)"
                raise InputRefused(NOT_SUPPORTED, message, param)
        return found

    def _is_control(self, token: int) -> bool:
        return token >= 0 and self._model.is_control(token)

    def _activates(self, request: Generate, tokens: list[int]) -> int | None:
        """Return the token from which on the request's adapters count; None: they don't."""
        wanted = self._model.adapters.invocation(request.params.adapters)
        return last_of(wanted, tokens) if wanted else 0

    def _budget(self, request: Generate, thoughts: Thoughts | None) -> ThoughtBudget | None:
        """Return the limit of the answer's thought, if it has one and the model can think."""
        limit = request.params.thought_limit
        if limit is None or thoughts is None:
            return None
        last = request.params.thought_end.partition(thoughts.closing)[0]
        parts = [Part(last, False), Part(thoughts.end, True)]
        closing = self._model.tokenizer.tokenize_parts(parts, add_special=False)
        return ThoughtBudget(limit, closing)

    def _after(self, before: list[int], tokens: list[int]) -> list[int]:
        """Return a conversation's tokens after those that stand before it, with one beginning."""
        if not before:
            return tokens
        check_token_ids(before, self._model.n_vocab, "context")
        begin = self._model.tokenize("")
        return [*before, *(tokens[len(begin) :] if tokens[: len(begin)] == begin else tokens)]

    def _shown(self, tokens: list[int]) -> str:
        """Return the text of tokens, with the names of control tokens."""
        texts = (self._model.shown(token) for token in tokens if token >= 0)
        return b"".join(texts).decode("utf-8", "replace")

    def _lookup(self, request: Generate, tokens: list[int]) -> PromptLookup:
        """Return what drafts are looked up in: prompt, prediction, and an earlier attempt's answer.

        Of a prediction, so many tokens count as an answer may have.
        """
        text = request.params.prediction[: self._limit * MOST_PER_TOKEN]
        predicted = (
            self._model.tokenize(text, add_special=False, parse_special=False) if text else []
        )
        own = [token for token in tokens if token >= 0]
        return PromptLookup(own, predicted[: self._limit], request.resume)

    def _check_bias(self, request: Generate) -> None:
        """Refuse unknown ids, which llama.cpp skips, also as stops, and a ban of all tokens.

        llama.cpp samples an arbitrary token if all are banned.
        """
        n_vocab, params = self._model.n_vocab, request.params
        given = params.sampling.logit_bias
        biased = [token for token, _ in given]
        check_token_ids(biased, n_vocab, "logit_bias", code=BAD_PARAMETER)
        check_token_ids(params.stop_token_ids, n_vocab, "stop_token_ids", code=BAD_PARAMETER)
        banned = {token for token, bias in given if bias == -math.inf}
        if banned and (params.ignore_eos or params.min_tokens):
            banned |= self._model.eog
        if banned and params.min_tokens:
            banned.update(params.stop_token_ids)
        if len(banned) == n_vocab:
            raise InputRefused(BAD_PARAMETER, "'logit_bias': every token is banned", "logit_bias")

    def _check_kind(self, params: GenerationParams) -> None:
        """A model may be made for one kind of work only."""
        ranks = self._embeddings is not None and self._embeddings.pooling is Pooling.RANK
        embeds = self._embeddings is not None and not ranks
        able = {"generates": self._generates, "embeds": embeds, "ranks": ranks}
        message = refusal(self._name, params, **able)
        if message is not None:
            raise InputRefused(NOT_SUPPORTED, message, "model")

    def _input(self, request: Generate) -> Input:
        assert self._embeddings is not None
        longest, prompt, ranking = self._embeddings.longest, request.prompt, request.params.ranking
        if ranking is not None:
            assert isinstance(prompt, TextPair), "only pairs are ranked"
            return Input(request, self._pairs.write(prompt, ranking, longest))
        assert isinstance(prompt, Text | Tokens | Mixed), "embeddings take texts and tokens"
        tokens = self._prompt_tokens.of(prompt, None, "input")
        if not tokens:
            raise InputRefused(BAD_PROMPT, "'input': it holds no token", "input")
        if len(tokens) > longest:
            assert request.params.embedding is not None
            if not request.params.embedding.cut:
                raise _overflow(len(tokens), longest, "input", "input")
            end = tokens[-1:] if self._model.is_control(tokens[-1]) else []  # as SEP, or EOS
            tokens = [*tokens[: longest - len(end)], *end]
        return Input(request, tokens)

    def _bias_texts(self, request: Generate) -> Generate:
        """Return the request with the tokens of texts that it biases, among the tokens it names."""
        texts = request.params.text_biases
        if not texts:
            return request
        sums = dict[int, float]()
        given = [*request.params.sampling.logit_bias]
        for text, bias in texts:
            ids = self._model.tokenize(text, add_special=False, parse_special=False)
            given += [(id_, bias) for id_ in ids]
        for id_, bias in given:
            sums[id_] = sums.get(id_, 0.0) + bias
        sampling = replace(request.params.sampling, logit_bias=list(sums.items()))
        return replace(request, params=replace(request.params, sampling=sampling))

    def _echo(self, request: Generate, tokens: list[int]) -> Echo:
        """Return the prompt as given, without the BOS and the space that tokenisers put first."""
        prompt = request.prompt
        hidden = int(self._model.adds_bos and not isinstance(prompt, Tokens))
        pieces = [self._model.shown(token) for token in tokens[hidden:]]
        if isinstance(prompt, Text) and b"".join(pieces) == b" " + prompt.text.encode(
            "utf-8", "replace"
        ):
            pieces[0] = pieces[0][1:]
        return Echo(tokens[hidden:], pieces, hidden, scored=request.params.logprobs is not None)

    def _voice(self, prompt: Chat, thinking: bool, form: ChatFormat) -> Voice | None:
        """Return the parser of the answer, if it may hold more than text."""
        if prompt.tools is None and form.plain:
            return None
        shown = {token: text.encode() for text, token in self._delimiters.items()}
        use = prompt.tools
        free_after_call = use is not None and use.required and use.parallel
        return Voice(OutputParser(form, use=use, thinking=thinking), shown, free_after_call)


class LateInputProcessor:
    """An input processor for requests that are rare, made with the first one. For one thread."""

    def __init__(self, make: Callable[[], InputProcessor]) -> None:
        """``make`` may raise TemplateFailed or SandboxFailed; the next request tries again."""
        self._make = make
        self._made: InputProcessor | None = None

    def prepare(self, request: Generate) -> EngineSequence | Input:
        """Raises :class:`InputRefused`."""
        if self._made is None:
            try:
                self._made = self._make()
            except (TemplateFailed, SandboxFailed) as error:
                raise InputRefused(COMPUTE_FAILED, str(error)) from error
        return self._made.prepare(request)
