"""The Prometheus text, in a twentieth of the time that prometheus_client takes to write it.

That took 4 ms for 600 lines, 12 where all cores compute, and no client gets a token meanwhile.
Series never change: their lines are made once, and a scrape only appends the numbers. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/ and OpenMetrics 1.0.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, NamedTuple

Labels = Mapping[str, Iterable[str]]
"""The values that each label may have, by the label's name."""
Kind = Literal["counter", "gauge", "histogram"]


class Exemplar(NamedTuple):
    """A value of a bucket, and the trace that shows how it came about."""

    trace_id: str
    span_id: str
    value: float
    at_s: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric, with all its series as of now."""

    name: str
    """The metric's name; a counter's without _total."""
    kind: Kind
    text: str
    """The help text."""
    samples: Iterable[tuple[str, float]]
    """A series, as :func:`series` writes it, and its value."""
    exemplars: Mapping[str, Exemplar] = field(default_factory=dict)
    """By the series of buckets."""


def series(name: str, labels: Mapping[str, str]) -> str:
    """Return a line without its value."""
    pairs = ",".join(f'{label}="{_quoted(value)}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}" if pairs else name


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def combinations(labels: Labels) -> Iterator[dict[str, str]]:
    """Return all combinations of the labels' values; a single empty one without labels."""
    return (dict(zip(labels, values, strict=True)) for values in product(*labels.values()))


def without(families: Iterable[Family], models: Collection[str]) -> Iterator[Family]:
    """Yield the families without the series of some models.

    Quotes within a value are escaped, so that no other value has the text of a whole label.
    """
    labels = [f'model="{_quoted(model)}"' for model in models]
    for family in families:
        samples = [each for each in family.samples if not any(text in each[0] for text in labels)]
        yield replace(family, samples=samples)


def render(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """Return the whole body, as OpenMetrics or as Prometheus' older text, which differ little."""
    parts = []
    for family in families:
        # The older text describes a metric under the name of its samples.
        total = family.kind == "counter" and not openmetrics
        name = f"{family.name}_total" if total else family.name
        parts.append(f"# HELP {name} {family.text}\n# TYPE {name} {family.kind}\n")
        if openmetrics and family.exemplars:
            parts += _with_exemplars(family)
        else:
            parts += [f"{line} {float(value)}\n" for line, value in family.samples]
    if openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def _with_exemplars(family: Family) -> Iterator[str]:
    """Yield the lines of a family; the older text has no place for exemplars."""
    for line, value in family.samples:
        found = family.exemplars.get(line)
        if found is None:
            yield f"{line} {float(value)}\n"
            continue
        labels = series("", {"trace_id": found.trace_id, "span_id": found.span_id})
        yield f"{line} {float(value)} # {labels} {float(found.value)} {found.at_s:.3f}\n"
