"""OpenAI's Files and Uploads: forms of any size go straight into the store, and come back whole."""

from gateway.api.files.endpoints import FileEndpoints
from gateway.api.files.uploads import UploadEndpoints

__all__ = ["FileEndpoints", "UploadEndpoints"]
