"""The configuration of pydantic models of what comes from outside."""

from pydantic import ConfigDict

STRICT = ConfigDict(strict=True, extra="forbid", defer_build=True)
"""No value of another type, no field that is not declared.

A validator is made when the first value is validated: the API has more than a hundred models, of
which a client needs a few, and to make all of them was a fifth of a server's start.
"""
