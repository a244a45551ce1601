"""Two answers side by side in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.capture.comparing import AnswerComparison, ComparedAnswer
from gateway.cli.chat.terminal import harmless


def show(before: ComparedAnswer, now: ComparedAnswer, found: AnswerComparison) -> None:
    """Print both answers, or the one if they say the same, and why they differ."""
    console = Console(highlight=False, soft_wrap=False)
    if found.equal:
        console.print(_said(now))
        console.print("equal", style="green")
        return
    table = Table(show_lines=True, expand=True)
    table.add_column("captured", ratio=1)
    table.add_column("now", ratio=1)
    table.add_row(_said(before), _said(now))
    console.print(table)
    console.print("different", style="red")
    for reason in found.reasons:
        console.print(Text(f"- {harmless(reason)}"))


def _said(answer: ComparedAnswer) -> Text:
    """Return an answer as text alone: nothing in it is a sign for the terminal."""
    texts = answer.texts
    if not texts:
        body = answer.body.decode("utf-8", "replace")
        return Text(harmless(f"status {answer.status}\n{body}"))
    several = len(texts) > 1
    parts = [f"{name}: {text}" if several else text for name, text in texts]
    return Text(harmless("\n".join(parts)))
