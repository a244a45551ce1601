"""Programs with other people's clients, in processes of their own: their warnings are not ours."""

import json
import subprocess
import sys
from typing import Any

LANGCHAIN = '''
from langchain_core.tools import tool
from pydantic import BaseModel, Field

@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."

class Person(BaseModel):
    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=120)

def called(model, question):
    """A call as it comes whole, and as it comes in chunks."""
    bound = model.bind_tools([get_weather], tool_choice="any")
    streamed = None
    for chunk in bound.stream([question]):
        streamed = chunk if streamed is None else streamed + chunk
    return bound.invoke([question]), streamed
'''
"""Beginning of programs with LangChain."""


def printed(program: str, url: str) -> Any:
    """Return what a program prints, as JSON, that gets the server's address."""
    command = [sys.executable, "-c", program, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
