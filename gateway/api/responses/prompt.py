"""The whole input of a request: what is stored of its conversation, what is new, and its tools."""

from dataclasses import dataclass

from starlette.requests import Request

from gateway.api.field_policy import IgnoredFields
from gateway.api.responses.archive import Archive
from gateway.api.responses.body import InputBody
from gateway.api.responses.history import HistoryEnd
from gateway.api.responses.items import (
    Item,
    as_written,
    given_items,
    kind_of,
    references,
    referred,
    size_of,
    turns,
)
from gateway.api.responses.tools import ITEMS, ToolTable, declarations, table, tool_use
from gateway.conversation import BLIND, Senses, TextBlock, Turn, gathered, rendered
from gateway.core.errors import BadRequest, NotFound, PreviousResponseNotFound
from gateway.media.lifting import LiftedTexts
from workers.protocol import Chat


@dataclass(frozen=True, slots=True)
class ReadInput:
    """The input of one request."""

    chat: Chat
    tools: ToolTable
    given: list[Item]
    """The items that the request brings."""
    link: HistoryEnd | None
    """The end of the stored response that they follow, if there is one."""
    earlier_size: int
    """Bytes of the items that were stored."""


async def read_input(
    given: InputBody, archive: Archive, request: Request, senses: Senses = BLIND
) -> ReadInput:
    """Return a request's input, for a model with these ``senses``.

    Raises BadRequest, or NotFound for a conversation.
    """
    owner = request.state.key.name
    ignored: IgnoredFields | None = getattr(request.state, "ignored_fields", None)
    link, earlier = await _earlier(given, archive, owner)
    items = given_items(as_written(given.input))
    if wanted := references(items):
        items = referred(items, await archive.find(owner, wanted))
    whole = [*earlier, *items]
    if not whole and given.instructions is None:
        raise BadRequest("'input' is required", param="input")
    more = [
        (f"{ITEMS}{max(at - len(earlier), 0)}.tools", item.get("tools"))
        for at, item in enumerate(whole)
        if kind_of(item) == "additional_tools"
    ]
    tools = table(declarations([("tools", given.tools), *more]), ignored)
    spoken = [*_instructions(given), *turns(whole, len(earlier), ignored)]
    use = tool_use(tools, given.tool_choice, given.parallel_tool_calls, ignored)
    omitted = None if ignored is None else ignored.omitted
    messages = rendered(gathered(spoken), omitted, senses)
    chat = Chat(messages, use, given.template_arguments(), False)
    lifted: LiftedTexts | None = getattr(request.state, "lifted", None)
    if lifted is not None and lifted.places:  # what is stored is as the client wrote it
        items = lifted.restored(items)
    return ReadInput(chat, tools, items, link, size_of(earlier))


async def _earlier(
    given: InputBody, archive: Archive, owner: str
) -> tuple[HistoryEnd | None, list[Item]]:
    """Return what is stored of the conversation. Raises BadRequest or NotFound."""
    if given.conversation_id is not None:
        return None, await archive.all_items(owner, given.conversation_id)
    id_ = given.previous_response_id
    if id_ is None:
        return None, []
    try:
        found = await archive.earlier(owner, id_)
    except NotFound:
        raise PreviousResponseNotFound(
            f"Previous response with id '{id_[:64]}' not found.", param="previous_response_id"
        ) from None
    if found.working:
        message = "'previous_response_id': that response is not completed yet"
        raise BadRequest(message, param="previous_response_id")
    return found.link, found.items


def _instructions(given: InputBody) -> list[Turn]:
    """Return the turns that come first, if there are any."""
    if isinstance(given.instructions, list):
        return turns(as_written(given.instructions), 0, None)
    if not given.instructions:
        return []
    return [Turn("system", [TextBlock(given.instructions)])]
