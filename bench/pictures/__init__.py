"""The pauses of streams while a picture is computed, beside llama-server."""
