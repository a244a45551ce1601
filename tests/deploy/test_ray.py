"""The files for a Ray cluster: their schema, and that they fit each other, the image and Forge."""

import configparser
import json
import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.config.config import Config
from gateway.config.sources import load
from gateway.served.cluster_pools import need

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads(Path(__file__).with_name("raycluster.schema.json").read_text("utf-8"))
DOCUMENTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes" / "ray.yaml").read_text("utf-8"))
)
KINDS = {each["kind"]: each for each in DOCUMENTS}
CLUSTER = KINDS["RayCluster"]["spec"]
(GROUP,) = CLUSTER["workerGroupSpecs"]
HEAD_POD, WORKER_POD = (each["template"]["spec"] for each in (CLUSTER["headGroupSpec"], GROUP))
GATEWAY_POD = KINDS["Deployment"]["spec"]["template"]["spec"]
PODS = [HEAD_POD, WORKER_POD, GATEWAY_POD]
(GATEWAY,) = GATEWAY_POD["containers"]
RAY = next(
    line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line.startswith("ray==")
)


def test_the_cluster_is_what_kuberay_takes() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(KINDS["RayCluster"], SCHEMA)
    wrong = deepcopy(KINDS["RayCluster"])
    wrong["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError, match="0 is not of type 'string'"):
        jsonschema.validate(wrong, SCHEMA)


def test_all_pods_have_the_same_image_with_the_same_ray() -> None:
    images = {
        container["image"]
        for pod in PODS
        for container in (*pod["containers"], *pod["initContainers"])
    }
    dockerfile = (DEPLOY / "ray" / "Dockerfile").read_text("utf-8")
    assert len(images) == 1
    assert f"-t {images.pop()} " in dockerfile
    assert f'"ray[default]=={RAY}"' in dockerfile
    assert CLUSTER["rayVersion"] == RAY
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert f"ARG FORGE={compose['services']['gateway']['image']}\n" in dockerfile


def test_volumes_secrets_and_selectors_fit() -> None:
    for pod in PODS:
        volumes = {each["name"] for each in pod["volumes"]}
        containers = [*pod["containers"], *pod["initContainers"]]
        mounted = {mount["name"] for each in containers for mount in each["volumeMounts"]}
        assert mounted == volumes
    deployment = KINDS["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert KINDS["Service"]["spec"]["selector"] == labels
    assert "Secret" not in KINDS, "a key that is in a file is known"
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {KINDS["PersistentVolumeClaim"]["metadata"]["name"]}


def test_no_port_of_rays_is_open() -> None:
    """A token and TLS in every pod that Ray runs in, and a policy that covers all of them."""
    assert CLUSTER["authOptions"] == {"mode": "token"}
    for pod in PODS:
        env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert env["RAY_USE_TLS"] == "1"
        assert {"RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"} <= set(env)
    env = {each["name"]: each for each in GATEWAY["env"]}
    assert env["RAY_AUTH_MODE"]["value"] == "token"
    secret = env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert secret["name"] == KINDS["RayCluster"]["metadata"]["name"], "KubeRay calls it so"
    policies = [each["spec"] for each in DOCUMENTS if each["kind"] == "NetworkPolicy"]
    ray = next(each for each in policies if "ports" not in each["ingress"][0])
    (label,) = ray["podSelector"]["matchLabels"].items()
    templates = [CLUSTER["headGroupSpec"]["template"], GROUP["template"]]
    templates.append(KINDS["Deployment"]["spec"]["template"])
    assert all(label in each["metadata"]["labels"].items() for each in templates)
    assert [each["podSelector"]["matchLabels"] for each in ray["ingress"][0]["from"]] == [
        dict([label])
    ]
    api = next(each for each in policies if each is not ray)
    assert [each["port"] for each in api["ingress"][0]["ports"]] == [
        GATEWAY["ports"][0]["containerPort"]
    ]


def test_a_worker_fits_a_node(tmp_path: Path) -> None:
    file = tmp_path / "forge.toml"
    file.write_text(KINDS["ConfigMap"]["data"]["forge.toml"])
    config = load({}, {}, file)
    assert config.cluster == "auto"
    (worker,) = WORKER_POD["containers"]
    assert need(config).cpus == float(worker["resources"]["limits"]["cpu"])
    assert config.shape().threads == need(config).cpus
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    options = {f"FORGE_{name.upper()}" for name in Config.model_fields}
    said = {each["name"] for each in GATEWAY["env"] if each["name"].startswith("FORGE_")}
    assert said <= options
    assert "exec forge serve --config /etc/forge/forge.toml" in GATEWAY["args"][0]
    assert "--num-cpus=0" in GATEWAY["args"][0]
    head = f"{KINDS['RayCluster']['metadata']['name']}-head-svc:6379"
    assert f"--address={head} " in GATEWAY["args"][0]


def test_a_pod_makes_its_certificate(tmp_path: Path) -> None:
    """The script of the ConfigMap, on an authority of the test's own."""
    for name in ("ca", "tls"):
        (tmp_path / name).mkdir()
    ca = tmp_path / "ca"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    command += ["-keyout", str(ca / "ca.key"), "-out", str(ca / "ca.crt")]
    subprocess.run(command, check=True, capture_output=True)
    script = KINDS["ConfigMap"]["data"]["certificate.sh"].replace("/etc/ray", str(tmp_path))
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "POD_IP": "10.1.2.3", "FQ_RAY_IP": "head.svc"}
    subprocess.run(["sh", "-c", script], check=True, capture_output=True, env=env)
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", tmp_path / "tls/tls.crt"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "IP Address:10.1.2.3" in told
    assert "DNS:head.svc" in told
    files = [str(tmp_path / "tls" / name) for name in ("ca.crt", "tls.crt")]
    subprocess.run(["openssl", "verify", "-CAfile", *files], check=True, capture_output=True)


def test_the_unit_of_a_bare_machine() -> None:
    text = (DEPLOY / "ray" / "ray-node.service").read_text("utf-8")
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert "ray start --block" in service["ExecStart"]
    named = set(re.findall(r"^#   (RAY_\w+)=", text, re.MULTILINE))
    assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USE_TLS", "RAY_START"} <= named
