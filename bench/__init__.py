"""Experiments: what the README claims, measured. Nothing here is imported by gateway or workers."""
