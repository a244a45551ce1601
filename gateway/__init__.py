"""The asyncio side of Forge: it owns every connection and decides the order of work."""

from importlib.metadata import version

__version__ = version("forge-gateway")
