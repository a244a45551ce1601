"""``python -m bench.nodes`` in small: its report has a row for each kind of worker."""

from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


def test_a_report(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from bench.nodes.__main__ import main  # late: of an extra

    small = ["--rounds", "1", "--tokens", "12", "--streams", "2", "--out", str(tmp_path)]
    main(["--model", str(EMBEDDED_MODEL), *small])
    text = (tmp_path / "nodes.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| 2 ")]
    local, node = ([cell.strip() for cell in row] for row in rows)
    assert (local[1], node[1]) == ("local", "node")
    assert local[3] == "1.000x"
    assert float(node[8]) > 0, "frames crossed"
