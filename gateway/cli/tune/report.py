"""The measurements, for people: tables and bars in a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli.tune.plan import Result, Setting
from gateway.cli.tune.search import Found, SearchStage
from workers.protocol import MIX_OUTPUT, MIX_PROMPT

MIB = 1 << 20
BAR = 40
"""Characters of the longest bar."""
TITLES = {
    "shape": "How the cores are divided",
    "cache": "Flash attention and the KV cache",
    "slots": "Slots",
}
COLUMNS = (
    "shape",
    "weights",
    "flash",
    "KV",
    "output tok/s",
    "",
    "turns",
    "stream",
    "alone",
    "prompts",
    "MiB",
)
SETTING = 4
"""Columns that tell a setting; the others, what was found of it."""
MEANING = (
    "shape: workers x threads x slots; output: tokens a second of all slots together, which get "
    f"prompts of {MIX_PROMPT} tokens and answer with {MIX_OUTPUT} (median of the turns ± half of "
    "their range, and beside the first line); stream: the part of each; alone: a stream without "
    "others; prompts: prompt tokens a second at best; MiB: the workers' memory. * is chosen."
)


def row(result: Result, stage: SearchStage) -> tuple[str, ...]:
    """The cells of a result."""
    setting = result.setting
    shape = f"{setting.workers}x{setting.threads}x{setting.slots}"
    name = (
        f"{shape} *" if result is stage.chosen else shape,
        weights(setting),
        setting.flash_attn,
        "/".join(dict.fromkeys((setting.cache_type_k, setting.cache_type_v))),
    )
    if result.failure is not None:
        return (*name, "failed", *[""] * (len(COLUMNS) - SETTING - 1))
    first = stage.results[0].output
    prefill = max(result.prefill.values(), default=None)
    return (
        *name,
        f"{result.output:,.1f} ±{50 * result.spread:.0f}%",
        f"{result.output / first:.2f}x" if first else "-",
        str(len(result.visits)),
        f"{result.stream:,.1f}",
        f"{result.alone:,.1f}",
        "" if prefill is None else f"{prefill:,.0f}",
        f"{result.memory / MIB:,.0f}",
    )


def show(found: Found, console: Console) -> None:
    """Tables and bars, or plain lines where there is no terminal."""
    if not console.is_terminal:
        for line in plain(found):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    for stage in found.stages:
        console.print(_table(stage))
        for result in stage.results:
            if result.failure is not None:
                text = f"failed: {result.setting}: {result.failure}"
                console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(MEANING, style="dim", highlight=False, end="\n\n")
    for line in bars(found.stages[0].results):
        console.print(line, highlight=False)
    for line in summary(found):
        console.print(line, highlight=False, markup=False)


def _table(stage: SearchStage) -> Table:
    """Without the columns that tell nothing, for terminals are narrow."""
    cells = [row(result, stage) for result in stage.results]
    told = [
        0,
        *(i for i in range(1, len(COLUMNS)) if i >= SETTING or len({c[i] for c in cells}) > 1),
    ]
    told = [index for index in told if any(line[index] for line in cells)]
    table = Table(title=TITLES[stage.name], title_justify="left", box=box.SIMPLE_HEAD)
    for index in told:
        side: Literal["left", "right"] = "right" if index >= SETTING else "left"
        table.add_column(COLUMNS[index], justify=side, no_wrap=True)
    for result, line in zip(stage.results, cells, strict=True):
        style = "bold green" if result is stage.chosen else None
        style = "red" if result.failure is not None else style
        table.add_row(*(line[index] for index in told), style=style)
    return table


def plain(search: Found) -> Iterator[str]:
    """The same without a terminal's means."""
    for stage in search.stages:
        yield f"{TITLES[stage.name]}:"
        for result in stage.results:
            cells = row(result, stage)
            labelled = [*zip(COLUMNS, cells, strict=True)][SETTING:]
            found = "; ".join(f"{label} {cell}".strip() for label, cell in labelled if cell)
            yield f"  {', '.join(cells[:SETTING])}: {result.failure or found}"
        if stage.name == "shape":
            for result in stage.results:
                rates = ", ".join(f"{n}: {rate:,.1f}" for n, rate in result.decode.items())
                if rates:
                    yield f"  decode tok/s by streams, {short(result.setting)}: {rates}"
    yield MEANING
    yield from summary(search)


def bars(results: list[Result]) -> Iterator[str]:
    """The batch-size curve: tokens a second of so many streams, for every way to divide."""
    curves = [result for result in results if result.decode]
    most = max((rate for result in curves for rate in result.decode.values()), default=0.0)
    if not most:
        return
    yield "Streams that decode at once, and their tokens a second:"
    names = [short(result.setting) for result in curves]
    width = max(map(len, names))
    colours = ("cyan", "magenta", "yellow", "blue", "green", "white")
    for size in sorted({size for result in curves for size in result.decode}):
        for index, (name, result) in enumerate(zip(names, curves, strict=True)):
            if (rate := result.decode.get(size)) is not None:
                bar = _bar(rate / most)
                step = 1000 * size / rate
                colour = colours[index % len(colours)]
                yield (
                    f"{size:>5}  {name:<{width}} [{colour}]{bar:<{BAR}}[/] "
                    f"{rate:>9,.1f} [dim]{step:,.1f} ms a step[/]"
                )
    yield ""


def _bar(part: float) -> str:
    """A bar of up to BAR characters, to an eighth of one."""
    eighths = max(1, round(part * BAR * 8))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def short(setting: Setting) -> str:
    """Return what differs in the first stage."""
    return f"{setting.workers} x {setting.threads} {weights(setting)}"


def weights(setting: Setting) -> str:
    """Return the layout of the weights."""
    return "repacked" if setting.repack else "mapped"


def summary(found: Found) -> Iterator[str]:
    """Yield the choice, and what it brings and costs."""
    chosen = found.chosen
    yield f"Best: {chosen.setting}."
    gain = "" if found.gain is None else f", {found.gain:.2f}x of what the automatic shape gives"
    yield (
        f"It gives {chosen.output:,.1f} tokens a second{gain}: {chosen.stream:.1f} to each stream "
        f"under full load, {chosen.alone:.1f} to one alone."
    )
    if len(chosen.visits) < 2:
        yield "Measured once only: on a machine that others use too, --seconds should be more."
    if found.skipped:
        stages = " and ".join(TITLES[name].lower() for name in found.skipped)
        yield f"No time was left for: {stages}. More --seconds would look at that too."
