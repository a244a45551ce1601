"""Find the text that is nearest to a question; vectors have length 1, so a dot product will do."""

import os

from openai import OpenAI

URL = os.environ.get("FORGE_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("FORGE_KEY", "none")
TEXTS = ["The heap orders waiting requests.", "Paris is a city.", "Bread is made of flour."]
QUESTION = "Which request is next?"


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    model = client.models.list().data[0].id
    answer = client.embeddings.create(
        model=model,
        input=[QUESTION, *TEXTS],
        extra_body={"priority": "batch"},  # chats that come later may go first
    )
    question, *vectors = (entry.embedding for entry in answer.data)
    scores = [sum(a * b for a, b in zip(question, vector, strict=True)) for vector in vectors]
    for score, text in sorted(zip(scores, TEXTS, strict=True), reverse=True):
        print(f"{score:.3f} {text}")


if __name__ == "__main__":
    main()
