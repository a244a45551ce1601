"""Tokens that libmtmd puts around pictures, for a text model that was never trained with them.

Control tokens that nothing uses get other names; the vocabulary's size and the weights stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter, Keys, TokenType
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

AROUND = ("<fake_token_around_image>", "<global-img>")
USED = (
    Keys.Tokenizer.BOS_ID,
    Keys.Tokenizer.EOS_ID,
    Keys.Tokenizer.EOT_ID,
    Keys.Tokenizer.UNK_ID,
    Keys.Tokenizer.PAD_ID,
)
"""Keys of tokens that have a use of their own."""


def with_tokens(source: Path, target: Path, wanted: Sequence[str] = AROUND) -> Path:
    """Write ``source`` with names for its spare control tokens. Raises ValueError for too few."""
    reader = GGUFReader(source)
    architecture = reader.fields[Keys.General.ARCHITECTURE].contents()
    names = list(reader.fields[Keys.Tokenizer.LIST].contents())
    kinds = reader.fields[Keys.Tokenizer.TOKEN_TYPE].contents()
    used = {reader.fields[key].contents() for key in USED if key in reader.fields}
    template = reader.fields.get(Keys.Tokenizer.CHAT_TEMPLATE)
    written = "" if template is None else template.contents()
    spare = [
        at
        for at, (name, kind) in enumerate(zip(names, kinds, strict=True))
        if kind == TokenType.CONTROL and at not in used and name not in written
    ]
    for at, name in zip(spare, wanted, strict=False):
        names[at] = name
    if missing := set(wanted) - set(names):
        raise ValueError(f"{source.name}: no spare tokens for {sorted(missing)}")
    tokens = MetadataDetails(GGUFValueType.ARRAY, names, sub_type=GGUFValueType.STRING)
    writer = GGUFWriter(target, architecture)
    copy_with_new_metadata(reader, writer, {Keys.Tokenizer.LIST: tokens}, [])
    return target
