"""Tables of words and numbers on stdout."""

from collections.abc import Iterable, Mapping, Sequence

from gateway.system.log_setup import escaped

NUMBER = "number"


def show(
    headings: Mapping[str, str], rows: Iterable[Sequence[str]], *, total: bool = False
) -> None:
    """Print a table; a heading whose kind is NUMBER is of a column of such.

    ``total``: the last row is the sum of the others.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from gateway.cli.models.command import screen_width

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, kind in headings.items():
        number = kind == NUMBER
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=number,
            overflow="ellipsis" if number else "fold",
        )
    rows = list(rows)
    for at, row in enumerate(rows, 1):
        cells = (escaped(cell).replace("[", r"\[") for cell in row)
        last = total and at == len(rows)
        table.add_row(
            *cells, style="bold" if last else "", end_section=total and at + 1 == len(rows)
        )
    Console(highlight=False, width=screen_width()).print(table)
