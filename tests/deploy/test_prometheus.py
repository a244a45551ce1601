"""Prometheus with the very files that docker-compose.yml mounts, against a live server."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy import dashboard
from tests.conftest import Start
from tests.support.server import DEADLINE_S, ForgeServer, eventually, free_port

FOLDER = Path(dashboard.__file__).parent / "prometheus"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMTOOL is None or PROMETHEUS is None,
    reason="prometheus is not installed (Debian: prometheus)",
)
KEY = "sk-scraped"
VARIABLES = {"$instance": ".*", "$model": ".*", "$class": ".*", "$__rate_interval": "1m"}

PANELS = [panel for panel in dashboard.dashboard()["panels"] if "targets" in panel]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]


def names(expression: str) -> set[str]:
    """The metrics in an expression."""
    return set(re.findall(r"\b(?:forge|process)_\w+", expression))


def filled(expression: str) -> str:
    """With values for Grafana's variables."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def test_the_dashboard_is_what_its_maker_makes() -> None:
    """To write it anew: ``python -m deploy.dashboard``."""
    assert dashboard.FILE.read_text("utf-8") == dashboard.text()


def test_its_panels_stand_side_by_side() -> None:
    taken = set[tuple[int, int]]()
    for panel in dashboard.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert all(x < dashboard.WIDTH for x, _ in cells)
        taken |= cells


def test_every_metric_is_in_a_live_scrape(server: ForgeServer) -> None:
    """Names in the dashboard and the alerts: a name with its suffix is one of a sample."""
    with server.client(Accept="text/plain") as client:
        text = client.get("/metrics").text
    scraped = {it.name for family in text_string_to_metric_families(text) for it in family.samples}
    wanted = {name for text in EXPRESSIONS for name in names(text)}
    assert len(wanted) > 20
    assert wanted <= scraped
    alerted = {name for rule in RULES for name in names(rule["expr"])}
    assert len(alerted) > 5
    assert alerted <= scraped


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The files as in the container; the key is what docker-compose.yml makes of FORGE_API_KEY."""
    folder = tmp_path / "etc"
    shutil.copytree(FOLDER, folder)
    (folder / "forge.key").write_text(KEY)
    return folder


@needs_prometheus
def test_promtool_is_content(configuration: Path) -> None:
    assert PROMTOOL is not None
    for what, name in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        command = [PROMTOOL, "check", what, str(configuration / name)]
        done = subprocess.run(command, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{len(RULES)} rules found" in done.stdout


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S)

    def get(self, path: str, **parameters: str) -> Any:
        """The data that the API answers with; None as long as nobody answers."""
        try:
            response = self._client.get(f"/api/v1/{path}", params=parameters)
        except httpx.TransportError:
            return None
        if response.status_code == 503:
            return None  # it starts
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def targets(self) -> list[tuple[str, str]]:
        """The health of each, and its last error."""
        found = self.get("targets")
        return (
            []
            if found is None
            else [(it["health"], it["lastError"]) for it in found["activeTargets"]]
        )

    def series(self, expression: str) -> list[dict[str, Any]]:
        """Return the value of an expression now."""
        series: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return series

    def number(self, expression: str) -> float | None:
        """Its value, if it is one series; None if it is none."""
        series = self.series(expression)
        assert len(series) < 2
        return float(series[0]["value"][1]) if series else None

    def evaluated(self) -> bool:
        """Return whether all rules were, without an error, and raise no alarm."""
        groups = self.get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return all((rule["health"], rule["state"]) == ("ok", "inactive") for rule in rules)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def prometheus(configuration: Path, start_server: Start, tmp_path: Path) -> Iterator[Prometheus]:
    """It scrapes a server that has a key; only the file of targets is another."""
    assert PROMETHEUS is not None
    server = start_server("--workers", "1", "--slots", "2", key=KEY, env={"FORGE_API_KEY": KEY})
    target = server.url.removeprefix("http://")
    (configuration / "targets.yml").write_text(json.dumps([{"targets": [target]}]))
    port = free_port()
    command = [
        PROMETHEUS, f"--config.file={configuration / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with server.client() as client:
        client.post("/infer", json={"query": "hi", "max_tokens": 4}).raise_for_status()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    running = Prometheus(port)
    try:
        yield running
        assert process.poll() is None, (tmp_path / "log").read_text()
    finally:
        running.close()
        process.terminate()
        process.wait(DEADLINE_S)
    server.stop()


@needs_prometheus
def test_the_target_is_up_and_the_dashboard_has_data(prometheus: Prometheus) -> None:
    """All on one server: what takes time is that Prometheus scrapes every five seconds."""
    eventually(lambda: prometheus.targets() == [("up", "")], "the target is scraped")
    eventually(lambda: prometheus.number('up{job="forge"}') == 1, "it is up")
    asked = 'forge_requests_total{outcome="finished",class="normal"}'
    assert prometheus.number(asked) == 1
    # A rate needs two scrapes, and any two will do.
    tokens = filled(dashboard.rate("forge_generation_tokens_total", dashboard.OF_MODEL))
    eventually(lambda: prometheus.number(tokens) is not None, "a second scrape")
    for expression in EXPRESSIONS:
        assert prometheus.series(filled(expression)) != [], expression

    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in RULES}
    eventually(prometheus.evaluated, "all rules are evaluated")
    assert prometheus.get("alerts")["alerts"] == []
