"""The progress of long work: bars in a terminal, a few lines elsewhere."""

import sys
import time
from typing import Literal, Self

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from gateway.core.byte_sizes import readable

Unit = Literal["bytes", "steps", "lines", "seconds"]
EVERY_S = 10.0
"""Between two lines about steps, where there is no terminal."""
MINUTE_S = 60
NARROW = 60
"""Columns of a terminal below which figures are worth more than a bar."""


class _SecondsLeft(bars.ProgressColumn):
    """Of a task whose total is in seconds: its duration is better known than its speed."""

    def render(self, task: bars.Task) -> Text:
        if task.finished:
            return Text()
        left = max(0.0, (task.total or 0.0) - (task.elapsed or 0.0))
        return Text(f"{left:.0f} s left", style="cyan")


def _columns(unit: Unit, width: int) -> tuple[bars.ProgressColumn, ...]:
    name = bars.TextColumn("{task.description}", markup=False)
    detail = bars.TextColumn("{task.fields[detail]}", markup=False)
    bar = bars.BarColumn(bar_width=20)
    left = bars.TimeRemainingColumn()
    if unit == "bytes":
        size, speed = bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn()
        return name, bar, size, speed, left, bars.TextColumn("left")
    if unit in ("steps", "lines"):
        dim = bars.TextColumn("{task.fields[detail]}", style="dim", markup=False)
        figures = bars.MofNCompleteColumn(), left, dim
        return figures if width < NARROW else (name, bars.BarColumn(), *figures)
    return detail, bar, bars.TimeElapsedColumn(), _SecondsLeft()


class Progress:
    """A bar on stderr for each name.

    Implements :class:`gateway.model_files.progress.DownloadProgress`.
    Without a terminal, bytes have a line when they begin and one when all are there. Steps have one
    every ten seconds, and so have lines (of a file), with the detail and the time that is left.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        console = Console(stderr=True, highlight=False)
        self._seen = console.is_terminal
        self._bars = bars.Progress(
            *_columns(unit, console.width),
            console=console,
            transient=unit in ("steps", "lines"),
            disable=not self._seen,
        )
        self._tasks = dict[str, bars.TaskID]()
        self._begun = dict[str, tuple[float, float]]()
        """The moment when each began, and how much was done before."""
        self._done = set[str]()
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(
        self,
        name: str,
        done: float,
        total: float | None,
        detail: str = "",
        *,
        sha256: str | None = None,
    ) -> None:
        """Show that ``done`` of ``total`` (None: unknown) is done of what is called ``name``."""
        if name not in self._tasks:
            # What was here before took no time now.
            self._tasks[name] = self._bars.add_task(
                name, total=total, completed=int(done), detail=detail
            )
            self._begun[name] = time.monotonic(), done
            self._bars.start()
            self._begin(name, done, total)
        # A total of None is left as it was, which is None.
        self._bars.update(self._tasks[name], completed=done, total=total, detail=detail)
        if self._unit in ("steps", "lines") and time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            more = self._more(name, done, total, detail) if self._unit == "lines" else ""
            self._line(f"{name}: {done} of {total}{more}")
        if done == total and name not in self._done:
            self._done.add(name)
            if self._unit == "bytes":
                self._line(f"{name}: all of it is here")

    def _more(self, name: str, done: float, total: float | None, detail: str) -> str:
        """Return the detail, and the time that is left at the rate so far."""
        began, before = self._begun[name]
        if total is None or done <= before:
            return f", {detail}"
        left = (total - done) * (time.monotonic() - began) / (done - before)
        shown = f"{left / MINUTE_S:.0f} min" if left > 2 * MINUTE_S else f"{left:.0f} s"
        return f", {detail}, {shown} left"

    def _begin(self, name: str, done: float, total: float | None) -> None:
        if self._unit == "bytes":
            again = f", {readable(int(done))} are here" if done else ""
            size = readable(int(total)) if total else "of unknown size"
            self._line(f"{name}: {size}{again}")

    def _line(self, line: str) -> None:
        if not self._seen:
            print(line, file=sys.stderr, flush=True)
