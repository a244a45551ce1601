"""The study project's aging pass in its own language, so that Python is not what makes it slow."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("study_aging.cpp")


@dataclass(frozen=True, slots=True)
class StudyCpp:
    """The compiled ``study_aging.cpp``."""

    program: Path

    def pass_ms(self, n: int, passes: int) -> float:
        """The fastest of ``passes`` aging passes over ``n`` waiting jobs, in ms."""
        return float(self._run("time", str(n), str(passes)))

    def order(self, priorities: Sequence[float], passes: int) -> list[int]:
        """Numbers of the jobs in the order in which they come out after some passes."""
        text = self._run("order", str(passes), stdin=" ".join(map(repr, priorities)))
        return [int(number) for number in text.split()]

    def _run(self, *arguments: str, stdin: str = "") -> str:
        command = [str(self.program), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)
        return done.stdout


@contextmanager
def compiled() -> Iterator[StudyCpp | None]:
    """The program, as long as it is needed; None where there is no C++ compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="forge-bench-") as directory:
        program = Path(directory) / "study_aging"
        command = [compiler, "-O2", "-std=c++17", "-o", str(program), str(SOURCE)]
        subprocess.run(command, check=True)
        yield StudyCpp(program)
