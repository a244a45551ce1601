"""Ollama's API, for the clients that speak it alone."""

from gateway.api.ollama.errors import error_response, speaks

__all__ = ["error_response", "speaks"]
