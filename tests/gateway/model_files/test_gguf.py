"""Metadata of real files, and of files that are none."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from gateway.core.split_files import part_name
from gateway.model_files import gguf
from tests.support.server import MODEL


def test_reads_what_the_reference_reader_reads() -> None:
    ours, theirs = gguf.read(MODEL), GGUFReader(MODEL)
    for name, field in theirs.fields.items():
        if not name.startswith("GGUF."):
            value = ours.metadata[name]
            assert (list(value) if isinstance(value, tuple) else value) == field.contents()
    assert [(t.name, t.size) for t in ours.tensors] == [(t.name, t.n_bytes) for t in theirs.tensors]
    assert ours.size == MODEL.stat().st_size


@pytest.mark.parametrize("size", [0, 3, 4, 20, 100, 50_000])
def test_what_is_cut_off_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "part.gguf"
    path.write_bytes(MODEL.read_bytes()[:size])
    with pytest.raises(gguf.Unreadable, match=r"part\.gguf is"):
        gguf.read(path)


def test_one_byte_less_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "part.gguf"
    path.write_bytes(MODEL.read_bytes()[:-1])
    with pytest.raises(gguf.Unreadable, match="cut off"):
        gguf.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!doctype html>" * 4, "not a GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + b"\xff" * 40, "damaged"),
        (b"GGUF" + struct.pack("<IQQQsIIQ", 3, 0, 1, 1, b"a", 9, 8, 2**60), "damaged"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "page.gguf"
    path.write_bytes(content)
    with pytest.raises(gguf.Unreadable, match=reason):
        gguf.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(gguf.Unreadable, match="No such file"):
        gguf.read(tmp_path / "none.gguf")


def test_parts_are_one_model(tmp_path: Path) -> None:
    for number in (1, 2):
        writer = GGUFWriter(tmp_path / part_name("big", number, 2), "llama")
        writer.add_uint32("split.no", number - 1)
        writer.add_tensor(f"blk.{number}.x", np.ones((2, number), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    model = gguf.read(tmp_path / "big-00001-of-00002.gguf")
    assert [tensor.size for tensor in model.tensors] == [8, 16]
    assert model.metadata["split.no"] == 0
    assert model.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    (tmp_path / "big-00002-of-00002.gguf").unlink()
    with pytest.raises(gguf.Unreadable, match="00002-of-00002"):
        gguf.read(tmp_path / "big-00001-of-00002.gguf")
