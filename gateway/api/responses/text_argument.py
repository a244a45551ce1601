"""The one text argument of a call, read out of its JSON as that comes. Pure."""

import re

import orjson

NAME = "input"
"""The argument that a custom tool's text becomes."""
_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_OPEN = re.compile(
    r"\\(u[0-9a-fA-F]{0,3})?\Z|\\u[dD][89abAB][0-9a-fA-F]{2}(\\(u[0-9a-fA-F]{0,3})?)?\Z"
)
"""The beginning of an escape, or of a pair of them, at the end of a text."""
_END = re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL)


class TextArgument:
    """JSON in, in any pieces; the argument's text out."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self.ended = False
        """True: the text is complete."""

    def push(self, json: str) -> str:
        """Return the text that the next piece of JSON released."""
        if self.ended:
            return ""
        self._held += json
        if not self._inside:
            found = _HEAD.match(self._held)
            if found is None:
                return ""
            self._held, self._inside = self._held[found.end() :], True
        return self._text()

    def _text(self) -> str:
        found = _END.match(self._held)
        if found is not None:
            self.ended = True
            text, self._held = self._held[: found.end() - 1], ""
            return _unescaped(text)
        cut = _OPEN.search(self._held)
        # An escaped backslash is no beginning of another escape.
        if cut is not None and _escapes_end(self._held, cut.start()):
            text, self._held = self._held[: cut.start()], self._held[cut.start() :]
        else:
            text, self._held = self._held, ""
        return _unescaped(text)


def _escapes_end(text: str, at: int) -> bool:
    """Return whether the backslash at a place begins an escape: those before it are in pairs."""
    before = at
    while before and text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 0


def _unescaped(text: str) -> str:
    """Return a JSON string's text; half of a pair of surrogates becomes U+FFFD."""
    if "\\" not in text:
        return text
    try:
        return str(orjson.loads(f'"{text}"'))
    except orjson.JSONDecodeError:
        lone = re.sub(r"(?<!\\)((?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}", r"\1\\ufffd", text)
        try:
            return str(orjson.loads(f'"{lone}"'))
        except orjson.JSONDecodeError:
            return text
