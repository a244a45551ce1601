"""The report of ``forge quantize`` at its end."""

from dataclasses import dataclass
from typing import Any

from gateway.cli.quantize import loss
from gateway.core.byte_sizes import readable
from workers.protocol import Scored

WORST = 3


@dataclass(frozen=True, slots=True)
class QuantizeOutcome:
    """``scores``: the text before and after, or nothing. Sizes are those of the files."""

    target: str
    type: str
    before: int
    after: int
    changes: list[loss.Change]
    scores: list[Scored]

    @property
    def bits(self) -> float:
        """Of a weight, on average."""
        values = sum(each.after.values for each in self.changes)
        return 8 * sum(each.after.size for each in self.changes) / max(values, 1)


def as_json(outcome: QuantizeOutcome) -> dict[str, Any]:
    """For programs."""
    lists = {
        "types": loss.by(lambda each: each.types, outcome.changes),
        "kinds": loss.by(lambda each: each.kind, outcome.changes),
        "tensors": [loss.of(each.before.name, [each]) for each in outcome.changes],
    }
    perplexity = None
    if outcome.scores:
        before, after = map(loss.perplexity, outcome.scores)
        perplexity = {"before": before, "after": after, "tokens": outcome.scores[0].tokens}
    return {
        "file": outcome.target,
        "type": outcome.type,
        "bytes_before": outcome.before,
        "bytes_after": outcome.after,
        "bits_per_weight": outcome.bits,
        "all": loss.as_json(loss.of("all", outcome.changes)),
        **{name: [loss.as_json(each) for each in found] for name, found in lists.items()},
        "perplexity": perplexity,
    }


def show(outcome: QuantizeOutcome) -> None:
    """For people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    share = outcome.after / max(outcome.before, 1)
    console.print(
        f"{outcome.target}: {readable(outcome.after)} of {readable(outcome.before)} "
        f"({share:.0%}), {outcome.bits:.2f} bits a weight",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("tensors", "before", "after", "mean error", "relative"):
        table.add_column(heading, justify="right", no_wrap=True)
    for losses in (
        loss.by(lambda each: each.types, outcome.changes),
        loss.by(lambda each: each.kind, outcome.changes),
    ):
        for each in losses:
            table.add_row(*_cells(each))
        table.add_section()
    table.add_row(*_cells(loss.of("all", outcome.changes)))
    console.print(table)
    worst = loss.worst(outcome.changes, WORST)
    if worst:
        named = ", ".join(f"{each.name} ({each.relative:.1%})" for each in worst)
        console.print(f"Most lost, relative to the weights: {named}", markup=False, soft_wrap=True)
    console.print(_foretold(outcome.scores), markup=False, soft_wrap=True)


def _cells(each: loss.Loss) -> tuple[str, ...]:
    mean = "?" if each.mean is None else f"{each.mean:.2e}" if each.mean else "0"
    relative = "?" if each.relative is None else f"{each.relative:.2%}" if each.relative else "0"
    before, after = readable(each.before), readable(each.after)
    return each.name, f"{each.tensors:,}", before, after, mean, relative


def _foretold(scores: list[Scored]) -> str:
    if not scores:
        return "What that does to a text: --text FILE tells its perplexity before and after."
    before, after = map(loss.perplexity, scores)
    change = f"{after / before - 1:+.2%}" if before else "?"
    return (
        f"Perplexity of the text, {scores[0].tokens:,} tokens: {before:.4f} before, "
        f"{after:.4f} after ({change})"
    )
