"""OpenAI's dialect: /v1/chat/completions, /v1/completions, /v1/models."""

from gateway.api.openai.endpoints import OpenAI
from gateway.api.openai.errors import error_body, error_response

__all__ = ["OpenAI", "error_body", "error_response"]
