"""Experiments: what README.md and docs/ claim, measured. Nothing here is imported by gateway or workers."""
