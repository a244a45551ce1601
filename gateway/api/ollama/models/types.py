"""The shapes of the answers about models."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Capability = Literal["completion", "tools", "insert", "embedding", "thinking", "vision", "audio"]


class OllamaDetails(TypedDict):
    """A model in a few words, from the head of its file."""

    parent_model: str
    """The model that it is a LoRA adapter of, if it is one."""
    format: Literal["gguf"]
    family: str
    families: list[str]
    """The family alone."""
    parameter_size: str
    quantization_level: str
    context_length: NotRequired[int]
    """Tokens that one request may have here."""
    embedding_length: NotRequired[int]


class OllamaListed(TypedDict):
    name: str
    model: str
    """The same."""
    modified_at: str
    size: int
    """Bytes of its files."""
    digest: str
    """SHA-256 of the first file where it is known, else a digest of its name, size and time."""
    details: OllamaDetails


class OllamaTags(TypedDict):
    models: list[OllamaListed]
    """The newest first."""


class OllamaRunning(TypedDict):
    name: str
    model: str
    size: int
    """Bytes of memory that it takes; of its file where that is unknown."""
    digest: str
    details: OllamaDetails
    expires_at: str
    """Time of its unloading if no work comes; three centuries ahead: never for that reason."""
    size_vram: int
    """Bytes in the memory of a GPU; of a part of the layers their share."""
    context_length: int


class OllamaProcesses(TypedDict):
    models: list[OllamaRunning]


class OllamaTensor(TypedDict):
    name: str
    type: str
    shape: list[int]


class OllamaShown(TypedDict):
    modelfile: str
    """The known facts, in the form of Ollama's file."""
    parameters: str
    """A line for each."""
    template: str
    """The chat template in Jinja."""
    system: NotRequired[str]
    """The system prompt of conversations that have none."""
    license: str
    details: OllamaDetails
    model_info: dict[str, Any]
    """The file's metadata; long lists are null unless `verbose` asks for them."""
    capabilities: list[Capability]
    modified_at: str
    tensors: NotRequired[list[OllamaTensor]]
    """With `verbose`."""


class OllamaProgress(TypedDict):
    """A line of a stream."""

    status: str
    """`success` in the last line."""
    digest: NotRequired[str]
    """The file that the numbers are about."""
    total: NotRequired[int]
    completed: NotRequired[int]
    """Absent in a file's first line, if nothing of it was here."""
