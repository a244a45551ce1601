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
    todo = [Requirement(line) for line in lines]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        extras = {"", *wanted.extras}
        if wanted.marker and not any(wanted.marker.evaluate({"extra": each}) for each in extras):
            continue
        if name not in found:
            found[name] = distribution(wanted.name)
            for line in found[name].requires or []:
                each = Requirement(line)
                if each.marker is None or each.marker.evaluate({"extra": ""}):
                    todo.append(each)
    return found


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
