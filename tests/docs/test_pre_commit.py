"""The hooks for commits are local, and what they start exists."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

REPOSITORIES = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
HOOKS = [hook for repository in REPOSITORIES for hook in repository["hooks"]]


def test_all_hooks_are_local() -> None:
    assert {repository["repo"] for repository in REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in HOOKS} == {"system"}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_what_a_hook_starts_exists(hook: dict[str, Any]) -> None:
    command, *arguments = shlex.split(hook["entry"])
    # As in a shell where the environment of these tests is active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    assert shutil.which(command, path=path)
    named = [each for each in arguments if "/" in each]
    assert [each for each in named if not (ROOT / each).exists()] == []
