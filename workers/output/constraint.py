"""The form of an answer, enforced token by token by llguidance.

A constraint allows a set of tokens at each position; the others' logits are masked before a token
is drawn. llama.cpp has a grammar sampler of its own, which never sees a request's grammar: nested
parentheses overflow its stack, and an ambiguous grammar can cost it half a minute a token. Here
every source has bounds, and what is still expensive is found out before the first step, in the
thread that prepares prompts; llguidance lets go of the GIL meanwhile, so the engine goes on.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from random import Random
from time import perf_counter, thread_time
from typing import Any, TypeVar

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from workers.json_schema import Judge, Unenforceable, enforceable
from workers.protocol import JsonSchema

LIMITS = LLParserLimits(step_max_items=4000)
"""One mask may cost some 20 ms at most, while a good one costs 0.02."""
KEPT = 32
"""Compiled grammars that are kept for the next request that asks for the same."""
JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Free white space would let a model write blanks until its tokens are used up."""
PROBED = 256
"""Tokens of a random walk through a client's grammar, before it is let into a batch."""
MEAN_S, BURST_S = 0.001, 0.1
"""CPU time that masks may take: for each token, and beyond that in all."""
SHOWN = 300
"""Characters of an error that a client is told."""
JUDGED = 2000
"""Parts of a request's schemas that are looked at one by one, where the whole can't be enforced."""


T = TypeVar("T")


class ConstraintFailed(Exception):
    """The constraint can't be enforced, or not any longer; the text is fit for the client."""


class BiasedAway(ConstraintFailed):
    """A bias bans every token that the constraint allows."""


class Guide:
    """One answer on its way through a grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._clock = perf_counter
        self._spent_s, self._tokens = 0.0, 0

    @property
    def done(self) -> bool:
        """Return whether nothing but the end can follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> bytes:
        """Return the tokens that may come next: a bit for each, the lowest of a byte first.

        Raises :class:`ConstraintFailed`.
        """
        return self._timed(self._matcher.compute_bitmask)

    def take(self, token: int) -> None:
        """``token`` was chosen. Raises :class:`ConstraintFailed` if it is not allowed."""
        self._tokens += 1
        self._timed(self._matcher.consume_token, token)

    def forced(self) -> list[int]:
        """The tokens that come next because nothing else can; to be taken one by one."""
        return self._timed(self._matcher.compute_ff_tokens)

    def fitting(self, tokens: list[int]) -> int:
        """Return how many of the first ``tokens`` could come next, one after the other.

        Asked of a copy, and free of charge: a guess must not be what a grammar fails by.
        """
        return int(self._matcher.deep_copy().validate_tokens(tokens))

    def replay(self, tokens: list[int]) -> None:
        """An earlier attempt chose these."""
        self._tokens += len(tokens)
        self._timed(self._matcher.consume_tokens, tokens)

    def _timed(self, work: Callable[..., T], *arguments: Any) -> T:
        """Bound what the grammar costs.

        A busy machine does not make a grammar a bad one: once the time by the wall is used up, CPU
        time is counted, anew. Not from the beginning, because to read it takes as long as a mask.
        """
        began = self._clock()
        result = work(*arguments)
        self._spent_s += self._clock() - began
        if self._matcher.is_error():
            raise ConstraintFailed(_told(self._matcher.get_error()))
        if self._spent_s > BURST_S + MEAN_S * self._tokens:
            if self._clock is thread_time:
                raise ConstraintFailed("the grammar is too ambiguous, or too complex, to enforce")
            self._clock = thread_time
            self._spent_s, self._tokens = 0.0, 0
        return result


def allows(allowed: bytes, token: int) -> bool:
    """Return whether a mask has a token. As in :meth:`Guide.allowed`."""
    return bool(allowed[token >> 3] >> (token & 7) & 1)


def without(allowed: bytes, tokens: Iterable[int]) -> bytes:
    """Return a mask without some tokens. As in :meth:`Guide.allowed`."""
    left = bytearray(allowed)
    for token in tokens:
        left[token >> 3] &= ~(1 << (token & 7))
    return bytes(left)


