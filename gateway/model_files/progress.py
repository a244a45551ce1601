"""The progress of a download, as the display hears of it."""

from typing import Protocol


class DownloadProgress(Protocol):
    """Hears how far a download is."""

    def __call__(
        self, name: str, done: int, total: int | None, *, sha256: str | None = None
    ) -> None:
        """``done`` bytes of the file ``name`` are here; ``total``: all of them, if known.

        ``sha256``: the hash of all of them in hexadecimal, if the server has told it.
        """
        ...
