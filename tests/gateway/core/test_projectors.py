"""The projector that belongs to a model, by the names of files."""

from pathlib import Path

import pytest

from gateway.core.projectors import beside, chosen

SMOL = "SmolVLM-500M-Instruct-Q8_0.gguf"
GEMMA = "gemma-3-4b-it-Q4_K_M.gguf"


@pytest.mark.parametrize(
    ("model", "names", "expected"),
    [
        (SMOL, [SMOL], None),
        (SMOL, [SMOL, "mmproj-model-f16.gguf"], "mmproj-model-f16.gguf"),
        (SMOL, [SMOL, "MMPROJ-F16.gguf", "mmproj-BF16.gguf", "mmproj-F32.gguf"], "MMPROJ-F16.gguf"),
        (SMOL, [SMOL, "mmproj-Q4_0.gguf", "mmproj-Q8_0.gguf"], "mmproj-Q8_0.gguf"),
        (GEMMA, [GEMMA, "gemma-3-4b-it-Q8_0.gguf", "mmproj-model-f16.gguf"],
         "mmproj-model-f16.gguf"),
        (SMOL, [SMOL, GEMMA, "mmproj-model-f16.gguf"], None),
        (SMOL, [SMOL, GEMMA, "mmproj-SmolVLM-500M-Instruct-f16.gguf"],
         "mmproj-SmolVLM-500M-Instruct-f16.gguf"),
        (GEMMA, [SMOL, GEMMA, "mmproj-SmolVLM-500M-Instruct-f16.gguf"], None),
        (GEMMA, [SMOL, GEMMA, "gemma-3-4b-it.mmproj-Q8_0.gguf"],
         "gemma-3-4b-it.mmproj-Q8_0.gguf"),
        ("big-00001-of-00002.gguf",
         ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "mmproj-f16.gguf"],
         "mmproj-f16.gguf"),
        (SMOL, [SMOL, "imatrix.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf"),
    ],
)  # fmt: skip
def test_by_names(model: str, names: list[str], expected: str | None) -> None:
    assert chosen(names, model) == expected


def test_beside_a_model(tmp_path: Path) -> None:
    model = tmp_path / SMOL
    assert beside(model) is None
    (tmp_path / "mmproj-f16.gguf").touch()
    assert beside(model) == tmp_path / "mmproj-f16.gguf"
    assert beside(tmp_path / "none" / SMOL) is None
    assert beside(tmp_path / "Q8_0" / SMOL) is None, "another folder's"


def test_at_the_top_of_a_repository(tmp_path: Path) -> None:
    revision = tmp_path / "snapshots" / "abc"
    (revision / "Q8_0").mkdir(parents=True)
    (revision / "mmproj-f16.gguf").touch()
    assert beside(revision / "Q8_0" / SMOL) == revision / "mmproj-f16.gguf"
