"""Forge and its peers side by side: how fast, how evenly, and at what cost they serve a model."""
