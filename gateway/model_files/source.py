"""The source of a model, and the file that is meant among several. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.core import projectors
from gateway.core.byte_sizes import readable
from gateway.core.split_files import PART, part_name

NEAREST = (
    "Q4_K_M", "Q4_K_L", "Q4_K_XL", "Q4_K_S", "Q4_K", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0",
    "MXFP4_MOE", "MXFP4",
    "Q5_K_M", "Q5_K_L", "Q5_K_XL", "Q5_K_S", "Q5_K", "Q5_1", "Q5_0",
    "Q6_K_L", "Q6_K_XL", "Q6_K",
    "Q3_K_L", "Q3_K_XL", "Q3_K_M", "Q3_K",
    "Q8_0", "Q8_K_XL",
    "IQ3_M", "IQ3_S", "Q3_K_S", "IQ3_XS", "IQ3_XXS",
    "Q2_K_L", "Q2_K_XL", "Q2_K", "IQ2_M", "IQ2_S", "Q2_K_S", "IQ2_XS", "IQ2_XXS",
    "TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S",
    "BF16", "F16", "FP16", "F32",
)  # fmt: skip
"""Quantisations in the order in which they are taken when none is named: those around four
bits, then better ones that are not much larger, then smaller ones, and last what was not quantised.
"""
QUANT = re.compile(
    r"(?<![A-Z0-9])(?:UD-)?"
    r"(?:I?Q\d(?:_[01]|_K|_NL|_XXS|_XS|_S|_M)(?:_(?:XXS|XS|S|M|L|XL))?|TQ[12]_0|MXFP4(?:_MOE)?"
    r"|BF16|FP?16|F32)(?![A-Z0-9])",
    re.IGNORECASE,
)
WITH_PROJECTOR = "+mmproj"
"""The end of a source that has the projector of the repository come, too, if there is one."""
BESIDE = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""GGUF files that lie beside models and are none."""
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
"""The name of a repository's version."""
IN_CACHE = re.compile(r"/models--[^/]+/snapshots/(?P<commit>[0-9a-f]{40})/(?P<file>.+)")
"""The end of the path of a file that is in the hub's cache."""


class BadSource(Exception):
    """A source that can't be meant so, or that has not what is asked for; one line."""


@dataclass(frozen=True, slots=True)
class Hub:
    """``hf:ORG/REPO[:QUANT|:FILE]``."""

    repository: str
    wanted: str | None
    """A quantisation or a file; None: see :data:`NEAREST`."""
    projector: bool = False
    """True: with its projector."""
    commit: str | None = None
    """The version of the repository; None: the newest."""


@dataclass(frozen=True, slots=True)
class Url:
    """A file that a web server has."""

    url: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One model among a repository's files."""

    quant: str | None
    files: tuple[str, ...]
    """Its parts in order, or the one file."""
    size: int


def parse(text: str) -> Hub | Url | None:
    """Return the source that ``text`` names; None: a local path. Raises :class:`BadSource`."""
    if re.match(r"hf:|https?://", text) and text.encode("utf-8", "replace").decode() != text:
        raise BadSource(f"{shown(text)}: not UTF-8")
    if text.startswith("hf:"):
        plain = text.removesuffix(WITH_PROJECTOR)
        place, _, wanted = plain.removeprefix("hf:").partition(":")
        repository, at, commit = place.partition("@")
        if not REPOSITORY.fullmatch(repository) or (at and not COMMIT.fullmatch(commit)):
            raise BadSource(f"{text}: expected hf:ORG/REPO, hf:ORG/REPO:QUANT or hf:ORG/REPO:FILE")
        return Hub(repository, wanted or None, plain != text, commit or None)
    if re.match(r"https?://", text):
        if text.startswith("http:") and not re.match(r"http://(127\.0\.0\.1|localhost)[:/]", text):
            raise BadSource(f"{shown(text)}: models come over https; plain http can be altered")
        _check_address(text)
        return Url(text)
    return None


def _check_address(url: str) -> None:
    """Raises :class:`BadSource` for an address that leads nowhere."""
    try:
        split = urlsplit(url)
        if split.hostname and split.port != 0:
            return
    except ValueError:  # brackets without an address of IPv6, or a port that is no number
        pass
    raise BadSource(f"{shown(url)}: no address of a file")


