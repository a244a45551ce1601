"""forge-tiny, the embedded default model: its weights, its corpus, its trainer, its evaluation.

Importing this package costs nothing; everything else (`train`, `export`, `evaluate`) is a
development tool with dependencies of its own, installed by the extra `[train]`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["MODEL_PATH"]

MODEL_PATH: Path = Path(__file__).with_name("forge-tiny.gguf")
"""The GGUF file that a gateway without `--model` serves."""
