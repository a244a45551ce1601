"""The reference page of the API, from the gateway's OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from gateway.config.api_keys import Keyring
from tests.support.api_description import description

Object = dict[str, Any]
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more items",
    "maxItems": "at most {} items",
    "pattern": "pattern `{}`",
}


def api_page() -> str:
    """Return the endpoints by group, then the schemas to which they refer."""
    document = description(Keyring.load(SecretStr("a key"), None))  # which endpoints need one
    operations: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text = _operation(f"{method.upper()} {path}", operation)
            operations.setdefault(operation["tags"][0], []).append(text)
    found = [f"## {group}\n\n" + "\n\n".join(texts) for group, texts in operations.items()]
    schemas = document["components"]["schemas"]
    shapes = "\n\n".join(_schema(name, schemas[name]) for name in sorted(schemas))
    return "\n\n".join([*found, f"## Schemas\n\n{shapes}"])


def _operation(title: str, operation: Object) -> str:
    lines = [f"### {title}", "", _sentence(operation["summary"])]
    if "description" in operation:
        lines += ["", _plain(operation["description"])]
    lines += ["", "| Part | Content |", "|---|---|"]
    if operation.get("security") == []:
        lines.append("| Key | not needed |")
    for parameter in operation.get("parameters", []):
        if "name" in parameter:
            lines.append(f"| Path | `{parameter['name']}`: {_cell(parameter['description'])} |")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"| Body | {_type(content['schema'])}, `{media}` |")
    for media, content in operation["responses"]["200"].get("content", {}).items():
        lines.append(f"| Answer | {_answer(content['schema'])}, `{media}` |")
    for status, response in operation["responses"].items():
        if status != "200":
            lines.append(f"| {status} | {', '.join(_codes(response['description']))} |")
    return "\n".join(lines)


def _answer(schema: Object) -> str:
    """Return the type of an answer; of a stream that of its events' data."""
    data = schema.get("properties", {}).get("data", {}).get("anyOf")
    return _type(schema) if data is None else f"events of {_type(data[1]['contentSchema'])}"


def _codes(lines: str) -> Iterator[str]:
    for line in lines.splitlines():
        yield line.removeprefix("- ").partition(":")[0]


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
            notes.append(f"Default `{inner['default']}`.".replace("|", "\\|"))
        if field in required:
            notes.append("Required.")
        lines.append(f"| `{field}` | {_type(inner)} | {' '.join(filter(None, notes))} |")
    return "\n".join(lines)


def _type(schema: Object) -> str:
    """Return a type in words, with a link where it is a schema of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if "const" in schema:
        return _value(schema["const"])
    if "enum" in schema:
        return " or ".join(_value(each) for each in schema["enum"])
    kind = schema.get("type", "any JSON")
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(_type(each) for each in schema['prefixItems'])}]"
        kind = f"list of {_type(schema.get('items', {}))}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        kind = f"object of {_type(schema['additionalProperties'])}"
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return _cell(", ".join([kind, *bounds]))


def _value(value: Any) -> str:
    return "null" if value is None else f"`{value}`"


def _sentence(text: str) -> str:
    return _plain(text) + ("" if text.endswith(".") else ".")


def _plain(text: str) -> str:
    """Return the text of a docstring as Markdown."""
    return text.replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(_plain(text).split()).replace("|", "\\|")