def pinned(text: str, file: str) -> str | None:
    """Return a source for the very ``file`` that came of ``text``; None: that is a path.

    A repository of the hub may have another version by the time another machine asks it::

        hf:org/tiny:Q8_0 and .../models--org--tiny/snapshots/0123.../tiny-Q8_0.gguf
        -> hf:org/tiny@0123...:tiny-Q8_0.gguf

    Raises :class:`BadSource`.
    """
    source = parse(text)
    if isinstance(source, Hub):
        there = IN_CACHE.search(file)
        if there is None:
            return None
        return f"hf:{source.repository}@{there['commit']}:{there['file']}"
    return None if source is None else text


def shown(url: str) -> str:
    """``url`` without what may be secret in it: a user's password, a signature in the query."""
    return re.sub(r"//[^/@]*@", "//", re.sub(r"[?#].*", "", url))


def variants(files: Mapping[str, int]) -> list[Variant]:
    """The models among ``files`` (names with sizes), whole ones only, in the order of names."""
    found = list[Variant]()
    for name in sorted(files):
        folder, _, base = name.rpartition("/")
        if not base.lower().endswith(".gguf") or BESIDE.search(base):
            continue
        match = PART.fullmatch(base)
        if match is None:
            found.append(Variant(quantisation(name), (name,), files[name]))
        elif int(match["number"]) == 1:
            count = int(match["count"])
            prefix = f"{folder}/" if folder else ""
            names = tuple(
                prefix + part_name(match["stem"], number, count) for number in range(1, count + 1)
            )
            if all(part in files for part in names):
                found.append(Variant(quantisation(name), names, sum(files[part] for part in names)))
    return found


def quantisation(name: str) -> str | None:
    """The quantisation in the name of a file, in capitals; else in that of its folder."""
    for text in reversed(name.split("/")):
        if found := QUANT.findall(text):
            return str(found[-1]).upper()
    return None


def choose(files: Mapping[str, int], source: Hub) -> Variant:
    """The model that ``source`` means. Raises :class:`BadSource` with those there are."""
    there = variants(files)
    for projector in _projectors(files):
        if source.wanted in projector.files:
            return projector
    if not there:
        raise BadSource(f"hf:{source.repository} has no GGUF files")
    if source.wanted is None:
        return _only(_default(there), source)
    wanted = source.wanted
    if wanted.lower().endswith(".gguf"):
        for variant in there:
            if wanted in variant.files or variant.files[0].endswith(f"/{wanted}"):
                return variant
    matches = [variant for variant in there if variant.quant == wanted.upper()]
    if not matches:
        raise BadSource(f"hf:{source.repository} has no {wanted}; it has {listed(there)}")
    return _only(matches, source)


def _projectors(files: Mapping[str, int]) -> list[Variant]:
    """Return what is taken if it is named alone."""
    names = [each for each in sorted(files) if projectors.NAME.search(each.rpartition("/")[2])]
    return [Variant(None, (each,), files[each]) for each in names]


def projector_of(files: Mapping[str, int], model: str) -> str | None:
    """Return the projector of a model, from its folder or from the repository's top."""
    folder, _, name = model.rpartition("/")
    for place in dict.fromkeys((folder, "")):
        there = {
            each.rpartition("/")[2]: each for each in files if each.rpartition("/")[0] == place
        }
        gguf = [each for each in there if each.lower().endswith(".gguf")]
        found = projectors.chosen(gguf, name)
        if found is not None:
            return there[found]
    return None


def _default(there: Sequence[Variant]) -> list[Variant]:
    for quant in NEAREST:
        for name in (quant, f"UD-{quant}"):
            if matches := [variant for variant in there if variant.quant == name]:
                return matches
    return list(there)


def _only(matches: Sequence[Variant], source: Hub) -> Variant:
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(variant.files[0] for variant in matches[:5])
    more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
    raise BadSource(
        f"hf:{source.repository} has several: {names}{more}; name one, as "
        f"hf:{source.repository}:{matches[0].files[0]}"
    )


def listed(there: Sequence[Variant]) -> str:
    """Quantisations with sizes, the files of those that have none."""
    by_size = sorted(there, key=lambda variant: variant.size)
    parts = [f"{one.quant or one.files[0]} ({readable(one.size)})" for one in by_size]
    return ", ".join(dict.fromkeys(parts))
