"""``forge pull`` without a name: models that fit this machine, to choose one."""

import sys
from collections.abc import Sequence

from gateway.config.config import ConfigError
from gateway.core.byte_sizes import readable
from gateway.model_files.suggestions import SUGGESTIONS, FittingModel, offers
from gateway.system import host

TRIES = 3
BYTES_PER_CORE = 500_000_000
"""Bytes of a model for each core: a judgement; a token reads every one of them."""


def chosen() -> FittingModel:
    """Show the models that fit and return the one that is chosen. Raises :class:`ConfigError`."""
    free = host.memory_available()
    room = host.total_memory() if free is None else free
    found = offers(host.available_cores(), room)
    if not found:
        smallest = SUGGESTIONS[0].source
        raise ConfigError(
            f"{readable(room)} of memory are free, which is too little for the models that "
            f"forge pull knows; the smallest is {smallest}"
        )
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    _show(found, room, to_stderr=asking)
    if not asking:
        raise ConfigError(f"no terminal to choose in; name one: forge pull {_default(found)}")
    return _ask(found)


def _default(found: Sequence[FittingModel]) -> str:
    """Return the source of the largest model that so many cores compute fast enough to chat."""
    most = BYTES_PER_CORE * host.available_cores()
    quick = [each for each in found if each.suggestion.size <= most]
    return (quick or found)[-1 if quick else 0].suggestion.source


def _show(found: Sequence[FittingModel], room: int, *, to_stderr: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gateway.cli.models.command import screen_width

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "Size", "Memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Model, licence, use", overflow="fold")
    for number, each in enumerate(found, 1):
        model, ctx = each.suggestion, f"; with --ctx {each.ctx}" if each.ctx is not None else ""
        name = f"{model.source}\n[dim]{model.licence}; {model.about}{ctx}[/dim]"
        table.add_row(str(number), readable(model.size), readable(each.need), name)
    screen = Console(highlight=False, width=screen_width(), stderr=to_stderr)
    screen.print(f"{readable(room)} of memory are free. These fit, with what forge serve takes:")
    screen.print(table)
    left = len(SUGGESTIONS) - len(found)
    if left:
        screen.print(f"{left} more need more memory.")
    screen.print("Sizes and memory are estimates; any other GGUF repository works as well.")


def _ask(found: Sequence[FittingModel]) -> FittingModel:
    """Ask for a number. Raises :class:`ConfigError` if there is none."""
    for _ in range(TRIES):
        try:
            print(f"Which one? [1-{len(found)}] ", end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline().strip()
        except UnicodeDecodeError:
            continue
        digits = len(answer) < 10 and answer.isascii() and answer.isdecimal()
        if digits and 1 <= int(answer) <= len(found):
            return found[int(answer) - 1]
        if not answer:
            break
    raise ConfigError("nothing was chosen, and nothing was downloaded")
