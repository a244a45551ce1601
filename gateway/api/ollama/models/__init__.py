"""The models of a server in Ollama's API: listed, shown, downloaded, deleted and copied."""

from gateway.api.ollama.models.endpoints import OllamaModels

__all__ = ["OllamaModels"]
