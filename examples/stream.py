"""Stream a chat: text as it is sampled, then what it cost."""

import os

from openai import OpenAI

URL = os.environ.get("FORGE_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("FORGE_KEY", "none")


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a short story."}],
        max_tokens=80,
        seed=7,  # the same seed gives the same draws, also after a worker's death
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        elif chunk.usage is not None:
            print(f"\n{chunk.usage.completion_tokens} tokens")


if __name__ == "__main__":
    main()
