"""Models of what comes from outside: strict, and no work before there is any."""

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from gateway.core.strict import STRICT

SOURCE = """
import gateway.front
from gateway.api.openai.chat import ChatBody
before = ChatBody.__pydantic_complete__
ChatBody.model_validate({"messages": [{"role": "user", "content": "hello"}]})
print(before, ChatBody.__pydantic_complete__)
"""


class Numbered(BaseModel):
    """A model with one field."""

    model_config = STRICT

    number: int


@pytest.mark.parametrize("value", [{"number": "1"}, {"number": 1, "more": 2}, {}, []])
def test_what_is_declared_is_taken_and_nothing_else(value: object) -> None:
    assert Numbered.model_validate({"number": 1}).number == 1
    with pytest.raises(ValidationError):
        Numbered.model_validate(value)


def test_the_first_request_makes_its_validator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SOURCE], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
