"""Makes Grafana's dashboard: ``python -m deploy.dashboard`` writes its file."""

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parent / "grafana" / "dashboards" / "forge.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT = 24, 8
"""Of the whole dashboard, and of a panel, in Grafana's units."""
CHOSEN = '{instance=~"$instance"}'
OF_CLASS = '{instance=~"$instance",class=~"$class"}'
BY_CLASS = '{instance=~"$instance",model=~"$model",class=~"$class"}'
OF_MODEL = '{instance=~"$instance",model=~"$model"}'
WINDOW = "[$__rate_interval]"
COLOURS = {"batch": "blue", "normal": "green", "urgent": "red", "other": "purple"}

Json = dict[str, Any]


class Line(NamedTuple):
    """One expression, and what its series are called."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A chart over time."""

    title: str
    about: str
    unit: str
    """Grafana's name of it."""
    lines: tuple[Line, ...]
    stacked: bool = False


def quantiles(title: str, about: str, metric: str) -> Panel:
    """p50 and p99 of a histogram of seconds, per class."""
    rate = f"sum by (le, class) (rate({metric}_bucket{BY_CLASS}{WINDOW}))"
    lines = tuple(
        Line(f"histogram_quantile({q}, {rate})", f"{{{{class}}}} p{round(100 * q)}")
        for q in (0.5, 0.99)
    )
    return Panel(title, about, "s", lines)


def rate(metric: str, labels: str = CHOSEN) -> str:
    """How much a counter grows in a second, of all instances."""
    return f"sum(rate({metric}{labels}{WINDOW}))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "What clients feel": (
        quantiles("Queue wait", "From arrival to a worker", "forge_queue_wait_seconds"),
        quantiles(
            "Time to first token", "From arrival, the wait included",
            "forge_time_to_first_token_seconds",
        ),
        quantiles(
            "Inter-token latency", "Between two tokens of a sequence, pauses included",
            "forge_inter_token_latency_seconds",
        ),
        quantiles(
            "End to end", "From arrival to the end, of finished requests",
            "forge_e2e_request_latency_seconds",
        ),
    ),
    "The queue": (
        Panel(
            "Depth", "Sequences that wait", "short",
            (
                Line(f"sum by (class) (forge_queue_depth{OF_CLASS})", "{{class}}"),
            ),
            stacked=True,
        ),
        Panel(
            "Oldest wait", "Of those who wait now", "s",
            (
                Line(f"max by (class) (forge_oldest_wait_seconds{OF_CLASS})", "{{class}}"),
            ),
        ),
        Panel(
            "Outcomes", "Requests that ended, by how", "reqps",
            (
                Line(
                    f"sum by (outcome) (rate(forge_requests_total{BY_CLASS}{WINDOW}))",
                    "{{outcome}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Preemptions", "Sequences parked for more urgent ones", "ops",
            (Line(rate("forge_preemptions_total"), "preemptions"),),
        ),
    ),
    "The work": (
        Panel(
            "Tokens", "Sampled ones at once, those of prompts when their requests end", "short",
            (
                Line(rate("forge_generation_tokens_total", OF_MODEL), "sampled/s"),
                Line(rate("forge_prompt_tokens_total", OF_MODEL), "of prompts/s"),
                Line(rate("forge_prefix_cache_hit_tokens_total", OF_MODEL), "of them cached/s"),
            ),
        ),
        Panel(
            "Prefix cache", "Share of prompts that was not computed", "percentunit",
            (
                Line(
                    f"{rate('forge_prefix_cache_hit_tokens_total', OF_MODEL)}"
                    f" / {rate('forge_prefix_cache_queried_tokens_total', OF_MODEL)}",
                    "hit rate",
                ),
            ),
        ),
        Panel(
            "Slots", "Sequences that run, and how many can", "short",
            (
                Line(f"sum(forge_slots_busy{CHOSEN})", "busy"),
                Line(f"sum(forge_slots{CHOSEN})", "slots"),
            ),
        ),
        Panel(
            "KV cells", "A cell is a token's; only running sequences hold some", "short",
            (
                Line(f"sum(forge_kv_cells_used{CHOSEN})", "used"),
                Line(f"sum(forge_kv_cells{CHOSEN})", "cells"),
            ),
        ),
        Panel(
            "Prefixes in host memory", "Snapshots for prompts to come, and of parked work", "bytes",
            (Line(f"sum(forge_host_cache_bytes{CHOSEN})", "bytes"),),
        ),
    ),
    "The machine": (
        Panel(
            "Step time", "Each worker's last decode step", "s",
            (Line(f"forge_step_seconds{CHOSEN}", "worker {{worker}} of {{instance}}"),),
        ),
        Panel(
            "Event loop lag", "What everybody waits at least", "s",
            (
                Line(
                    "histogram_quantile(0.99, sum by (le) "
                    f"(rate(forge_event_loop_lag_seconds_bucket{CHOSEN}{WINDOW})))",
                    "p99",
                ),
                Line(f"max(forge_event_loop_lag_max_seconds{CHOSEN})", "worst of a minute"),
            ),
        ),
        Panel(
            "Workers", "By what they do", "short",
            (Line(f"sum by (state) (forge_workers{CHOSEN})", "{{state}}"),),
            stacked=True,
        ),
        Panel(
            "Failovers and restarts", "A minute: sequences put back, workers started anew", "short",
            (
                Line(f"60 * {rate('forge_failovers_total')}", "failovers"),
                Line(f"60 * {rate('forge_worker_restarts_total')}", "restarts"),
            ),
        ),
    ),
}  # fmt: skip


def dashboard() -> Json:
    """All of it, in Grafana's JSON."""
    panels: list[Json] = []
    top = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        panels.append({"type": "row", "title": title, "gridPos": place, "panels": []})
        width = WIDTH // len(row)
        for index, panel in enumerate(row):
            place = {"x": index * width, "y": top + 1, "w": width, "h": HEIGHT}
            panels.append({**chart(panel), "gridPos": place})
        top += 1 + HEIGHT
    return {
        "uid": "forge",
        "title": "Forge",
        "tags": ["forge"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": [variable(name) for name in ("instance", "model", "class")]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def chart(panel: Panel) -> Json:
    """A panel without its place."""
    custom: Json = {
        "fillOpacity": 30 if panel.stacked else 0,
        "lineWidth": 1,
        "showPoints": "never",
    }
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": custom},
            "overrides": overrides(panel),
        },
        "options": {"legend": {"placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": "ABC"[i], "expr": line.expression, "legendFormat": line.legend}
            for i, line in enumerate(panel.lines)
        ],
    }


def overrides(panel: Panel) -> list[Json]:
    """Each class has the same colour everywhere, and its median is dashed."""
    found: list[Json] = []
    if any("{{class}}" in line.legend for line in panel.lines):
        for kind, colour in COLOURS.items():
            found.append(look(f"^{kind}", "color", {"mode": "fixed", "fixedColor": colour}))
    if any(line.legend.endswith("p50") for line in panel.lines):
        found.append(look("p50$", "custom.lineStyle", {"fill": "dash", "dash": [4, 4]}))
    return found


def look(pattern: str, what: str, value: Json) -> Json:
    """Of the series whose names match."""
    matcher = {"id": "byRegexp", "options": f"/{pattern}/"}
    return {"matcher": matcher, "properties": [{"id": what, "value": value}]}


def variable(name: str) -> Json:
    """A list at the top: all, or some."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values(forge_requests_total, {name})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
