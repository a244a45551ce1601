"""The steps that a backtracking matcher takes for a regular expression, as browsers' matchers do.

What such a matcher takes for a text is quadratic or worse where two parts of a pattern can share
the same letters in many ways. A count of steps shows that on short texts, and without a clock.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

Fits = Callable[[str], bool]
CATEGORIES: dict[str, Fits] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda sign: sign.isalnum() or sign == "_",
}
NAMED = re.compile(r"\(\?<(?![=!])")


class Do(NamedTuple):
    """One instruction: a letter, a choice of two places, a jump, a mark, or a condition."""

    what: str
    value: Any = None


class Steps:
    """A pattern of JavaScript as a program of the usual machine: a place, a stack of choices."""

    def __init__(self, source: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of "[" in a set
            parsed = vars(re)["_parser"].parse(NAMED.sub("(?P<", source.replace("[^]", r"[\s\S]")))
        self._program: list[Do] = []
        self._add(parsed)
        self._program.append(Do("end"))

    def of(self, text: str) -> int:
        """Return the steps of looking for all matches, from the beginning of a text to its end."""
        steps, at = 0, 0
        while at <= len(text):
            end, taken = self._run(text, at)
            steps += taken
            at = max(at + 1, end or 0)
        return steps

    def _run(self, text: str, start: int, pc: int = 0) -> tuple[int | None, int]:
        program, steps = self._program, 0
        stack: list[tuple[int, int, dict[Any, int]]] = [(pc, start, {})]
        while stack:
            pc, at, marks = stack.pop()
            while True:
                steps += 1
                what, value = program[pc]
                pc += 1
                if what == "letter":
                    if at >= len(text) or not value(text[at]):
                        break
                    at += 1
                elif what == "choice":
                    stack.append((value, at, marks))
                elif what == "jump":
                    pc = value
                elif what == "mark":
                    marks = {**marks, value: at}
                elif what == "same":
                    again = text[marks[value, 0] : marks[value, 1]]
                    if not text.startswith(again, at):
                        break
                    at += len(again)
                elif what == "end":
                    return at, steps
                else:
                    holds, taken = self._holds(what, value, text, at)
                    steps += taken
                    if not holds:
                        break
                    pc = value[1] if isinstance(value, tuple) else pc
        return None, steps

    def _holds(self, what: str, value: Any, text: str, at: int) -> tuple[bool, int]:
        """Return whether a condition holds at a place, and the steps of finding out."""
        if what == "AT_BEGINNING":
            return at == 0, 0
        if what == "AT_END":
            return at == len(text), 0
        if what == "AT_BOUNDARY":
            word = CATEGORIES["CATEGORY_WORD"]
            around = [word(text[i]) if 0 <= i < len(text) else False for i in (at - 1, at)]
            return around[0] != around[1], 0
        (behind, wanted), _, inside = value
        if at < behind:
            return not wanted, 0
        end, steps = self._run(text, at - behind, inside)
        return (end is not None) == wanted, steps

    def _add(self, parsed: Any) -> None:
        for code, value in parsed:
            self._one(str(code), value)

    def _one(self, code: str, value: Any) -> None:
        program = self._program
        if code in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY"):
            program.append(Do("letter", _fits(code, value)))
        elif code == "SUBPATTERN":
            group, _, _, inside = value
            program.append(Do("mark", (group, 0)))
            self._add(inside)
            program.append(Do("mark", (group, 1)))
        elif code == "GROUPREF":
            program.append(Do("same", value))
        elif code == "AT":
            program.append(Do(str(value)))
        elif code in ("ASSERT", "ASSERT_NOT"):
            direction, inside = value
            behind = inside.getwidth()[1] if direction < 0 else 0
            at = len(program)
            program.append(Do("look"))
            self._add(inside)
            program.append(Do("end"))
            program[at] = Do("look", ((behind, code == "ASSERT"), len(program), at + 1))
        elif code == "BRANCH":
            self._branch(value[1])
        elif code == "MAX_REPEAT":
            self._repeat(*value)
        else:
            raise NotImplementedError(code)

    def _branch(self, alternatives: list[Any]) -> None:
        program, ends = self._program, list[int]()
        for alternative in alternatives[:-1]:
            choice = len(program)
            program.append(Do("choice"))
            self._add(alternative)
            ends.append(len(program))
            program.append(Do("jump"))
            program[choice] = Do("choice", len(program))
        self._add(alternatives[-1])
        for end in ends:
            program[end] = Do("jump", len(program))

    def _repeat(self, least: int, most: Any, inside: Any) -> None:
        program, choices = self._program, list[int]()
        for _ in range(least):
            self._add(inside)
        for _ in range(1 if str(most) == "MAXREPEAT" else most - least):
            choices.append(len(program))
            program.append(Do("choice"))
            self._add(inside)
        if str(most) == "MAXREPEAT":
            program.append(Do("jump", choices[0]))
        for choice in choices:
            program[choice] = Do("choice", len(program))


def _fits(code: str, value: Any) -> Fits:
    """Return the test of one letter."""
    if code == "LITERAL":
        return lambda sign: ord(sign) == value
    if code == "NOT_LITERAL":
        return lambda sign: ord(sign) != value
    if code == "ANY":
        return lambda sign: sign != "\n"
    if code == "RANGE":
        return lambda sign: value[0] <= ord(sign) <= value[1]
    if code == "CATEGORY":
        name = str(value)
        category = CATEGORIES[name.replace("NOT_", "")]
        return lambda sign: category(sign) != ("NOT_" in name)
    items = [(str(each), what) for each, what in value]
    negated = items[0][0] == "NEGATE"
    tests = [_fits(each, what) for each, what in items if each != "NEGATE"]
    return lambda sign: any(test(sign) for test in tests) != negated
