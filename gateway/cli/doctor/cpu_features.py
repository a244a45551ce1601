"""The CPU's features and those that llama.cpp was built with. Pure.

llama.cpp is compiled for one CPU, unless its build says otherwise. On another one it is slower than
it could be, or dies of the first instruction that the CPU does not know.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

FLAGS = {
    "SSE3": "pni", "SSSE3": "ssse3", "AVX": "avx", "AVX_VNNI": "avx_vnni", "AVX2": "avx2",
    "F16C": "f16c", "FMA": "fma", "BMI2": "bmi2", "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "NEON": "asimd", "DOTPROD": "asimddp", "FP16_VA": "asimdhp", "MATMUL_INT8": "i8mm",
    "SVE": "sve", "SME": "sme",
}  # fmt: skip
"""llama.cpp's names, and those of Linux (/proc/cpuinfo)."""
COUNT = {"FMA", "AVX2", "F16C", "AVX512", "AVX512_VNNI", "AVX_VNNI", "AMX_INT8", "DOTPROD",
         "FP16_VA", "MATMUL_INT8", "SVE"}  # fmt: skip
"""Features without which a model is noticeably slower."""


class Comparison(NamedTuple):
    """The difference between a CPU and a build."""

    unused: list[str]
    """Features that the CPU has and the build does without, where that costs."""
    absent: list[str]
    """Features that the build uses and the CPU has not."""


def flags(cpuinfo: str) -> frozenset[str]:
    """Return the features of the first CPU in /proc/cpuinfo; none where it has no such line."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def compared(build: Mapping[str, str], cpu: Collection[str]) -> Comparison:
    """Compare a build's features ("1": it uses them) with a CPU's flags."""
    used = {name for name in FLAGS if build.get(name, "0") not in ("", "0")}
    has = {name for name, flag in FLAGS.items() if flag in cpu}
    return Comparison(sorted((has - used) & COUNT), sorted(used - has))
