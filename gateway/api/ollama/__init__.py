"""Ollama's API, for the clients that speak it alone."""

from gateway.api.ollama.endpoints import Ollama
from gateway.api.ollama.errors import error_response, speaks
from gateway.api.ollama.presence import root

__all__ = ["Ollama", "error_response", "root", "speaks"]
