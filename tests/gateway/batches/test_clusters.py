from itertools import pairwise
from typing import Any

from gateway.batches.clusters import DIGEST, LENGTHS, cluster

SYSTEM = "You are a careful editor. " * 40


def chat(system: str, question: str) -> dict[str, Any]:
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return {"model": "tiny", "messages": turns}


def test_lines_with_one_beginning_stand_together() -> None:
    bodies = [chat(f"{kind} {SYSTEM}", f"{number}?") for number in range(20) for kind in "abc"]
    kinds = [body["messages"][0]["content"][0] for body in sorted(bodies, key=cluster)]
    assert sum(before != after for before, after in pairwise(kinds)) == 2


def test_a_longer_shared_beginning_is_nearer() -> None:
    text = "Translate this into French, please. " * 100
    far, near, other = text[:200] + "x" * 3000, text[:2000] + "y" * 3000, "z" * 3000
    keys = {
        name: cluster({"prompt": value})
        for name, value in (("t", text), ("f", far), ("n", near), ("o", other))
    }

    def shared(a: str, b: str) -> int:
        pairs = zip(keys[a], keys[b], strict=False)
        return next((at for at, (x, y) in enumerate(pairs) if x != y), 10**6)

    assert shared("t", "n") > shared("t", "f") > shared("t", "o")


def test_tools_come_before_messages() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 500}}]
    first = cluster({"messages": [{"role": "user", "content": "a" * 500}], "tools": tools})
    second = cluster({"tools": tools, "messages": [{"role": "user", "content": "b" * 500}]})
    assert first[: DIGEST * 3] == second[: DIGEST * 3]
    assert first != second


def test_a_key_is_short_however_long_the_body() -> None:
    assert len(cluster({"prompt": "x" * 10**6})) == DIGEST * len(LENGTHS)
    assert cluster({"prompt": "short"}) == b""
    assert cluster({}) == b""
