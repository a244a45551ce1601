"""The asyncio side of Forge: it owns every connection and decides the order of work."""

__version__ = "0.2.0.dev0"
"""Read by pyproject.toml: one place, and the same in a checkout that is not installed."""
