"""From what a person writes for a model to a file, with a progress bar."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.config.config import EMBEDDED_MODEL, ConfigError
from gateway.core.byte_sizes import readable
from gateway.model_files.source import BadSource, Hub, parse


def obtain(text: str) -> Path:
    """The file of the model ``text``, brought here if need be. Raises :class:`ConfigError`.

    Late imports: who serves a local file does not wait for them.
    """
    try:
        source = parse(text)
        if source is None:
            path = Path(text)
            return EMBEDDED_MODEL if text == EMBEDDED_MODEL.stem and not path.exists() else path
        from gateway.model_files.download import FetchFailed

        try:
            with _bar() as bar:
                if isinstance(source, Hub):
                    from gateway.model_files import hub

                    return hub.pull(source, bar, _note)
                from gateway.model_files import url_cache

                return url_cache.pull(source, bar)
        except FetchFailed as error:
            raise ConfigError(str(error)) from error
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"{text}: {error}") from error
    except BadSource as error:
        raise ConfigError(str(error)) from error


def _note(line: str) -> None:
    print(f"forge: {line}", file=sys.stderr)


class Bar:
    """A line for each file: how much of it is here, how fast it comes, how long it will take.

    Where nobody looks, a line when it begins and one when it is there.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = dict[str, int]()
        self._done = set[str]()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            # What was here before took no time now.
            self._tasks[name] = self._progress.add_task(name, total=total, completed=done)
            self._progress.start()
            again = f", {readable(done)} are here" if done else ""
            self._plain(f"{name}: {readable(total) if total else 'of unknown size'}{again}")
        self._progress.update(self._tasks[name], completed=done, total=total)  # type: ignore[arg-type]
        if done == total and name not in self._done:
            self._done.add(name)
            self._plain(f"{name}: all of it is here")

    def _plain(self, line: str) -> None:
        if not self._console.is_terminal:
            print(line, file=sys.stderr, flush=True)

    def stop(self) -> None:
        self._progress.stop()


@contextlib.contextmanager
def _bar() -> Iterator[Bar]:
    bar = Bar()
    try:
        yield bar
    finally:
        bar.stop()
