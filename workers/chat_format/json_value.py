"""The end of a JSON value, in text that comes in pieces. Pure.

Only the lexical structure is looked at: strings, escapes in them, and how deep brackets are nested.
That the value is valid JSON is the constraint's business. Nothing is kept but a depth, so a piece
costs its own length, however long the value gets.
"""

import re

_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[^0-9A-Za-z+.\-]")
_SPACE = " \t\r\n"


class JsonValue:
    """One value: push text until it is done."""

    def __init__(self) -> None:
        self.done = False
        """True if the value is complete. A number at the very end of a text never knows."""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._scalar = False

    def push(self, text: str) -> int:
        """Return how many characters of ``text`` still belong to the value."""
        at = 0
        while at < len(text) and not self.done:
            if self._in_string:
                at = self._through_string(text, at)
            elif self._scalar:
                end = _SCALAR_END.search(text, at)
                self.done = end is not None
                at = end.start() if end else len(text)
            elif self._depth:
                structure = _STRUCTURE.search(text, at)
                at = self._bracket(text, structure.start()) if structure else len(text)
            else:
                at = self._begin(text, at)
        return at

    def _begin(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return at + 1
        if text[at] in '"{[':
            return self._bracket(text, at)
        self._scalar = True
        # What can't begin a value ends it at once: it is the next one's.
        return at

    def _bracket(self, text: str, at: int) -> int:
        """Take the quote or bracket at ``at``."""
        if text[at] == '"':
            self._in_string = True
        else:
            self._depth += 1 if text[at] in "{[" else -1
            self.done = self._depth == 0
        return at + 1

    def _through_string(self, text: str, at: int) -> int:
        if self._escaped:  # of \u1234 only the u: digits are harmless
            self._escaped = False
            return at + 1
        found = _STRING.search(text, at)
        if found is None:
            return len(text)
        if found.group() == "\\":
            self._escaped = True
        else:
            self._in_string = False
            self.done = self._depth == 0
        return found.end()
