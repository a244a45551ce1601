"""openai-agents, which speaks Responses: tools, handoffs, sessions, forms, streams."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.support.server import ALIAS, ForgeServer

sdk = pytest.importorskip("agents", reason="pip install -e .[clients]")
pytestmark = pytest.mark.anyio


class Number(BaseModel):
    n: int


@pytest.fixture
async def client(server: ForgeServer) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-") as client:
        sdk.set_tracing_disabled(True)
        sdk.set_default_openai_client(client)
        yield client


def agent(**more: Any) -> Any:
    settings = sdk.ModelSettings(max_tokens=60, temperature=0, **more.pop("settings", {}))
    given = {"name": "Clerk", "instructions": "Answer briefly.", **more}
    return sdk.Agent(model=ALIAS, model_settings=settings, **given)


@pytest.mark.usefixtures("client")
async def test_an_answer_and_a_stream() -> None:
    whole = await sdk.Runner.run(agent(), "what is 2+2?")
    assert whole.final_output
    assert whole.context_wrapper.usage.input_tokens > 0
    stream = sdk.Runner.run_streamed(agent(), "what is 2+2?")
    kinds = [event.type async for event in stream.stream_events()]
    assert "raw_response_event" in kinds
    assert stream.final_output == whole.final_output


@pytest.mark.usefixtures("client")
async def test_a_function_is_called_and_its_result_is_read() -> None:
    asked = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    tool = sdk.function_tool(get_weather)
    clerk = agent(tools=[tool], settings={"tool_choice": "required"})
    found = await sdk.Runner.run(clerk, "weather in Rome?")
    assert asked
    assert found.final_output


@pytest.mark.usefixtures("client")
async def test_work_is_handed_to_another_agent() -> None:
    triage = agent(name="Triage", handoffs=[agent()], settings={"tool_choice": "required"})
    found = await sdk.Runner.run(triage, "hello")
    assert found.last_agent.name == "Clerk"
    assert found.final_output


async def test_sessions_here_and_on_the_server(client: Any) -> None:
    stored = sdk.OpenAIConversationsSession(openai_client=client)
    for session in (sdk.SQLiteSession("here"), stored):
        for question in ("what is 2+2?", "and 3+3?"):
            assert (await sdk.Runner.run(agent(), question, session=session)).final_output
        assert len(await session.get_items()) == 4
        await session.pop_item()
        assert len(await session.get_items()) == 3
    await stored.clear_session()


@pytest.mark.usefixtures("client")
async def test_a_run_goes_on_after_a_stored_response() -> None:
    first = await sdk.Runner.run(agent(), "what is 2+2?")
    second = await sdk.Runner.run(agent(), "and 3+3?", previous_response_id=first.last_response_id)
    used = [found.context_wrapper.usage.input_tokens for found in (first, second)]
    assert used[1] > used[0]


@pytest.mark.usefixtures("client")
async def test_a_form_is_kept() -> None:
    found = await sdk.Runner.run(agent(output_type=Number), "seven")
    assert isinstance(found.final_output, Number)
