"""The items of a request as turns of a conversation.

An item was said already and can't be unsent, so a kind that is not known is read as a call or a
result if it looks like one, and is left out and named if it does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gateway.api.field_policy import IgnoredFields
from gateway.api.openai.media_parts import media_block
from gateway.api.openai.parts import MEDIA, TEXTS, OtherPart, text_of
from gateway.api.responses.called_tool import flat
from gateway.api.responses.text_argument import NAME as TEXT
from gateway.api.responses.thoughts import opened
from gateway.conversation import (
    AnyBlock,
    CallBlock,
    TextBlock,
    ThoughtBlock,
    Turn,
    arguments,
    written,
)
from gateway.core.errors import BadRequest

ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
MAX_NAME = 256
"""Characters of a name or an id."""
SILENT = frozenset(("additional_tools", "compaction", "item_reference", "mcp_list_tools"))
"""Kinds that say nothing to the model; references are followed before."""
DONE_BY = ("action", "arguments", "operation", "input", "code", "queries")
"""The fields in which calls of other kinds have what they ask for."""

Item = dict[str, Any]
Path = tuple[str | int, ...]


def turns(items: Sequence[Item], earlier: int, ignored: IgnoredFields | None) -> list[Turn]:
    """Return the turns that items are; each is one, to be gathered.

    ``earlier``: so many of them are of earlier requests, and the rest of this one. ``ignored``
    learns of what is left out. Raises BadRequest.
    """
    found = []
    for at, item in enumerate(items):
        path: Path = ("input", max(at - earlier, 0))
        read = _turns(item, path)
        if not read and ignored is not None and at >= earlier and kind_of(item) != "reasoning":
            ignored.add("type", *path)
        found += read
    return found


def _turns(item: Item, path: Path) -> list[Turn]:
    """Return what an item says; nothing if it is of a kind that is not known."""
    kind = kind_of(item)
    if kind == "message":
        return [_message(item, path)]
    if kind == "reasoning":
        thought = thought_in(item)
        return [Turn("assistant", [ThoughtBlock(thought)])] if thought else []
    if kind in ("function_call", "custom_tool_call"):
        return [Turn("assistant", [_call(item, path)])]
    if kind.endswith("_output"):
        return [_result(item.get("call_id"), item.get("output"), path)]
    return [] if kind in SILENT else _other(kind, item, path)


def _message(item: Item, path: Path) -> Turn:
    role = ROLES.get(str(item.get("role")))
    if role is None:
        names = ", ".join(f"'{name}'" for name in ROLES)
        raise _fault((*path, "role"), f"it should be one of {names}")
    content = item.get("content")
    blocks = _blocks(content, (*path, "content"))
    if not blocks and role != "assistant" and not isinstance(content, str):
        raise _fault((*path, "content"), "it should not be empty")
    return Turn(role, blocks)  # type: ignore[arg-type]


def _call(item: Item, path: Path) -> CallBlock:
    space = _short(item, "namespace", path, required=False) or None
    name = flat(space, _short(item, "name", path))
    if item["type"] == "custom_tool_call":
        text = item.get("input")
        given: Any = {TEXT: text if isinstance(text, str) else ""}
    else:
        given = arguments(item.get("arguments"), (*path, "arguments"))
    return CallBlock(_short(item, "call_id", path, required=False) or _id(path), name, given)


def _result(id_: Any, output: Any, path: Path) -> Turn:
    place = (*path, "output")
    if isinstance(output, dict) and str(output.get("type")) in MEDIA:
        output = [output]
    if output is None or isinstance(output, str) or _are_parts(output):
        blocks = _blocks(output, place)
    else:
        blocks = [TextBlock(written(output, place))]
    call_id = id_[:MAX_NAME] if isinstance(id_, str) and id_ else _id(path)
    return Turn("tool", blocks, call_id=call_id)


def _other(kind: str, item: Item, path: Path) -> list[Turn]:
    """Return a call of another kind, such as of a shell, with its result if it has one."""
    asked = next((item[name] for name in DONE_BY if item.get(name) is not None), None)
    if not kind.endswith("_call") or asked is None:
        return []
    id_ = item.get("call_id") or item.get("id")
    id_ = id_[:MAX_NAME] if isinstance(id_, str) and id_ else _id(path)
    name = item.get("name")
    if not (isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()):
        name = kind.removesuffix("_call")[:MAX_NAME]
    given = asked if isinstance(asked, dict | str) else {"input": asked}
    found = [Turn("assistant", [CallBlock(id_, name, arguments(given, path))])]
    output = item.get("output")
    return found if output is None else [*found, _result(id_, output, path)]


def _blocks(content: Any, path: Path) -> list[AnyBlock]:
    """Return the blocks of a message's content or of a result."""
    if content is None:
        return []
    if isinstance(content, str):
        return [TextBlock(content)]
    if not isinstance(content, list):
        raise _fault(path, "it should be a string or a list of parts")
    return [_block(part, (*path, at)) for at, part in enumerate(content)]


