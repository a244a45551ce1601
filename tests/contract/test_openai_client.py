"""The official client, which is what most callers are.

Its models accept any field and keep unknown ones in ``model_extra``: a field there is one that we
invented or misspelt.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.support.dialects import INFER
from tests.support.server import ALIAS, ForgeServer

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "what is 2+2?"}]


def extras(value: Any, path: str = "") -> Iterator[str]:
    """Fields that the client's models do not know, anywhere in ``value``."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from extras(item, f"{path}[{index}]")


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(server: ForgeServer) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"{server.url}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=ALIAS, messages=QUESTION, temperature=0, service_tier="flex", max_completion_tokens=40
    )
    assert list(extras(answer)) == []
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    assert answer.service_tier == "flex"


def test_chat_stream(client: openai.OpenAI) -> None:
    text, usage = "", None
    with client.chat.completions.create(
        model=ALIAS,
        messages=QUESTION,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        service_tier="priority",
    ) as stream:
        for chunk in stream:
            assert list(extras(chunk)) == []
            usage = chunk.usage or usage
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text
    assert usage is not None
    assert usage.completion_tokens > 0


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=ALIAS, prompt="Once upon", temperature=0)
    assert list(extras(answer)) == []
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None


def test_completions_stream(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=ALIAS, prompt="Once upon", max_tokens=5, seed=3)
    with client.completions.create(
        model=ALIAS, prompt="Once upon", max_tokens=5, seed=3, stream=True
    ) as stream:
        chunks = list(stream)
    assert [found for chunk in chunks for found in extras(chunk)] == []
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "length"


def test_own_parameters_as_extra_body(client: openai.OpenAI) -> None:
    extra = {"ignore_eos": True, "top_k": 1, "min_p": 0.1, "priority": "urgent"}
    with client.chat.completions.with_streaming_response.create(
        model=ALIAS, messages=QUESTION, max_tokens=9, extra_body=extra
    ) as response:
        assert response.headers["x-priority"] == "2"
        usage = response.parse().usage
    assert usage is not None
    assert usage.completion_tokens == 9


def test_models(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    ours = [".state", ".meta", ".root", ".parent", ".architecture"]
    anthropics = [".type", ".display_name", ".created_at", ".lifecycle"]
    assert list(extras(model)) == [*ours, *anthropics, ".max_input_tokens", ".max_tokens"]
    assert (model.id, model.object) == (ALIAS, "model")
    assert client.models.retrieve(ALIAS) == model


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o", messages=QUESTION)


def test_bad_requests(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=ALIAS, messages=QUESTION, functions=[{"name": "f"}])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "functions")
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=ALIAS, prompt="7 + 7. " * 1000, stream=True)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.anyio
async def test_async(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(
        model=ALIAS, messages=QUESTION, temperature=0
    )
    assert list(extras(answer)) == []
    text = ""
    stream = await async_client.chat.completions.create(
        model=ALIAS, messages=QUESTION, temperature=0, stream=True
    )
    async with stream:
        async for chunk in stream:
            assert list(extras(chunk)) == []
            text += chunk.choices[0].delta.content or ""
    assert text
    assert [model.id async for model in async_client.models.list()] == [ALIAS]


def test_the_seed_dialect_names_the_same_model(server: ForgeServer) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        body = INFER.ask(http, "hello").body
    assert body["model"] == ALIAS
    assert body.keys() == {
        *("response", "id", "model", "finish_reason", "priority", "seed", "usage", "timings")
    }
    timings = body["timings"]
    assert 0 <= timings["queue_ms"] <= timings["ttft_ms"] <= timings["total_ms"]
