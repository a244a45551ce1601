"""Wheels of what is installed here, for clean environments without a network or a compiler."""

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(lines: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed distributions that requirements need, by name, those of those, too."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [each for each in map(Requirement, lines) if _applies(each, set())]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        found[name] = distribution(wanted.name)
        needs = map(Requirement, found[name].requires or [])
        todo += [each for each in needs if _applies(each, wanted.extras)]
    return found


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    """Tell if it is one here, for a distribution that is wanted with ``extras``."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": each}) for each in ("", *extras))


def repack(installed: Distribution, folder: Path) -> Path:
    """Write a wheel of an installed distribution. Its scripts are made anew by pip."""
    told = Parser().parsestr(installed.read_text("WHEEL") or "")
    tags = [tag.split("-") for tag in told.get_all("Tag") or []]
    tag = "-".join(".".join(sorted({each[i] for each in tags})) for i in range(3))
    name = re.sub(r"[-_.]+", "_", installed.metadata["Name"])
    path = folder / f"{name}-{installed.version}-{tag}.whl"
    rows, record = io.StringIO(newline=""), ""
    writer = csv.writer(rows)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in installed.files or []:
            source = Path(str(file.locate()))
            if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
                continue
            if file.name == "RECORD" and file.parent.match("*.dist-info") and len(file.parts) == 2:
                record = file.as_posix()
                continue
            archive.write(source, file.as_posix())
            writer.writerow((file.as_posix(), "", ""))
        writer.writerow((record, "", ""))
        archive.writestr(record, rows.getvalue())
    return path
