"""docker-compose.yml follows the specification, and what it mounts and names is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from gateway.config.config import Config

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
SERVICES = ("gateway", "prometheus", "grafana", "locust")


def interpolated(**environment: str) -> str:
    """The file as Compose reads it: values and defaults in the place of variables."""
    return re.sub(r"\$\{(\w+):-(.*?)\}", lambda it: environment.get(it[1]) or it[2], TEXT)


COMPOSE: dict[str, Any] = yaml.safe_load(interpolated())
MOUNTED = [
    (name, source, target)
    for name, service in COMPOSE["services"].items()
    for source, target in (volume.split(":")[:2] for volume in service.get("volumes", []))
]


@pytest.mark.parametrize(
    "environment", [{}, {"FORGE_MODELS": "/srv/models", "FORGE_API_KEY": "sk-1"}]
)
def test_it_follows_the_specification(environment: dict[str, str]) -> None:
    text = interpolated(**environment)
    assert "$" not in text
    assert sorted(PyCompose.from_yaml(text).service_names()) == sorted(SERVICES)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("cap_drop:", "cap_dropp:"), ("service_healthy", "healthy"), ("127.0.0.1:9090", "x:9090")],
)
def test_a_mistake_would_be_noticed(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"services\."):
        PyCompose.from_yaml(interpolated().replace(right, wrong, 1))


@pytest.mark.parametrize(("service", "source", "target"), MOUNTED)
def test_what_is_mounted_is_there(service: str, source: str, target: str) -> None:
    assert target.startswith("/")
    if source.startswith("."):
        assert (ROOT / source).exists()
    else:
        assert source in COMPOSE["volumes"]


def test_every_volume_and_config_is_used() -> None:
    assert {source for _, source, _ in MOUNTED if source[0] != "."} == set(COMPOSE["volumes"])
    used = [given["source"] for given in COMPOSE["services"]["prometheus"]["configs"]]
    assert used == list(COMPOSE["configs"])


def test_images_have_a_version_and_builds_a_stage() -> None:
    stages = re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for service in COMPOSE["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        if "build" in service:
            assert service["build"]["target"] in stages


def test_the_gateway_knows_what_it_is_told() -> None:
    options = {f"FORGE_{name.upper()}" for name in Config.model_fields} | {"HF_TOKEN"}
    given = COMPOSE["services"]["gateway"]["environment"]
    assert {line.split("=")[0] for line in given} <= options


def test_nothing_is_published_beyond_this_machine() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_there_is_time_to_drain() -> None:
    grace = COMPOSE["services"]["gateway"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Config().drain_timeout


def test_grafana_finds_what_is_provisioned() -> None:
    """Paths and names in one file are those in another."""
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards" / "forge.yml").read_text())["providers"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    targets = [target for name, _, target in MOUNTED if name == "grafana"]
    assert provider["options"]["path"] in targets
    home = COMPOSE["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert home == provider["options"]["path"] + "/forge.json"
    assert source["url"] == "http://prometheus:9090"
