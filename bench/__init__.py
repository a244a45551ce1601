"""Experiments: what docs/ claims, measured. Nothing here is imported by gateway or workers."""
