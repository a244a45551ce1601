"""The messages between a worker and its media encoder, as frames of :mod:`workers.protocol`."""

from typing import Literal

import msgspec

from workers.protocol import WorkerSpec


class LoadProjector(msgspec.Struct, frozen=True, tag=True):
    """The first message. Answered by :class:`ProjectorLoaded` or :class:`ProjectorFailed`."""

    spec: WorkerSpec


class Encode(msgspec.Struct, frozen=True, tag=True):
    """Decode and encode a medium. Answered by :class:`Encoded` or :class:`MediumRefused`."""

    kind: Literal["image", "audio"]
    data: bytes
    rows: bool
    """False: only its layout is wanted."""


class ProjectorLoaded(msgspec.Struct, frozen=True, tag=True):
    """The projector is loaded."""

    sees: bool
    hears: bool
    key: str
    """Identifies what a medium's rows depend on beside its file."""


class ProjectorFailed(msgspec.Struct, frozen=True, tag=True):
    """The projector can't be loaded; the text is one line fit for the operator."""

    reason: str


class Words(msgspec.Struct, frozen=True, tag="words"):
    """Tokens of text that belong to a medium: its beginning, its end, what is between slices."""

    ids: list[int]


class MediumRows(msgspec.Struct, frozen=True, tag="rows"):
    """Rows of embeddings: a picture, one of its slices, or a piece of a sound."""

    count: int
    positions: int
    """Positions that they take together."""
    causal: bool
    """False: each row attends to all of them, so that they are computed in one go."""
    places: bytes = b""
    """Of M-RoPE, int32: for each row its place in time, then down, then across, from the first
    position on; "": each row is at the next position."""
    values: bytes = b""
    """float32, row by row; "": only the layout was wanted."""


Piece = Words | MediumRows


class Encoded(msgspec.Struct, frozen=True, tag=True):
    """A medium as the model reads it."""

    pieces: list[Piece]

    @property
    def count(self) -> int:
        """Return the tokens that it takes."""
        return sum(len(p.ids) if isinstance(p, Words) else p.count for p in self.pieces)

    @property
    def size(self) -> int:
        """Return the bytes of its rows."""
        return sum(len(p.values) + len(p.places) for p in self.pieces if isinstance(p, MediumRows))

    @property
    def layout(self) -> "Encoded":
        """Return it without the rows' values."""
        bare = (
            p if isinstance(p, Words) else msgspec.structs.replace(p, values=b"")
            for p in self.pieces
        )
        return Encoded(list(bare))


class MediumRefused(msgspec.Struct, frozen=True, tag=True):
    """The medium can't be decoded, or is too large; the text continues a sentence about it."""

    reason: str


Request = LoadProjector | Encode
Reply = ProjectorLoaded | ProjectorFailed | Encoded | MediumRefused