class Compiler:
    """Turns grammars into guides, for one vocabulary. For one thread at a time."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._kept: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        """Compiled grammars by scope and text, least recently used first."""

    def compile(self, grammar: str, scope: str = "", *, probe: bool) -> Guide:
        """A guide at the beginning of ``grammar``, in llguidance's JSON form.

        ``scope``: what was compiled for another one is compiled anew, which takes milliseconds, or
        time would tell which tools stand in other keys' prompts. ``probe``: its text comes from a
        client, which may have made it ambiguous. Raises :class:`ConstraintFailed`.
        """
        matcher = self._kept.pop((scope, grammar), None)
        if matcher is None:
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
            if matcher.is_error():
                raise ConstraintFailed(_told(matcher.get_error()))
            # The first mask makes much of what the later ones use.
            if not any(Guide(matcher).allowed()):
                raise ConstraintFailed("nothing satisfies it")
            if probe:
                self._walk(Guide(matcher.deep_copy()))
        self._kept[scope, grammar] = matcher
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return Guide(matcher.deep_copy())

    def judge(self) -> Judge:
        """Return a judge of the schemas of one request."""
        known: dict[str, str | None] = {}

        def judged(schema: dict[str, Any]) -> str | None:
            text = json.dumps(schema)
            if text not in known:
                if len(known) >= JUDGED:
                    return "the schema is too large"
                grammar = json.dumps({"grammars": [styled(schema)]})
                known[text] = _told(
                    LLMatcher.validate_grammar(grammar, self._tokenizer, limits=LIMITS)
                )
            return known[text] or None

        return judged

    def _walk(self, guide: Guide) -> None:
        """Meet the trouble that a grammar makes later on, such as work that grows with the text."""
        random = Random(0)
        ends = sum(1 << token for token in set(self._tokenizer.eos_tokens))
        for _ in range(PROBED):
            if guide.done:
                return
            allowed = int.from_bytes(guide.allowed(), "little") & ~ends
            if not allowed:
                return
            start = random.randrange(allowed.bit_length())
            guide.take(start + _lowest(allowed >> start))


def _lowest(bits: int) -> int:
    """The number of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1


def only_anything(schema: dict[str, Any]) -> str | None:
    """A judge who finds that no schema can be enforced but the one that allows all."""
    return "all schemas together are too large" if schema else None


def answer(
    content: JsonSchema | str | None,
    *,
    calls: str | None = None,
    thought: str | None = None,
    judge: Judge | None = None,
    texts: Mapping[str, str] | None = None,
) -> str:
    """The grammar of a whole answer, in llguidance's JSON form.

    ``content``: what its text may be, where a string is a Lark grammar and None any text. ``calls``
    and ``thought`` are Lark rules that define ``answer``, of ``content`` and tool calls, and
    ``start``, a thought that comes first; see :mod:`workers.chat_format`. ``texts`` are grammars in
    Lark that the rules of calls refer to, by their names. ``judge``: see
    :func:`workers.json_schema.enforceable`. Raises :class:`workers.json_schema.Unenforceable`.
    """
    rules = [
        "start: answer" if thought is None else "",
        "answer: content" if calls is None else calls,
        "content: @content",
        thought or "",
    ]
    more = [{"name": name, "lark_grammar": lark} for name, lark in (texts or {}).items()]
    first = {"lark_grammar": "\n".join(rules)}
    return json.dumps({"grammars": [first, _content(content, judge), *more]})


def _content(content: JsonSchema | str | None, judge: Judge | None) -> dict[str, Any]:
    if not isinstance(content, JsonSchema):
        return {"name": "content", "lark_grammar": content or "start: /(.|\\n)*/"}
    try:
        schema = enforceable(content.schema, strict=content.strict, judge=judge)
    except Unenforceable as error:
        raise error.within(content.param, *content.within) from error
    return {"name": "content", **styled(schema)}


def styled(schema: dict[str, Any]) -> dict[str, Any]:
    """A grammar of llguidance's for a schema."""
    return {"json_schema": {**schema, "x-guidance": JSON_STYLE}}


def _told(error: str) -> str:
    """An error of llguidance's in one line: what follows "<state>" is for its developers."""
    return " ".join(error.partition("<state>")[0][: 4 * SHOWN].split())[:SHOWN]
