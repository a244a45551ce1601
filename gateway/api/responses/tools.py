"""The tools of a request: what the model is shown, and how its calls are told again.

A model knows functions alone, by one name each. So a custom tool is shown as a function of one
text, and a tool of a namespace under a name made of both; what the model then calls is told under
the tool's own kind and names. Tools that another server would host are left out, and named.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from gateway.api.field_policy import IgnoredFields
from gateway.api.nested import Extensible, type_of
from gateway.api.openai.tools import MAX_TOOLS, NOT_OBJECTS
from gateway.api.other_names import of_pattern
from gateway.api.responses import text_argument
from gateway.api.responses.called_tool import CalledTool, flat
from gateway.api.schemas import MAX_GRAMMAR, GrammarSource, Schema
from gateway.conversation import FUNCTION_NAME, function_tool
from gateway.conversation import tool_use as use_of
from gateway.core.errors import BadRequest
from workers.protocol import Grammar, ToolUse

ITEMS = "input."
"""Begins the paths of tools that are declared in items."""
MAX_GRAMMARS = 2 * MAX_GRAMMAR
"""Characters of the grammars of all custom tools: a worker compiles them together."""

Name = Annotated[str, Field(pattern=FUNCTION_NAME)]


class FunctionDeclaration(Extensible):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None
    """True: a schema that can't be enforced is a 400. Otherwise what can be is."""


class GrammarFormat(Extensible):
    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: GrammarSource


class FreeFormat(Extensible):
    type: Literal["text"]


class CustomDeclaration(Extensible):
    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[FreeFormat | GrammarFormat, Field(discriminator="type")] | None = None
    """The form of the text that the tool takes; a grammar is enforced."""


class OtherDeclaration(Extensible):
    """A tool that is not served here: it is left out, and named in ``X-Ignored-Parameters``."""

    type: str


def _kind(value: Any) -> str:
    kind = type_of(value)
    return kind if kind in ("function", "custom", "namespace") else "other"


Inner = Annotated[
    Annotated[FunctionDeclaration, Tag("function")]
    | Annotated[CustomDeclaration, Tag("custom")]
    | Annotated[OtherDeclaration, Tag("namespace")]
    | Annotated[OtherDeclaration, Tag("other")],
    Discriminator(_kind),
]


class NamespaceDeclaration(Extensible):
    type: Literal["namespace"]
    name: Name
    description: str | None = None
    tools: Annotated[list[Inner], Field(max_length=MAX_TOOLS, fail_fast=True)]


Declaration = Annotated[
    Annotated[FunctionDeclaration, Tag("function")]
    | Annotated[CustomDeclaration, Tag("custom")]
    | Annotated[NamespaceDeclaration, Tag("namespace")]
    | Annotated[OtherDeclaration, Tag("other")],
    Discriminator(_kind),
]
Declarations = Annotated[list[Declaration], Field(max_length=MAX_TOOLS, fail_fast=True)]


class NamedChoice(Extensible):
    type: Literal["function", "custom"]
    name: Name
    namespace: str | None = None


class AllowedChoice(Extensible):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS, fail_fast=True)]


class OtherChoice(Extensible):
    """The choice of a tool that is not served here: it is left to the model."""

    type: str


def _choice_kind(value: Any) -> str:
    if isinstance(value, str):
        return "word"
    kind = type_of(value)
    if kind in ("function", "custom"):
        return "named"
    return "allowed" if kind == "allowed_tools" else "other"


Choice = Annotated[
    Annotated[Literal["none", "auto", "required", "any"], Tag("word")]
    | Annotated[NamedChoice, Tag("named")]
    | Annotated[AllowedChoice, Tag("allowed")]
    | Annotated[OtherChoice, Tag("other")],
    Discriminator(_choice_kind),
]


@dataclass(slots=True)
class ToolTable:
    """The tools of one request, by the names that the model knows."""

    by_name: dict[str, CalledTool] = field(default_factory=dict)
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Functions as the model is shown them."""
    places: dict[str, str] = field(default_factory=dict)
    """Their paths in the request, for errors."""
    grammars: dict[str, Grammar] = field(default_factory=dict)
    """Of the texts that custom tools take."""

    @property
    def paths(self) -> list[str]:
        """Return the path of each tool, in their order."""
        return [*self.places.values()]

    def called(self, name: str) -> CalledTool:
        """Return the tool that the model means."""
        return self.by_name.get(name) or CalledTool(name)

    def add(self, tool: CalledTool, path: str, *, again: bool) -> str:
        """Return the name by which the model knows a tool.

        ``again``: it may take the place of an older one. Raises BadRequest for a second one.
        """
        name = flat(tool.namespace, tool.name)
        if name in self.by_name and not again:
            raise BadRequest(f"'{path}': two tools have the name '{name}'", param=path)
        self.by_name[name], self.places[name] = tool, path
        self.grammars.pop(name, None)
        return name


_ADAPTER: TypeAdapter[list[Any]] = TypeAdapter(Declarations)


def declarations(given: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the path of each tool in some lists of them, and the tool. Raises BadRequest.

    Those of an item have not been validated with the body.
    """
    for path, tools in given:
        if path != "tools":
            try:
                tools = _ADAPTER.validate_python(tools or [])
            except ValidationError as error:
                where = ".".join(map(str, (path, *error.errors()[0]["loc"])))
                message = f"'{where}': {error.errors()[0]['msg']}"
                raise BadRequest(message, param=where) from None
        for at, tool in enumerate(tools or ()):
            yield f"{path}.{at}", tool


