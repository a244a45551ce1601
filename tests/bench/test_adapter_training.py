"""The trainer of adapters, with the embedded model: what it computes is what llama.cpp computes."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the trainer needs the extra [train]")

import llama_cpp  # noqa: E402

from bench.adapters.network import Network  # noqa: E402
from bench.adapters.recipe import Pair, Recipe  # noqa: E402
from bench.adapters.training import trained  # noqa: E402
from tests.support.f32 import f32_copy  # noqa: E402
from tests.support.server import MODEL  # noqa: E402

PROMPT = list(range(300, 312))
RECIPE = Recipe(blocks=3, rank=4, steps=50, texts=2, rate=1e-2)
LESSONS = [Pair(PROMPT[:cut], [700 + at for at in range(6)]) for cut in (6, 9, 12)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("f32") / "model.gguf"
    f32_copy(MODEL, path)
    return path


def logits(model: Path, adapter: Path | None) -> Any:
    """Return llama.cpp's after the prompt."""
    llama = llama_cpp.Llama(
        str(model), lora_path=None if adapter is None else str(adapter), n_ctx=64, verbose=False
    )
    try:
        llama.eval(PROMPT)
        assert llama._ctx is not None
        found = llama_cpp.llama_get_logits(llama._ctx.ctx)
        return torch.tensor(found[: llama.n_vocab()])
    finally:
        llama.close()


def test_the_forward_pass_is_llama_cpps(model: Path) -> None:
    network = Network(model, upper=0, rank=1, seed=0)
    texts = network.texts([([5, 6, 7], 1), (PROMPT, 1)])
    last = torch.zeros(len(texts.owners), dtype=torch.bool)
    last[-1] = True
    assert torch.allclose(network.logits(texts, last)[0], logits(model, None), atol=2e-2)


def test_a_trained_adapter_says_in_llama_cpp_what_it_learned(model: Path, tmp_path: Path) -> None:
    lora, losses = trained(model, LESSONS, RECIPE)
    assert losses[-1] < losses[0] / 10
    changed = lora.write(tmp_path / "learned.gguf")
    base, adapted = logits(model, None), logits(model, changed)
    wanted = LESSONS[-1].answer[0]
    assert int(adapted.argmax()) == wanted != int(base.argmax())
