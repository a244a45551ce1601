"""The files for service managers: systemd's, launchd's and Kubernetes' own checks, and ours."""

import configparser
import json
import plistlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.console import Exit
from gateway.cli.main import build_parser
from gateway.config.config import Config
from tests.support.server import ForgeServer

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
DRAIN_S = Config().drain_timeout
SERVICES = (ROOT / "docs" / "guides" / "services.md").read_text("utf-8")
OPTIONS = {f"FORGE_{name.upper()}" for name in Config.model_fields}


class Unit(configparser.RawConfigParser):
    """A unit of systemd; of a key that is given several times, the last value."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters=("=",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read(DEPLOY / "systemd" / name)


def known(command: list[str]) -> dict[str, Any]:
    """A command line, as forge understands it."""
    program, *arguments = command
    assert program.endswith("/bin/forge")
    return vars(build_parser().parse_args(arguments))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text("utf-8")
        # The program has to be there.
        (tmp_path / path.name).write_text(text.replace("/opt/forge/bin/forge", "/bin/true"))
    units = sorted(str(path) for path in tmp_path.iterdir())
    command = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    broken = tmp_path / "forge.service"
    text = broken.read_text("utf-8")
    broken.write_text(text.replace("WatchdogSec=30", "WatchdogSec=soon"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert "forge.service:" in done.stderr


def test_the_service_is_what_the_server_speaks() -> None:
    service = Unit("forge.service")["Service"]
    given = known(service["ExecStart"].split())
    assert given == {"command": "serve", "config": Path("/etc/forge/forge.toml")}
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) >= 10
    assert int(service["TimeoutStopSec"]) > DRAIN_S
    assert int(service["RestartPreventExitStatus"]) == Exit.REFUSED
    assert Unit("forge.service")["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(service["RestartSec"]) >= 10
    assert {"AF_UNIX", "AF_INET"} <= set(service["RestrictAddressFamilies"].split())
    socket = Unit("forge.socket")["Socket"]
    assert socket["ListenStream"] == f"{Config().host}:{Config().port}"


def test_launchd_can_read_its_file() -> None:
    path = DEPLOY / "launchd" / "forge.plist"
    if shutil.which("plutil") is not None:
        subprocess.run(["plutil", "-lint", str(path)], check=True)
    told = plistlib.loads(path.read_bytes())
    assert known(told["ProgramArguments"])["command"] == "serve"
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert told["ExitTimeOut"] > DRAIN_S
    limits = told["SoftResourceLimits"]["NumberOfFiles"], told["HardResourceLimits"]
    assert limits == (16640, {"NumberOfFiles": 16640})
    assert set(told) <= {
        "Label", "ProgramArguments", "RunAtLoad", "KeepAlive", "ThrottleInterval", "ExitTimeOut",
        "ProcessType", "SoftResourceLimits", "HardResourceLimits", "StandardOutPath",
        "StandardErrorPath",
    }  # fmt: skip


KUBERNETES: dict[str, Any] = {
    each["kind"]: each
    for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "forge.yaml").read_text("utf-8"))
}
POD: dict[str, Any] = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = [CONTAINER[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]


def test_the_manifests_fit_each_other() -> None:
    deployment = KUBERNETES["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert KUBERNETES["Service"]["spec"]["selector"] == labels
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
    assert KUBERNETES["Service"]["spec"]["ports"][0]["targetPort"] in ports
    assert all(probe["httpGet"]["port"] in ports for probe in PROBES)
    volumes = {each["name"]: each for each in POD["volumes"]}
    assert {each["name"] for each in CONTAINER["volumeMounts"]} == set(volumes)
    places = [each["mountPath"] for each in CONTAINER["volumeMounts"]]
    assert len(set(places)) == len(places)
    names = {kind: each["metadata"]["name"] for kind, each in KUBERNETES.items()}
    claim = volumes["cache"]["persistentVolumeClaim"]["claimName"]
    assert claim == names["PersistentVolumeClaim"]
    assert volumes["config"]["configMap"]["name"] == names["ConfigMap"]
    secret = CONTAINER["envFrom"][0]["secretRef"]
    assert f"create secret generic {secret['name']} " in SERVICES
    assert not secret.get("optional"), "without a key all the cluster could use it"
    assert "Secret" not in names, "a key that is in a file is known"


def test_the_manifests_fit_the_image_and_the_command() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert CONTAINER["image"] == compose["services"]["gateway"]["image"]
    user = POD["securityContext"]["runAsUser"]
    assert f"\nUSER {user}\n" in dockerfile
    assert f"FORGE_PORT={CONTAINER['ports'][0]['containerPort']}" in dockerfile
    assert 'ENTRYPOINT ["tini", "--", "forge"]' in dockerfile
    assert known(["/bin/forge", *CONTAINER["args"]])["command"] == "serve"
    told = [each["name"] for each in CONTAINER["env"]]
    assert {*told, *re.findall(r"from-literal=(\w+)=", SERVICES)} <= OPTIONS
    sleep = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > DRAIN_S + sleep
    folders = re.search(r"^VOLUME (.*)$", dockerfile, re.MULTILINE)
    assert folders is not None
    kept = {each["mountPath"] for each in CONTAINER["volumeMounts"] if each["name"] == "cache"}
    assert kept == {each for each in json.loads(folders[1]) if each.startswith("/home/forge/")}


@pytest.mark.parametrize("probe", PROBES, ids=["startup", "readiness", "liveness"])
def test_probes_are_answered_without_a_key(server: ForgeServer, probe: dict[str, Any]) -> None:
    with server.client(Authorization="") as client:
        assert client.get(probe["httpGet"]["path"]).status_code == 200


def test_the_config_map_is_a_configuration(tmp_path: Path) -> None:
    from gateway.config.sources import load

    file = tmp_path / "forge.toml"
    file.write_text(KUBERNETES["ConfigMap"]["data"]["forge.toml"])
    assert load({}, {}, file).log_format == "json"
