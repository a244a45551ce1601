"""The reference page of the API, from the gateway's OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from gateway.config.api_keys import Keyring
from tests.support.api_description import description

Object = dict[str, Any]
_LARGE = 2**31 - 1
"""Bounds from here on are those of an integer's size, and not told."""


def api_page() -> str:
    """Return the endpoints by group, then the schemas to which they refer."""
    # With a key, so that it says which endpoints need one.
    document = description(Keyring.load(SecretStr("a key"), None))
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    common = set.intersection(*(set(_errors(each)) for each in operations.values()))
    groups: dict[str, list[str]] = {}
    for title, operation in operations.items():
        groups.setdefault(operation["tags"][0], []).append(_operation(title, operation, common))
    found = [f"Any request may be answered with {_listed(sorted(common))}."]
    found += [f"## {group}\n\n" + "\n\n".join(texts) for group, texts in groups.items()]
    schemas = document["components"]["schemas"]
    shapes = "\n\n".join(_schema(name, schemas[name]) for name in sorted(schemas))
    return "\n\n".join([*found, f"## Schemas\n\n{shapes}"])


def _operation(title: str, operation: Object, common: set[tuple[str, str]]) -> str:
    lines = [f"### {title}", "", _sentence(operation["summary"])]
    if "description" in operation:
        lines += ["", _plain(operation["description"])]
    lines += ["", "| Part | Content |", "|---|---|"]
    if operation.get("security") == []:
        lines.append("| Key | not needed |")
    for parameter in operation.get("parameters", []):
        if "name" in parameter:
            where = parameter["in"].title()
            lines.append(f"| {where} | `{parameter['name']}`: {_cell(parameter['description'])} |")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"| Body | {_type(content['schema'])}, `{media}` |")
    for media, content in operation["responses"].get("200", {}).get("content", {}).items():
        lines.append(f"| Answer | {_answer(content['schema'])}, `{media}` |")
    own = [each for each in _errors(operation) if each not in common]
    if own:
        lines.append(f"| Errors | {_listed(own)} |")
    return "\n".join(lines)


def _errors(operation: Object) -> list[tuple[str, str]]:
    """Return the status and code of each error that an operation answers with."""
    return [
        (status, line.removeprefix("- ").partition(":")[0])
        for status, response in operation["responses"].items()
        if status != "200"
        for line in response["description"].splitlines()
    ]


def _listed(errors: list[tuple[str, str]]) -> str:
    """Return errors in words, each status once."""
    found: dict[str, list[str]] = {}
    for status, code in errors:
        found.setdefault(status, []).append(code)
    return "; ".join(f"{status} {', '.join(codes)}" for status, codes in found.items())


def _answer(schema: Object) -> str:
    """Return the type of an answer; of a stream that of its events' data."""
    data = schema.get("properties", {}).get("data", {}).get("anyOf")
    return _type(schema) if data is None else f"events of {_type(data[1]['contentSchema'])}"


def _schema(name: str, schema: Object) -> str:
    lines = [f"### {name}"]
    if "description" in schema:
        lines += ["", _plain(schema["description"])]
    if "properties" not in schema:
        return "\n".join([*lines, "", _type(schema)])
    required = schema.get("required", [])
    lines += ["", "| Field | Type | Meaning |", "|---|---|---|"]
    for field, inner in schema["properties"].items():
        notes = [_cell(inner.get("description", ""))]
        if "default" in inner:
            notes.append(f"Default `{_json(inner['default'])}`.".replace("|", "\\|"))
        kind = _type(inner)
        if field in required:
            notes.append("Required.")
        else:
            kind = kind.removesuffix(" or null")  # which is the same as its absence
        lines.append(f"| `{field}` | {kind} | {' '.join(filter(None, notes))} |")
    return "\n".join(lines)


def _type(schema: Object) -> str:
    """Return a type in words, with a link where it is a schema of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{_json(value)}`" for value in values)
    kind = schema.get("type", "any JSON")
    if kind == "array" and "prefixItems" in schema:
        kind = f"[{', '.join(_type(each) for each in schema['prefixItems'])}]"
    elif kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        kind = f"object of {_type(schema['additionalProperties'])}"
    bounds = ", ".join(_bounds(schema))
    return _cell(f"{kind} ({bounds})" if bounds else kind)


def _bounds(schema: Object) -> Iterator[str]:
    """Yield what a value must keep to: its range, its length, its pattern."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high < _LARGE:
        yield f"{low} to {high}"
    elif low is not None and low > -_LARGE:
        yield f"from {low}"
    elif high is not None and high < _LARGE:
        yield f"up to {high}" if "exclusiveMinimum" not in schema else f"above 0, up to {high}"
    if "maxLength" in schema:
        yield f"up to {schema['maxLength']:,} characters"
    if "maxItems" in schema:
        yield f"up to {schema['maxItems']:,}"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _sentence(text: str) -> str:
    return _plain(text) + ("" if text.endswith(".") else ".")


def _plain(text: str) -> str:
    """Return the text of a docstring as Markdown."""
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(_plain(text).split()).replace("|", "\\|")
