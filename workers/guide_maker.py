"""The form of an answer as a grammar: the request's constraint, and its calls and thoughts."""

import json
from collections.abc import Mapping

import msgspec

from workers.chat_format import ChatFormat, NotQuotable, text_in_json, text_rule
from workers.json_schema import Judge, Unenforceable
from workers.llama import Model
from workers.output.constraint import Compiler, ConstraintFailed, Guide, answer, only_anything
from workers.prompter import Sandbox
from workers.protocol import (
    BAD_CONSTRAINT,
    COMPUTE_FAILED,
    STRICT_SCHEMA,
    Chat,
    Generate,
    Grammar,
    JsonSchema,
    Prompt,
    ToolUse,
)
from workers.refused import InputRefused
from workers.template.sandbox import GrammarFailed, SandboxFailed

MOST_QUOTED = 1 << 20
"""Characters of a request's grammars of texts inside JSON: there a dot has some four hundred."""
NO_TOOLS = ToolUse([], [], required=False, parallel=False)


class GuideMaker:
    """Makes the guides of answers. For one thread."""

    def __init__(self, model: Model, sandbox: Sandbox, delimiters: Mapping[str, int]) -> None:
        """``delimiters``: the control tokens that delimit calls and thoughts."""
        self._sandbox = sandbox
        self._delimiters = delimiters
        self._compiler = Compiler(model.guide_tokenizer)

    def guide(self, request: Generate, thinking: bool, form: ChatFormat) -> Guide | None:
        """Return the constraint on the answer's form, if the request has one.

        What llguidance makes of a schema is asked only where it refuses the whole. Schemas that are
        not strict lose what is in the way then, or all that they say.
        """
        constraint, prompt = request.params.constraint, request.prompt
        use = prompt.tools if isinstance(prompt, Chat) else None
        if constraint is None and use is None:
            return None
        param = "tools" if constraint is None else constraint.param
        source = self._lark(constraint) if isinstance(constraint, Grammar) else None
        texts = {} if use is None else self._texts(use)
        content = constraint if isinstance(constraint, JsonSchema) else source
        failed = ""
        for judge in (None, self._compiler.judge(), only_anything):
            try:
                grammar = self._answer(content, prompt, thinking, form, judge, texts)
                probe = source is not None or bool(texts)
                return self._compiler.compile(grammar, request.cache_scope, probe=probe)
            except ConstraintFailed as error:
                failed = failed or f"'{param}' can't be enforced: {error}"
            except Unenforceable as error:
                if judge is not only_anything:
                    param = error.path
                    failed = f"'{param}' can't be enforced: {error}"
                break
            if not _has_lenient(content, use) and judge is not None:
                break
        raise InputRefused(BAD_CONSTRAINT, failed + self._hint(request, param), param)

    def _hint(self, request: Generate, param: str) -> str:
        """Return the way out, if the answer's schema is the trouble and there is one."""
        constraint = request.params.constraint
        if not isinstance(constraint, JsonSchema) or not param.startswith(constraint.param):
            return ""
        if constraint.within != STRICT_SCHEMA or not constraint.strict:
            return ""
        try:
            lenient = msgspec.structs.replace(constraint, strict=False)
            grammar = answer(lenient, judge=self._compiler.judge())
            self._compiler.compile(grammar, request.cache_scope, probe=False)
        except ConstraintFailed:
            return ""
        return "; with 'strict': false the rest of it is"

    def _lark(self, grammar: Grammar) -> str:
        try:
            return self._sandbox.to_lark(grammar.source)
        except GrammarFailed as error:
            message = f"'{grammar.param}' can't be enforced: {error}"
            raise InputRefused(BAD_CONSTRAINT, message, grammar.param) from error
        except SandboxFailed as error:
            raise InputRefused(COMPUTE_FAILED, str(error)) from error

    def _answer(
        self,
        content: JsonSchema | str | None,
        prompt: Prompt,
        thinking: bool,
        form: ChatFormat,
        judge: Judge | None,
        texts: Mapping[str, str] | None = None,
    ) -> str:
        """Return the grammar of the whole answer, or of its rest: text, calls and thoughts."""
        if not isinstance(prompt, Chat):
            return answer(content, judge=judge)
        use, thoughts = prompt.tools or NO_TOOLS, form.thoughts
        free = content is None
        return answer(
            content,
            calls=form.calls.grammar(use, "content", self._special, free=free, judge=judge),
            thought=None
            if thoughts is None
            else thoughts.grammar(
                self._special, thinking=thinking, calls=bool(form.calls.in_thoughts(use))
            ),
            judge=judge,
            texts=texts,
        )

    def _texts(self, use: ToolUse) -> dict[str, str]:
        """Return the grammars of the texts that functions take, by the names of their rules."""
        found: dict[str, str] = {}
        room = MOST_QUOTED
        for index, name in enumerate(use.callable):
            if (grammar := use.grammars.get(name)) is None:
                continue
            try:
                text = text_in_json(self._lark(grammar))
                room -= len(text)
                if room < 0:
                    raise NotQuotable("inside JSON the grammars of the tools are too large")
            except NotQuotable as error:
                message = f"'{grammar.param}' can't be enforced: {error}"
                raise InputRefused(BAD_CONSTRAINT, message, grammar.param) from error
            found[text_rule(index)] = text
        return found

    def _special(self, text: str) -> str:
        """Return a text in a Lark grammar, or the control token of that name."""
        token = self._delimiters.get(text)
        return json.dumps(text) if token is None else f"<[{token}]>"


def _has_lenient(content: JsonSchema | str | None, use: ToolUse | None) -> bool:
    """Return whether a schema may lose what can't be enforced."""
    if isinstance(content, JsonSchema) and not content.strict:
        return True
    return use is not None and any(not tool["function"].get("strict") for tool in use.tools)
