"""We are forge-inference-gateway: the name that we had belongs to another project."""

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.conftest import ROOT

TAKEN = re.compile("forge[-_]" + "gateway", re.IGNORECASE)
MAY_NAME_IT = {"docs/upgrading.md", "CHANGELOG.md"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
EXACT = {"llama-cpp-python", "llguidance", "uvicorn"}
"""Forge relies on internals of these."""


def texts() -> dict[str, str]:
    """All text files under version control, or that are to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = {}
    for name in listed:
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in data:
            found[name] = data.decode("utf-8", "replace")
    return found


def test_the_name_of_another_project_is_not_told() -> None:
    named = {name for name, text in texts().items() if TAKEN.search(text)}
    assert named <= MAY_NAME_IT


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    given = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in given}


def test_constraints_are_names_and_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    for line in lines:
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)


@pytest.mark.parametrize(
    "line",
    sorted({*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)}),
)
def test_each_dependency_has_a_range_and_a_tested_version_in_it(line: str) -> None:
    requirement = Requirement(line)
    name = canonicalize_name(requirement.name)
    assert requirement.specifier.contains(constraints()[name], prereleases=True)
    exact = any(each.operator == "==" for each in requirement.specifier)
    assert exact == (name in EXACT)
