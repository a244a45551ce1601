"""The settings that all systems have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a model's sitting."""

    model: Path
    slots: int
    ctx: int
    """Cells of the KV cache, of all sequences together."""
    threads: int
    batch: int
    drafts: bool = False
    """True if Forge may draft: random words make small models loop, and loops are copies."""
