"""Pictures and sound end to end: official clients, the gateway, workers, libmtmd, small models."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.conftest import Start
from tests.support.pictures import picture, sound
from tests.support.projectors import write_pair
from tests.support.server import ForgeServer

ASKED = "What is it?"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
SMALL = ("--workers", "1", "--slots", "2", "--threads", "1", "--alias", "chat")
RED, BLUE = picture(1), picture(2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ForgeServer]:
    """A model with the projector beside it, which ``--mmproj auto`` finds."""
    model, _ = write_pair("idefics3", EMBEDDED_MODEL, folder, template=TEMPLATE)
    with ForgeServer(folder / "server", *SMALL, model=model).serving() as server:
        yield server


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def chat(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": ASKED}]}]


def seen(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(data)}}


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_it_says_what_it_takes(server: ForgeServer) -> None:
    (card,) = server.get("/v1/models")["data"]
    assert card["architecture"]["input_modalities"] == ["text", "image"]
    assert card["meta"]["abilities"]["sees"] is True


def test_openais_client(client: openai.OpenAI) -> None:
    def ask(*parts: Any) -> Any:
        return client.chat.completions.create(
            model="chat", messages=chat(*parts), max_tokens=6, temperature=0
        )

    alone, red, again, both = ask(), ask(seen(RED)), ask(seen(RED)), ask(seen(RED), seen(BLUE))
    assert red.choices[0].message.content == again.choices[0].message.content
    tokens = [each.usage.prompt_tokens for each in (alone, red, again, both)]
    assert tokens[0] + 16 < tokens[1] == tokens[2] < tokens[3] - 16
    assert again.usage.prompt_tokens_details.cached_tokens >= tokens[1] - tokens[0], "its cells"


def test_a_stream_and_an_older_turn(client: openai.OpenAI) -> None:
    messages = [*chat(seen(BLUE)), {"role": "assistant", "content": "Blue."}, *chat(seen(RED))]
    stream = client.chat.completions.create(
        model="chat", messages=messages, max_tokens=6, stream=True
    )
    assert [*stream][-1].choices[0].finish_reason in ("stop", "length")


def test_responses_of_openais_client(client: openai.OpenAI) -> None:
    asked: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": uri(RED)}]}]
    first = client.responses.create(model="chat", input=asked, max_output_tokens=6)
    second = client.responses.create(
        model="chat", input="And?", previous_response_id=first.id, max_output_tokens=6
    )
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens > 16
    counted = client.responses.input_tokens.count(model="chat", input=asked)
    assert counted.input_tokens == first.usage.input_tokens


def test_anthropics_client(server: ForgeServer) -> None:
    source = {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(RED).decode(),
    }
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": source}],
    }
    messages: Any = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    with anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0) as client:
        found = client.messages.create(model="chat", messages=messages, max_tokens=6)
        counted = client.messages.count_tokens(model="chat", messages=messages)
    usage = found.usage
    given = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert given == counted.input_tokens > 16


def test_ollamas_client(server: ForgeServer) -> None:
    client = ollama.Client(host=server.url)
    try:
        _ask_ollama(client)
    finally:
        client._client.close()  # it has no other way


def _ask_ollama(client: ollama.Client) -> None:
    assert "vision" in (client.show("chat").capabilities or [])
    found = client.chat(
        "chat",
        messages=[{"role": "user", "content": ASKED, "images": [RED]}],
        options={"num_predict": 6},
    )
    assert (found.prompt_eval_count or 0) > 16
    made = client.generate("chat", ASKED, images=[RED], options={"num_predict": 6})
    assert (made.prompt_eval_count or 0) > 16


DAMAGED = [
    ("cut", RED[: len(RED) // 2], "messages.0.content.0.image_url.url"),
    ("a bomb", RED[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + RED[24:],
     "messages.0.content.0.image_url.url"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "param"), [each[1:] for each in DAMAGED], ids=[each[0] for each in DAMAGED]
)
def test_a_damaged_picture_costs_its_own_request(
    server: ForgeServer, client: openai.OpenAI, data: bytes, param: str
) -> None:
    pids = server.pids()
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="chat", messages=chat(seen(data)), max_tokens=6)
    assert (caught.value.code, caught.value.param) == ("invalid_media", param)
    assert server.pids() == pids
    answer = client.chat.completions.create(model="chat", messages=chat(seen(RED)), max_tokens=2)
    assert answer.usage is not None


def test_sound(start_server: Start, tmp_path: Path) -> None:
    model, mmproj = write_pair("ultravox", EMBEDDED_MODEL, tmp_path, template=TEMPLATE)
    server = start_server(*SMALL, "--mmproj", str(mmproj), model=model)
    part = {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(sound(1)).decode(), "format": "wav"},
    }
    with httpx.Client(base_url=server.url, timeout=60) as http:
        heard = http.post("/v1/chat/completions", json={"messages": chat(part), "max_tokens": 4})
        assert heard.status_code == 200, heard.text
        assert heard.json()["usage"]["prompt_tokens"] > 8
        shown = http.post(
            "/v1/chat/completions", json={"messages": chat(seen(RED)), "max_tokens": 4}
        )
    assert shown.json()["error"]["code"] == "image_not_supported"
    server.stop()


def test_without_the_projector(start_server: Start, folder: Path) -> None:
    model = folder / "idefics3.gguf"
    server = start_server(*SMALL, "--mmproj", "none", model=model)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        shown = http.post("/v1/chat/completions", json={"messages": chat(seen(RED))})
    assert shown.json()["error"]["code"] == "image_not_supported"
    server.stop()


def test_a_projector_that_is_none(start_server: Start, folder: Path) -> None:
    model = folder / "idefics3.gguf"
    server = start_server(*SMALL, "--mmproj", str(EMBEDDED_MODEL), model=model, ready=False)
    assert server.wait() == 1
    assert "libmtmd can't load this file" in server.stderr
