"""`python -m workers.chat_format`: what chat templates on standard input tell, as JSON.

They are a JSON list: the usual one, and the one for tools; null for one that is not there.

For a look at a model without loading it: the gateway's process knows no templates.
"""

import json
import sys

from workers.chat_format import detect
from workers.chat_format.generic import PromptedTools
from workers.template.sandbox import TemplateSandbox
from workers.template.sources import TemplateFailed, joined


def told(template: str) -> dict[str, object]:
    """Return how a model with this template calls tools and thinks, and its fault, if any."""
    chat_format = detect(template or None)
    native = not isinstance(chat_format.calls.history, PromptedTools)
    thoughts = chat_format.thoughts
    return {
        "tools": chat_format.calls.name if native else "told in the system message",
        "reasoning": None if thoughts is None else [thoughts.opening, thoughts.closing],
        "broken": broken(template) if template else None,
    }


def broken(template: str) -> str | None:
    """Return why workers refuse chats with this template, which is compiled as they do it."""
    sandbox = TemplateSandbox()
    try:
        sandbox.compile(template, bos="", eos="")
    except TemplateFailed as error:
        return str(error)
    finally:
        sandbox.close()
    return None


if __name__ == "__main__":
    usual, for_tools = json.load(sys.stdin)
    print(json.dumps(told(joined(usual, for_tools) if usual else "")))
