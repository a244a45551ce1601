"""How far a job is, for whoever looks: a bar in a terminal, a few lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

EVERY_S = 10.0
"""Between two lines where there is no terminal."""


class Bar:
    """On stderr."""

    def __init__(self, what: str) -> None:
        # Late: it takes a while to import.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._what = what
        self._seen = sys.stderr.isatty()
        self._told = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[name]}", style="dim", markup=False),
            console=Console(stderr=True),
            transient=True,
            disable=not self._seen,
        )
        self._task = self._progress.add_task(what, total=None, name="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tick(self, done: int, total: int, name: str) -> None:
        """So much of it is done."""
        self._progress.update(self._task, completed=done, total=total, name=name)
        if not self._seen and time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            print(f"{self._what}: {done} of {total}", file=sys.stderr)
