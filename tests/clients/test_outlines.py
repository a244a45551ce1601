"""Outlines, which takes every server for vLLM: ``structured_outputs`` beside a plain chat."""

import json
from importlib.util import find_spec
from typing import Any

import pytest

from tests.clients.programs import printed
from tests.support.server import ForgeServer

pytestmark = pytest.mark.skipif(
    find_spec("outlines") is None, reason="outlines is not installed: pip install -e '.[clients]'"
)

PROGRAM = """
import json, sys
from typing import Literal
import openai, outlines
from outlines.types import Regex
from pydantic import BaseModel, Field

class Person(BaseModel):
    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=120)

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="any")
model = outlines.from_vllm(client, "forge-tiny")
print(json.dumps({
    "schema": model("Invent a person.", Person, max_tokens=100),
    "choice": model("Is the sky blue?", Literal["yes", "no"], max_tokens=10),
    "regex": model("A date?", Regex(r"2[0-9]{3}-0[1-9]"), max_tokens=20),
}))
"""


def test_all_of_its_forms(server: ForgeServer) -> None:
    output: dict[str, Any] = printed(PROGRAM, server.url)
    assert 0 <= json.loads(output["schema"])["age"] <= 120
    assert output["choice"] in ("yes", "no")
    assert output["regex"][:1] == "2"
    assert len(output["regex"]) == len("2026-01")
