"""A worker dies while its streams draft: what was told ends anywhere among accepted drafts."""

from pathlib import Path
from typing import Any

import pytest
from gguf import LlamaFileType
from rich.progress import Progress

from bench.models import Shape, write
from tests.conftest import Start
from tests.e2e.test_same_text import PROMPTS, alone
from tests.support.killing import healthy, kill, whole
from tests.support.server import ForgeServer
from tests.support.traffic import Streaming

SHAPE = Shape(4, 512, 8, 2, 1536, 4096, 2048, 1e4, LlamaFileType.ALL_F32)
"""So large that several rows cost little more than one: with a tiny model no draft pays."""
LONG: dict[str, Any] = {"ignore_eos": True, "max_tokens": 300}


def accepted(server: ForgeServer) -> float:
    """Drafted tokens that became part of an answer, of all requests that ended."""
    name = "forge_spec_decode_accepted_tokens_total"
    with server.client(Accept="text/plain") as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.fixture
def server(start_server: Start, exact: tuple[Path, tuple[str, ...]], tmp_path: Path) -> ForgeServer:
    """One worker, whose texts don't depend on the steps in which they are computed."""
    model = tmp_path / "large.gguf"
    write("large", SHAPE, model, Progress(disable=True))
    return start_server("--workers", "1", "--slots", "4", *exact[1], model=model)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 3}], ids=str)
def test_a_stream_goes_on_with_drafts(server: ForgeServer, sampling: dict[str, Any]) -> None:
    """Beside a prediction that is right but for a few words in its midst."""
    params = {**LONG, **sampling}
    text = alone(server, PROMPTS[2], **params)
    guess = {"type": "content", "content": f"{text[:500]} or not? {text[500:]}"}
    for reached in (20, 300, 900):
        before = accepted(server)
        stream = Streaming(server, PROMPTS[2], prediction=guess, **params).wait_for(reached)
        kill(server.pids()[0])
        assert whole(stream) == text
        assert accepted(server) > before
    healthy(server, 3)
