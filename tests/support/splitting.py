"""A model as llama.cpp's gguf-split would write it: in several files."""

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter


def split(source: Path, target: Path, tensors: int = 10) -> list[Path]:
    """Write ``source`` as ``target``-00001-of-..., with so many tensors in a file; the files."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target.with_suffix(".gguf"), architecture, split_max_tensors=tensors)
    for key, entry in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = entry.types[0]
            element = entry.types[-1] if kind is GGUFValueType.ARRAY else None
            writer.add_key_value(key, entry.contents(), kind, element)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(target.parent.glob(f"{target.name}-*-of-*.gguf"))