def table(declared: Iterable[tuple[str, Any]], ignored: IgnoredFields | None) -> ToolTable:
    """Return the tools that are declared at these paths.

    Those of an item are there from that item on, and those of a later one instead: an agent brings
    all items with each request. ``ignored`` learns of tools that are left out. Raises BadRequest
    for names that come twice elsewhere.
    """
    found = ToolTable()
    for path, tool in declared:
        _declare(found, tool, path, ignored)
    if len(found.declared) > MAX_TOOLS:
        raise BadRequest(f"'tools': there may be {MAX_TOOLS} at most", param="tools")
    if sum(len(grammar.source) for grammar in found.grammars.values()) > MAX_GRAMMARS:
        message = f"'tools': their grammars may have {MAX_GRAMMARS} characters together at most"
        raise BadRequest(message, param="tools")
    return found


def _declare(
    found: ToolTable, tool: Any, path: str, ignored: IgnoredFields | None, space: str | None = None
) -> None:
    again = path.startswith(ITEMS)
    if isinstance(tool, FunctionDeclaration):
        name = found.add(CalledTool(tool.name, space), path, again=again)
        parameters = _object(tool.parameters, f"{path}.parameters")
        found.declared[name] = function_tool(name, tool.description, parameters, tool.strict)
    elif isinstance(tool, CustomDeclaration):
        name = found.add(CalledTool(tool.name, space, custom=True), path, again=again)
        found.declared[name] = function_tool(name, tool.description, _one_text(tool.format))
        if isinstance(tool.format, GrammarFormat):
            found.grammars[name] = _grammar(tool.format, f"{path}.format.definition")
    elif isinstance(tool, NamespaceDeclaration):
        for index, inner in enumerate(tool.tools):
            _declare(found, inner, f"{path}.tools.{index}", ignored, tool.name)
    elif ignored is not None:
        ignored.add("type", path)


def _object(parameters: dict[str, Any] | None, path: str) -> dict[str, Any] | None:
    """Return a function's parameters. Raises BadRequest if they are no object's."""
    if parameters is not None and parameters.get("type") in NOT_OBJECTS:
        raise BadRequest(f"'{path}': it must be a schema of the type 'object'", param=path)
    return parameters


def _one_text(form: FreeFormat | GrammarFormat | None) -> dict[str, Any]:
    """Return the parameters of a function of one text, with its grammar for the model to read."""
    text = {"type": "string"}
    if isinstance(form, GrammarFormat):
        what = "Lark grammar" if form.syntax == "lark" else "regular expression"
        text["description"] = f"It follows this {what}:\n{form.definition}"
    return {
        "type": "object",
        "properties": {text_argument.NAME: text},
        "required": [text_argument.NAME],
        "additionalProperties": False,
    }


def _grammar(given: GrammarFormat, param: str) -> Grammar:
    if given.syntax == "regex":
        return of_pattern(given.definition, param)
    return Grammar(given.definition, param)


def tool_use(
    found: ToolTable, choice: Any, parallel: bool | None, ignored: IgnoredFields | None
) -> ToolUse | None:
    """Return the callable tools; None if none. Raises BadRequest if the choice is not offered."""
    required, allowed = _allowed(found, choice, ignored)
    mode: Literal["none", "auto", "required"] = "required" if required else "auto"
    if choice == "none":
        mode = "none"
    at_once = parallel is not False and not isinstance(choice, NamedChoice)
    use = use_of([*found.declared.values()], mode, allowed, parallel=at_once)
    return None if use is None else msgspec.structs.replace(use, grammars=found.grammars)


def _allowed(
    found: ToolTable, choice: Any, ignored: IgnoredFields | None
) -> tuple[bool, list[str]]:
    """Return (if a call is required, the functions that may be called)."""
    names = [*found.by_name]
    if isinstance(choice, NamedChoice):
        return True, [_chosen(found, choice.model_dump())]
    if isinstance(choice, AllowedChoice):
        served = [t for t in choice.tools if t.get("type") in ("function", "custom")]
        if len(served) < len(choice.tools) and ignored is not None:
            ignored.add("tools", "tool_choice")
        return choice.mode == "required", [_chosen(found, tool) for tool in served]
    if isinstance(choice, OtherChoice):
        if ignored is not None:
            ignored.add("type", "tool_choice")
        return False, names
    return choice in ("required", "any"), names


def _chosen(found: ToolTable, tool: Mapping[str, Any]) -> str:
    """Return the model's name of a chosen tool; without a namespace it may be in any.

    Raises BadRequest.
    """
    name, space = tool.get("name"), tool.get("namespace")
    for known, called in found.by_name.items():
        if called.name == name and (space is None or called.namespace == space):
            return known
    shown = str(name)[:64]
    raise BadRequest(f"'tool_choice': no tool '{shown}' among 'tools'", param="tool_choice")
