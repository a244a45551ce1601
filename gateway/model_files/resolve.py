"""From what a person writes for a model to a file."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from gateway.config.config import EMBEDDED_MODEL, ConfigError, NotNow
from gateway.model_files.progress import DownloadProgress
from gateway.model_files.source import BadSource, Hub, parse, shown

log = logging.getLogger("forge.models")


def quietly(text: str) -> Path:
    """Do as :func:`obtain` does, for a server that runs: a download is told in the log."""

    def nothing(name: str, done: int, total: int | None, *, sha256: str | None = None) -> None:
        pass  # no terminal is there to show it

    return obtain(text, lambda: nullcontext(nothing), lambda line: log.info("%s", line))


def obtain(
    text: str,
    progress: Callable[[], AbstractContextManager[DownloadProgress]],
    note: Callable[[str], None],
) -> Path:
    """Return the file of the model ``text``, downloaded if need be. Raises :class:`ConfigError`.

    That is :class:`NotNow` where no server answers.

    ``progress`` makes what is told of a download while it lasts; ``note`` gets a line for the user.
    Late imports: a local file does not wait for them.
    """
    try:
        source = parse(text)
        if source is None:
            path = Path(text)
            return EMBEDDED_MODEL if text == EMBEDDED_MODEL.stem and not path.exists() else path
        from gateway.model_files.download import FetchFailed, Unreachable

        try:
            with progress() as tell:
                if isinstance(source, Hub):
                    from gateway.model_files import hub

                    return hub.pull(source, tell, note)
                from gateway.model_files import url_cache

                return url_cache.pull(source, tell)
        except Unreachable as error:
            raise NotNow(str(error)) from error
        except FetchFailed as error:
            raise ConfigError(str(error)) from error
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"{shown(text)}: {error}") from error
    except (BadSource, OSError) as error:  # OSError: a folder that this user may not look into
        raise ConfigError(str(error)) from error
