"""--mmproj: where a projector comes from, alone and in tables of models."""

from pathlib import Path

import pytest

from gateway.config import model_tables
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.config.sources import load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a projector beside it, in content one as the other."""
    for name in ("chat-Q8_0.gguf", "mmproj-chat-F16.gguf"):
        (tmp_path / name).write_bytes(EMBEDDED_MODEL.read_bytes()[:64])
    return tmp_path


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, ["hf:o/r:Q8_0+mmproj"]),
        ({"mmproj": "auto"}, ["hf:o/r:Q8_0+mmproj"]),
        ({"mmproj": "none"}, ["hf:o/r:Q8_0"]),
        ({"mmproj": "hf:o/p:mmproj-F16.gguf"}, ["hf:o/r:Q8_0", "hf:o/p:mmproj-F16.gguf"]),
    ],
)
def test_what_is_downloaded(folder: Path, options: dict[str, str], asked: list[str]) -> None:
    sources: list[str] = []

    def obtain(text: str) -> Path:
        sources.append(text)
        return folder / ("mmproj-chat-F16.gguf" if "o/p" in text else "chat-Q8_0.gguf")

    config = load({"model": "hf:o/r:Q8_0", **options}, {}, None, obtain)
    assert sources == asked
    found = config.worker_spec().mmproj
    expected = folder / "mmproj-chat-F16.gguf"
    own = options.get("mmproj", "auto")
    assert config.sources == ("hf:o/r:Q8_0", "" if own in ("auto", "none") else own)
    assert found == (None if options.get("mmproj") == "none" else str(expected))


def test_bounds_reach_the_workers(folder: Path) -> None:
    options = {"image_min_tokens": 8, "image_max_tokens": 99, "media_pixels": 7, "media_seconds": 2}
    found = Config(model=folder / "chat-Q8_0.gguf", **options).worker_spec().media
    assert (found.image_min_tokens, found.image_max_tokens) == (8, 99)
    assert (found.pixels, found.seconds) == (7, 2.0)
    with pytest.raises(ConfigError, match=r"--image-max-tokens: .*no less than"):
        load({"image_min_tokens": "9", "image_max_tokens": "8"}, {}, None)


def test_a_file_that_is_no_projector(folder: Path) -> None:
    (folder / "text.gguf").write_text("no model")
    model = str(folder / "chat-Q8_0.gguf")
    for wrong in (folder / "text.gguf", folder / "none.gguf"):
        with pytest.raises(ConfigError, match="--mmproj: "):
            load({"model": model, "mmproj": str(wrong)}, {}, None)


def test_each_of_several_models_has_its_own(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    model, mmproj = folder / "chat-Q8_0.gguf", folder / "mmproj-chat-F16.gguf"
    file.write_text(
        f"[models.seeing]\nmodel = '{model}'\nmmproj = '{mmproj}'\n"
        f"[models.blind]\nmodel = '{model}'\nmmproj = 'none'\n"
    )
    _, entries = model_tables.load({}, {}, file, lambda fields: None)
    assert [each.config.projector() for each in entries] == [mmproj, None]
    with pytest.raises(ConfigError, match="--mmproj: a projector is one model's"):
        model_tables.load({"mmproj": str(mmproj)}, {}, file, lambda fields: None)