def _are_parts(output: Any) -> bool:
    """Return whether a result is a list of texts and objects; others are values of JSON."""
    return isinstance(output, list) and all(isinstance(part, str | dict) for part in output)


def _block(part: Any, path: Path) -> AnyBlock:
    if isinstance(part, str):
        return TextBlock(part)
    if not isinstance(part, dict):
        raise _fault(path, "it should be an object with a type")
    if "type" not in part and not isinstance(part.get("text"), str):
        return TextBlock(written(part, path))  # as shells' results are told
    kind = part.get("type", "input_text")
    if not isinstance(kind, str):
        raise _fault(path, "it should be an object with a type")
    if kind in TEXTS or kind == "refusal":
        text = part.get("refusal" if kind == "refusal" else "text")
        return TextBlock(text if isinstance(text, str) else "")
    read = text_of(OtherPart.model_validate({**part, "type": kind}))
    if read is not None:
        return TextBlock(read)
    return media_block(kind, part, path)


def _id(path: Path) -> str:
    """Return an id for a call or a result that has none."""
    return f"call_{path[-1]}"


def _fault(path: Path, message: str) -> BadRequest:
    field = ".".join(map(str, path))
    return BadRequest(f"'{field}': {message}", param=field)


def _short(item: Item, name: str, path: Path, *, required: bool = True) -> str:
    value = item.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        what = f"it should be a string of 1 to {MAX_NAME} printable characters"
        raise _fault((*path, name), what)
    return value


def kind_of(item: Item) -> str:
    """Return an item's type; that of a message may be left out."""
    kind = item.get("type")
    return kind if isinstance(kind, str) and kind else "message"


def thought_in(item: Item) -> str:
    """Return the thought in a reasoning item: from its seal, its content or its summary."""
    seal = item.get("encrypted_content")
    text = opened(seal) if isinstance(seal, str) else ""
    for name in ("content", "summary"):
        text = text or _joined(item.get(name))
    return text


def _joined(parts: Any) -> str:
    texts = [part.get("text") for part in parts or () if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


# ---------------------------------------------------------------------- as they are stored


PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "function_call_output": "fco",
    "custom_tool_call_output": "ctco",
}


def given_items(given: str | list[Item] | None) -> list[Item]:
    """Return a request's input as items."""
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given


def as_written(items: Any) -> Any:
    """Return a list of validated items as the client wrote them; a text as it is."""
    if items is None or isinstance(items, str):
        return items
    return [item.model_dump(exclude_unset=True) for item in items]


def named(items: Iterable[Item], request: str) -> list[Item]:
    """Return items with a type and an id each, no two the same, and messages' contents as parts.

    An id that a client gave stays, unless it could be none of ours.
    """
    found: dict[str, Item] = {}
    for at, item in enumerate(items):
        kind, id_ = kind_of(item), item.get("id")
        usable = isinstance(id_, str) and 0 < len(id_) <= MAX_NAME and id_.isprintable()
        if not usable or id_ in found:
            id_ = f"{PREFIXES.get(kind, 'item')}_{request}i{at:02x}"
        found[str(id_)] = _whole({**item, "id": id_, "type": kind})
    return [*found.values()]


def _whole(found: Item) -> Item:
    """Return an item with what a client may leave out."""
    if found["type"] == "message":
        found.setdefault("status", "completed")
        if isinstance(found.get("content"), str):
            assistant = found.get("role") == "assistant"
            more: Item = {"annotations": []} if assistant else {}
            part = {"type": "output_text" if assistant else "input_text"}
            found["content"] = [{**part, "text": found["content"], **more}]
    return found


def is_reference(item: Item) -> bool:
    """Return whether an item stands for a stored one."""
    return kind_of(item) == "item_reference" or item.keys() == {"id"}


def references(items: Iterable[Item]) -> set[str]:
    """Return the ids of stored items for which some of these stand."""
    return {str(item.get("id")) for item in items if is_reference(item)}


def referred(items: Iterable[Item], stored: Mapping[str, Item]) -> list[Item]:
    """Return items with the stored ones in the places of references. Raises BadRequest."""
    found = []
    for at, item in enumerate(items):
        if is_reference(item):
            found_item = stored.get(str(item.get("id")))
            if found_item is None:
                field = f"input.{at}.id"
                message = f"'{field}': there is no stored item of this id"
                raise BadRequest(message, param=field)
            item = found_item
        found.append(item)
    return found


def size_of(items: Iterable[Item]) -> int:
    """Return the bytes of items as JSON."""
    return sum(len(orjson.dumps(item)) for item in items)
