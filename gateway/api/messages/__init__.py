"""Anthropic's dialect: /v1/messages and /v1/messages/count_tokens."""

from gateway.api.messages.endpoints import Messages
from gateway.api.messages.errors import error_response, speaks

__all__ = ["Messages", "error_response", "speaks"]
