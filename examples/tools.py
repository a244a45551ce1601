"""Let a model call a function whose arguments are held to their schema, and use its result."""

import json
import os

from openai import OpenAI

URL = os.environ.get("FORGE_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("FORGE_KEY", "none")
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Today's weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def get_weather(city: str) -> str:
    """Stand in for a real source."""
    return f"sunny in {city}, 21 degrees"


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    model = client.models.list().data[0].id
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(
        model=model,
        messages=messages,
        tools=[WEATHER],
        tool_choice="required",  # "auto" leaves the choice to the model
        temperature=0,
    )
    message = answer.choices[0].message
    messages.append(message)
    for call in message.tool_calls:
        print("call:", call.function.name, call.function.arguments)
        result = get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    answer = client.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], max_tokens=80
    )
    print("answer:", answer.choices[0].message.content)


if __name__ == "__main__":
    main()
