"""The garbage collector rests while modules are imported, and works afterwards."""

import gc
import subprocess
import sys

import pytest

from gateway.system import collector


def test_it_works_again_after_a_pause() -> None:
    with collector.paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_also_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), collector.paused():
        raise ImportError
    assert gc.isenabled()


def test_what_a_process_starts_with_is_looked_at_no_more() -> None:
    source = (
        "import gc\nfrom gateway.system import collector\n"
        "with collector.at_start():\n import json\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
