"""LangChain's ChatOpenAI and OpenAIEmbeddings: text, streams, tools and schemas."""

from importlib.util import find_spec
from typing import Any

import pytest

from tests.clients.programs import LANGCHAIN, printed
from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("langchain_openai") is None,
    reason="langchain-openai is not installed: pip install -e '.[clients]'",
)

PROGRAM = (
    LANGCHAIN
    + """
import asyncio, json, sys
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

base = dict(base_url=sys.argv[1] + "/v1", api_key="any")
model = ChatOpenAI(model="forge-tiny", temperature=0, **base)
question = HumanMessage("What is the weather in Paris?")
answer, streamed = called(model, question)
bound = model.bind_tools([get_weather], tool_choice="any")
result = get_weather.invoke(answer.tool_calls[0])
plain = model.invoke("what is 2+2?")

cut = {"name": "get_weather", "args": '{"city": "Pa', "id": "c1", "error": "it was cut"}
invalid = [
    question,
    AIMessage("", invalid_tool_calls=[cut]),
    ToolMessage("the arguments are no JSON", tool_call_id="c1"),
    HumanMessage("Try again."),
]

async def agent():
    free = model.bind_tools([get_weather])
    def think(state):
        first = not any(isinstance(each, ToolMessage) for each in state["messages"])
        return {"messages": [(bound if first else free).invoke(state["messages"])]}
    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([get_weather]))
    graph.set_entry_point("think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return await graph.compile().ainvoke({"messages": [question]})
embeddings = OpenAIEmbeddings(
    model="forge-tiny", check_embedding_ctx_length=False, **base
).embed_documents(["one", "two"])
print(json.dumps({
    "text": plain.content,
    "tokens": plain.usage_metadata["total_tokens"],
    "stream": [chunk.content for chunk in model.stream("what is 2+2?")],
    "call": answer.tool_calls[0],
    "streamed call": streamed.tool_calls[0],
    "after": model.bind_tools([get_weather]).invoke([question, answer, result]).content,
    "person": model.with_structured_output(Person).invoke("Who?").model_dump(),
    "after a cut call": model.bind_tools([get_weather]).invoke(invalid).type,
    "agent": [message.type for message in asyncio.run(agent())["messages"]],
    "embeddings": [len(vector) for vector in embeddings],
}))
"""
)


@pytest.fixture(scope="module")
def output(server: ForgeServer) -> dict[str, Any]:
    """Return what the program printed."""
    found: dict[str, Any] = printed(PROGRAM, server.url)
    return found


def test_text(output: dict[str, Any]) -> None:
    assert "4" in output["text"]
    assert output["tokens"] > 10
    assert "".join(output["stream"]) == output["text"]
    assert len(output["stream"]) > 3


def test_tools(output: dict[str, Any]) -> None:
    for call in (output["call"], output["streamed call"]):
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        assert call["id"]
    assert output["after"]


def test_a_call_that_was_cut(output: dict[str, Any]) -> None:
    """LangChain sends it back as it came, for the model to try again."""
    assert output["after a cut call"] == "ai"


def test_an_agent(output: dict[str, Any]) -> None:
    """LangGraph's loop: the second request brings the call and its result, by name."""
    assert output["agent"] == ["human", "ai", "tool", "ai"]


def test_structured_output(output: dict[str, Any]) -> None:
    assert 0 <= output["person"]["age"] <= 120


def test_embeddings(output: dict[str, Any]) -> None:
    assert output["embeddings"][0] == output["embeddings"][1] > 100
