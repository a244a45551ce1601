"""JSON schemas as clients write them, made into what a grammar can hold an answer to. Pure."""

from workers.json_schema.enforceable import Judge, enforceable
from workers.json_schema.places import Unenforceable

__all__ = ["Judge", "Unenforceable", "enforceable"]
