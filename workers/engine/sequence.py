"""One generation: the tokens that are known, and how many of them are computed."""

import math
import time
from collections.abc import Sequence

import msgspec

from workers.chat_format import ParsedOutput, together
from workers.engine.answer_text import NOTHING, AnswerText, Voice
from workers.engine.new_tokens import NO_TOKENS, NewTokens
from workers.kv.kv import ResidentSequence, ScopeShift
from workers.kv.snapshots import PrefixSnapshot
from workers.llama import Context, Model, Sampler
from workers.media.source import NO_MEDIA, PlacedRun, SequenceMedia
from workers.output.constraint import BiasedAway, ConstraintFailed, Guide, allows, without
from workers.output.echo import Echo
from workers.output.line_limits import LineLimits
from workers.output.thought_budget import ThoughtBudget
from workers.planning.prompt_lookup import PromptLookup
from workers.protocol import (
    NO_ADAPTERS,
    AdapterSet,
    Drafts,
    Extra,
    Generate,
    GenerationParams,
    Logprob,
    TokenChance,
    scope_of,
)
from workers.sampling.logprobs import LogprobReader

FORESEEN = 256
"""Tokens of its answer that a sequence is given room for when cells are divided."""


class EngineSequence:
    """A request on its way through the engine.

    ``tokens`` holds the prompt and everything sampled since. Cells exist for the first
    ``computed`` of them, as ``resident`` says, which is None without cells.
    """

    def __init__(
        self,
        request: Generate,
        model: Model,
        prompt: list[int],
        limit: int,
        guide: Guide | None = None,
        voice: Voice | None = None,
        echo: Echo | None = None,
        ends: Sequence[str] = (),
        borders: Sequence[int] = (),
        lookup: PromptLookup | None = None,
        budget: ThoughtBudget | None = None,
        shown: str | None = None,
        activates: int | None = 0,
        media: SequenceMedia = NO_MEDIA,
    ) -> None:
        """``limit``: the most tokens it may hold. ``guide``: what its answer must look like.

        ``echo``: the prompt to be given back before the answer. ``ends``: texts with which the
        model's template ends a turn, where no token does. ``borders``: after how many tokens of
        the prompt other prompts are likely to part from it. ``lookup``: knows the prompt, and what
        an earlier attempt wrote. ``budget``: closes its thought. ``shown``: the prompt's text, if
        that is to be told. ``activates``: the token from which on its adapters count; None: none.
        ``media``: the pictures and sound in the prompt.
        """
        self.request = request
        self.adapted = NO_ADAPTERS if activates is None else request.params.adapters
        """Adapters of its tokens from ``activates`` on."""
        self.activates = activates or 0
        self.base_scope = request.cache_scope if self.activates else None
        """The name under which it shares what is computed without them, if anything is."""
        self.scope = scope_of(request.cache_scope, self.adapted, self.activates)
        """The name under which it shares the rest."""
        self.media = media
        self.prompt_tokens = len(prompt)
        self.tokens = prompt + request.resume
        self.borders = borders
        self.resident: ResidentSequence | None = None
        self.saved: PrefixSnapshot | None = None
        """State that it computed, while it is paused."""
        self.begun = 0
        """Tokens that were computed when it last got cells."""
        self.shown = shown
        """The prompt's text, until it is told."""
        self.started = False
        """True if the gateway was told that it took a slot."""
        self._model = model
        self._limit = limit
        self._sampler: Sampler | None = None
        self._guide = guide
        self.unsampled = 0
        """Tokens after the one that was sampled last: the guide left no choice."""
        self.lookup = lookup
        self.drafts: list[int] = []
        """Tokens that the next step computes after the known ones, in case that they are chosen."""
        self._drafted = 0
        """Number of those that were foreseen; the others only make all streams equally long."""
        self._echo = echo
        # An answer that must look like something ends where that ends.
        self._ignore_eos = request.params.ignore_eos and guide is None
        own = frozenset() if self._ignore_eos else model.eog
        self._ends = own.union(request.params.stop_token_ids)
        """The tokens that end it."""
        self._least = request.params.min_tokens
        self._banned = _banned(request.params)
        turn_ends = () if self._ignore_eos else ends
        lines = _line_limits(request)
        self._text = AnswerText(model.pieces, voice, request.params.stop, turn_ends, lines)
        self._budget = budget
        if budget is not None:
            budget.begin(thinking=self._text.thinking, fits=self._fits)
        wanted, room = request.params.max_tokens, limit - len(prompt)
        self.max_tokens = room if wanted is None else min(wanted, room)

    @property
    def prompt(self) -> list[int]:
        return self.tokens[: self.prompt_tokens]

    @property
    def known(self) -> int:
        return len(self.tokens)

    @property
    def computed(self) -> int:
        """Tokens that have cells."""
        return 0 if self.resident is None else self.resident.length

    @property
    def shift(self) -> ScopeShift | None:
        """Return the beginning that it shares in another scope, if there is one."""
        return None if self.base_scope is None else ScopeShift(self.base_scope, self.activates)

    @property
    def adapters(self) -> AdapterSet:
        """Return the adapters with which its next tokens are computed."""
        return self.adapted if self.computed >= self.activates else NO_ADAPTERS

    @property
    def needs(self) -> int:
        """Cells that it takes before long: some of its answer's are foreseen."""
        return self.known + min(self.max_tokens - self.sampled, FORESEEN)

    @property
    def lacks(self) -> int:
        """Tokens that are known and not computed: one while it decodes, more while it prefills."""
        return len(self.tokens) - self.computed

    def until_border(self, count: int) -> int:
        """Return how many of the next ``count`` tokens come before the next border."""
        borders = (*self.borders, self.activates, *self.media.starts)
        ends = (border - self.computed for border in borders if border > self.computed)
        return min(count, *ends, count)

    @property
    def medium(self) -> PlacedRun | None:
        """Return the medium whose row comes next, if none of its tokens does."""
        return self.media.at(self.computed) if self.media.placed else None

    @property
    def sampled(self) -> int:
        """Tokens of the completion so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def rank(self) -> float:
        """Its place in the gateway's queue, in seconds; a running stream is before all prompts."""
        streams = self.sampled > 0 and self.lacks <= 1 + self.unsampled
        return -math.inf if streams else self.request.rank

    @property
    def scoring(self) -> bool:
        """Return whether it is yet to be found out how likely the prompt's tokens were."""
        return self._echo is not None and self._echo.lacks is not None

    @property
    def reads(self) -> bool:
        """Return whether its prompt is to be computed for its own sake, and is not yet."""
        return self.request.params.compute_prompt and self.lacks > 0

    @property
    def shares(self) -> bool:
        """Return whether it may start from what others computed, which comes without logits."""
        return self.request.params.cache_prompt and not self.scoring

    @property
    def logits_from(self) -> int:
        """The first token after which logits are wanted, as after all that follow it."""
        lacks = None if self._echo is None else self._echo.lacks
        return (self.known if lacks is None else lacks) - 1

    def score(self, context: Context, row: int) -> None:
        """Judge tokens of the prompt after a step whose last row for this sequence is ``row``."""
        assert self._echo is not None
        while (index := self._echo.lacks) is not None and index <= self.computed:
            reader = self._logprob_reader(context, row - self.computed + index)
            self._echo.add(self._logprob(self.tokens[index], reader))

    def take_echo(self) -> Echo | None:
        """The prompt to be given back now, if all about it is known: once."""
        if self.scoring:
            return None
        echo, self._echo = self._echo, None
        return echo

    @property
    def sampler(self) -> Sampler:
        """Made on first use; an earlier attempt's tokens are replayed into sampler and text."""
        if self._sampler is None:
            request = self.request
            self._sampler = Sampler(
                self._model,
                request.params.sampling,
                ignore_eos=self._ignore_eos,
                window=self._limit,
            )
            if self._guide is not None and self._budget is None:
                self._guide.replay(request.resume)
            for at, token in enumerate(request.resume, start=1):
                self._sampler.accept(token)
                if self._guide is not None and self._budget is not None:
                    self._guide.replay([token])  # what fits is asked after each of them
                self._hear(token, stops=at > self._least)
            self._text.go_on()
        return self._sampler

    def _hear(self, token: int, *, stops: bool) -> ParsedOutput:
        """Take the text of a token, and look if a thought has to end after it."""
        found = self._text.push(token, stops=stops)
        if self._budget is not None:
            text = self._text
            self._budget.after(thinking=text.thinking, whole=text.whole, fits=self._fits)
        return found

    def _fits(self, tokens: list[int]) -> bool:
        """Return whether the answer's form lets these tokens come next."""
        return self._guide is None or self._guide.fitting(tokens) == len(tokens)

    def choose(self, context: Context, row: int) -> tuple[int, Logprob | None]:
        """The next token, from the logits of batch row ``row``, and how likely it was, if wanted.

        Raises :class:`workers.output.constraint.ConstraintFailed`.
        """
        sampler = self.sampler
        # Read before the guide masks the row: what is told is the model's own opinion.
        reader = (
            None if self.request.params.logprobs is None else self._logprob_reader(context, row)
        )
        if self._budget is not None and self._budget.due:
            token = self._budget.due[0]
            sampler.accept(token)
            return token, None if reader is None else self._logprob(token, reader)
        if self._guide is not None and self._text.free and self._ends:
            # Not masked: what the model would not have written by itself ends the answer.
            token = sampler.sample(context, row, self.sampled)
            if not allows(self._guide.allowed(), token):
                token = min(self._ends)
            return token, None if reader is None else self._logprob(token, reader)
        if self._guide is not None:
            context.allow(row, self._open(self._guide.allowed()))
        elif self.sampled < self._least and self._ends:
            context.ban(row, list(self._ends))
        wanted = self.request.params.logprobs
        if wanted is not None and self.request.params.final_logprobs:
            token, own, top = sampler.sample_told(context, row, self.sampled, wanted)
            return token, self._told(token, own, top)
        token = sampler.sample(context, row, self.sampled)
        return token, None if reader is None else self._logprob(token, reader)

    def _open(self, allowed: bytes) -> bytes:
        """Return what of a guide's mask is left: of one that allows only the end, the end."""
        if self._banned and not any(without(allowed, self._banned)):
            raise BiasedAway("every token that the answer's form allows here is banned")
        if self.sampled >= self._least:
            return allowed
        longer = without(allowed, self._ends)
        return longer if any(without(longer, self._banned)) else allowed

    def _logprob_reader(self, context: Context, row: int) -> LogprobReader:
        return context.logprobs(row, self.request.params.logprobs or 0)

    def _logprob(self, token: int, reader: LogprobReader) -> Logprob:
        return self._told(token, reader.of(token), reader.top)

    def _told(self, token: int, own: float, top: list[tuple[int, float]]) -> Logprob:
        """Return a token and the likeliest ones with their log probabilities."""
        shown = self._model.shown
        return Logprob(
            TokenChance(token, shown(token), own),
            [TokenChance(id_, shown(id_), logprob) for id_, logprob in top],
        )

    @property
    def foresees(self) -> bool:
        """Return whether it has an idea of the tokens after the next one."""
        return self.lookup is not None and self.lookup.rate > 0

    @property
    def room(self) -> int:
        """The most drafts that it can hold."""
        return self._limit - self.known

    def draft(self, count: int) -> None:
        """Choose ``count`` tokens to be computed after the known ones.

        Those that would end the answer, or that its form forbids, are in vain.
        """
        lookup, most = self.lookup, max(0, min(count, self.max_tokens - self.sampled - 1))
        found = [] if lookup is None else lookup.draft(most)
        end = next((at for at, token in enumerate(found) if token in self._ends), len(found))
        if self._guide is not None and end:
            end = self._guide.fitting(found[:end])
        self._drafted = end
        self.drafts = found[:end] + [self.tokens[-1]] * (count - end)

    def advance(self, context: Context, row: int) -> NewTokens:
        """Choose the token after batch row ``row``, and those after each draft that was chosen.

        The rows of drafts follow. What comes out is what single steps would have brought: each
        token is chosen in the same way and order, and the first that is no draft is the last.

        Raises :class:`workers.output.constraint.ConstraintFailed`, unless there are tokens before
        that: then the next step raises it.
        """
        drafts, self.drafts = self.drafts, []
        predicted = bool(drafts) and self.lookup is not None and self.lookup.predicted
        whole, same = NO_TOKENS, 0
        while whole.reason is None and same == len(whole.ids):
            try:
                found = self.append(*self.choose(context, row + same))
            except ConstraintFailed:
                if not whole.ids:
                    raise
                break
            whole = whole.then(found)
            while same < min(len(drafts), len(whole.ids)) and drafts[same] == whole.ids[same]:
                same += 1
        self.unsampled = max(0, self.lacks - same - 1)
        if not drafts:
            return whole
        drafted, self._drafted = self._drafted, 0
        told = Drafts(drafted, min(same, drafted), predicted) if drafted else None
        return whole._replace(drafts=told, kept=same)

    def append(self, token: int, logprob: Logprob | None) -> NewTokens:
        """Take a sampled token, how likely it was, and those that must follow it.

        Its probability is told at once, even if its text is held back or taken away by a stop
        string: it was sampled and is counted, and a later attempt would not have its logits. Only
        the token that ends a turn is no part of the answer.

        Returns them, the text they released, what else they brought, and why the generation ends,
        if so. Raises :class:`workers.output.constraint.ConstraintFailed`.
        """
        ids = [token]
        found, reason = self._push(token)
        for forced in self._forced() if reason is None else ():
            self.sampler.accept(forced)
            more, reason = self._push(forced)
            ids.append(forced)
            found = together(found, more)
            if reason is not None:
                break
        self.unsampled = len(ids) - 1
        if reason is not None:
            found = together(found, self._text.finish(cut=reason == "length"))
        content, reasoning, calls = found
        extra = Extra(reasoning, calls) if reasoning or calls else None
        if logprob is not None and token not in self._ends:
            extra = msgspec.structs.replace(extra or Extra(), logprobs=[logprob])
        if reason == "stop" and self._text.called:
            reason = "tool_calls"
        return NewTokens(ids, content, extra, reason)

    def _forced(self) -> list[int]:
        """Tokens about which there is no choice: they are computed in one step, unsampled.

        They close a thought, or are all that the guide allows. To tell every token's probability
        takes the logits before each.
        """
        if self.request.params.logprobs is not None:
            return []
        if self._budget is not None and self._budget.due:
            return list(self._budget.due)
        return [] if self._guide is None or self._text.free else self._guide.forced()

    def _push(self, token: int) -> tuple[ParsedOutput, str | None]:
        self.tokens.append(token)
        if self.lookup is not None:
            self.lookup.push(token)
        if token in self._ends:
            return NOTHING, "stop"
        if self._guide is not None:
            self._guide.take(token)
        found = self._hear(token, stops=self.sampled > self._least)
        if self._text.cut:
            return found, "length"
        if self._text.stopped or (self._guide is not None and self._guide.done):
            return found, "stop"
        return found, "length" if self.sampled >= self.max_tokens else None

    @property
    def stop(self) -> str | None:
        """Return the stop string of the request's that ended the answer, if one did."""
        met = self._text.met
        return met if met in self.request.params.stop else None

    def close(self) -> None:
        """Free what the sampler holds in C."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None


def _banned(params: GenerationParams) -> list[int]:
    """Return the tokens that the request rules out."""
    return [token for token, bias in params.sampling.logit_bias if bias == -math.inf]


def _line_limits(request: Generate) -> LineLimits | None:
    """Return what lets a line end the answer, if the request wants that."""
    params, spent_ms = request.params, request.spent_ms if request.resume else None
    if not params.indent and not params.line_limit_ms:
        return None
    return LineLimits(
        params.indent, params.line_limit_ms, lambda: time.perf_counter() * 1000, spent_ms
    )


Chunk = tuple[EngineSequence, int]
"""A sequence and how many of its tokens a step computes."""
