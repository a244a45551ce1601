"""OpenAI's Responses dialect: items in, items and events out.

A body becomes a conversation in :mod:`gateway.api.responses.prompt`, a generation's events
become the dialect's in :mod:`gateway.api.responses.writer`, and nothing else knows of it.
"""

from gateway.api.responses.archive import Archive as Archive
from gateway.api.responses.conversations import Conversations as Conversations
from gateway.api.responses.endpoints import Responses as Responses
from gateway.api.responses.memory_archive import MemoryArchive as MemoryArchive
from gateway.api.responses.stored import StoredResponses as StoredResponses
