"""The path of a request as the endpoints know it, however the client spells it.

Clients join addresses by hand: of ``http://host/v1/`` and ``/chat/completions`` comes a doubled
slash, of ``http://host/v1`` and ``/v1/models`` a doubled prefix, of ``http://host`` and OpenAI's
paths none. One normaliser stands before everything that looks at a path (keys, other origins,
routes, errors), so that no two of them see different ones:

    /v1//chat/completions/   /v1/chat/completions
    /v1/v1/models            /v1/models
    /chat/completions        /v1/chat/completions
    /v1/models/a%2F%2Fb      /v1/models/a//b

Only slashes that the client wrote as such count: an encoded one is a part of a name. Pure but for
the ASGI class at the end.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

VERSION = "/v1"
MOST_NEAR = 4
"""Paths that an error names."""
MAX_COMPARED = 80
"""Characters of an unknown path that are compared: the time grows with their square."""

_AGAIN = re.compile(r"\A(?:/v1)+(?=/v1(?:/|\Z))")


class PathTable:
    """The paths of all endpoints."""

    def __init__(self, paths: Iterable[str], shown: Mapping[str, str]) -> None:
        """``paths``: all, in starlette's notation.

        ``shown``: those that errors may name, with how they do it.
        """
        known = list(paths)
        self.literal = frozenset(path for path in known if "{" not in path)
        self._begins = tuple(path.partition("{")[0] for path in known if "{" in path)
        self._shown = shown

    def find(self, raw: str) -> str:
        """Return the decoded path that ``raw``, which is not decoded, is meant to be."""
        if not raw.startswith("/"):
            return unquote(raw)  # the "*" of OPTIONS
        plain = "/" + "/".join(filter(None, raw.split("/")))
        path = unquote(_AGAIN.sub("", plain))
        versioned = VERSION + path
        if not self._has(path) and self._has(versioned):
            return versioned
        return path

    def _has(self, path: str) -> bool:
        return path in self.literal or path.startswith(self._begins)

    def near(self, path: str) -> list[str]:
        """Return what errors name in place of an unknown path: the most alike, a few at most."""
        path = path[:MAX_COMPARED].lower()
        words = _words(path)
        tails = {known: known.removeprefix(VERSION) for known in self._shown}
        alike = get_close_matches(path.removeprefix(VERSION), tails.values(), MOST_NEAR)
        found = [known for known in self._shown if path and known.startswith(f"{path}/")]
        found += sorted(
            (known for known, tail in tails.items() if tail in alike),
            key=lambda known: alike.index(tails[known]),
        )
        found += [known for known in self._shown if words & _words(known)]
        return [self._shown[known] for known in dict.fromkeys(found)][:MOST_NEAR]


def _words(path: str) -> set[str]:
    """Return the parts of a path that say something."""
    return set(path.split("/")) - {"", "v1", "api"}


class NormalisedPaths:
    """Gives a request its path as :meth:`PathTable.find` finds it."""

    def __init__(self, app: ASGIApp, paths: PathTable) -> None:
        self._app = app
        self._find = paths.find
        self._literal = paths.literal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In place: the connection, too, looks at the path when it answers an error.
        if scope["type"] == "http" and scope["path"] not in self._literal:
            raw: bytes | None = scope.get("raw_path")
            scope["path"] = self._find(scope["path"] if raw is None else raw.decode("latin-1"))
        await self._app(scope, receive, send)
