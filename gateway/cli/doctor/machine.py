"""The machine's limits and folders."""

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from gateway.cli.doctor.finding import Finding, ok, warning
from gateway.core.byte_sizes import GIB, readable
from gateway.http.open_files import AUTO_CONNECTIONS, RESERVED, fitting
from gateway.system import host, paths

FEW_CONNECTIONS = 512
"""Fewer than this are worth a warning."""
PROCESSES = 64
"""Processes and threads that a server takes beside those that compute."""
LITTLE_SPACE = 4 * GIB


def open_files(wanted: int | None = None) -> Finding:
    """Look at the limit on open files; ``wanted``: --max-connections, if it is a number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = AUTO_CONNECTIONS if wanted is None else wanted
    allowed = most if hard == resource.RLIM_INFINITY else min(most, fitting(hard))
    files = "without limit" if hard == resource.RLIM_INFINITY else f"at most {hard:,}"
    message = f"open files: {files}, for {allowed:,} connections"
    if allowed < (FEW_CONNECTIONS if wanted is None else wanted):
        needed = max(most, FEW_CONNECTIONS) + RESERVED
        advice = (
            f"raise the hard limit to {needed:,}: ulimit -Hn, LimitNOFILE= of a systemd unit, "
            "--ulimit nofile= of a container"
        )
        return warning("limits", message, advice)
    return ok("limits", message)


def processes(root: Path = host.SYSTEM) -> Finding:
    """Look at how many processes and threads there may be."""
    rooms = list[int]()
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        rooms.append(hard)
    for folder in host.control_groups(root):
        with suppress(OSError, ValueError):
            limit = int((folder / "pids.max").read_text())  # "max" is no number
            rooms.append(limit - int((folder / "pids.current").read_text()))
    needed = PROCESSES + 2 * host.available_cores(root)
    room = min(rooms, default=None)
    if room is not None and room < needed:
        message = f"processes and threads: {room} more, and a server takes some {needed}"
        advice = "raise ulimit -u, TasksMax= of a systemd unit, --pids-limit of a container"
        return warning("limits", message, advice)
    return ok("limits", f"processes and threads: {'enough' if room is None else f'{room:,} more'}")


def sizes() -> Iterator[Finding]:
    """Look at the limits on the address space and on files' sizes, which are seldom set."""
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        yield warning(
            "limits",
            f"address space: {readable(space)} a process, in which a model's file is mapped whole",
            "ulimit -v unlimited; limit memory by a control group (MemoryMax=, --memory) instead",
        )
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY:
        message = f"files: {readable(size)} at most, which a model's download may exceed"
        yield warning("limits", message, "ulimit -f unlimited")


def locked(needed: int) -> Finding:
    """Look at the limit on locked memory, for --mlock of a model of ``needed`` bytes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return ok("limits", "locked memory: enough for --mlock")
    return warning(
        "limits",
        f"locked memory: {readable(soft)}, and --mlock asks for {readable(needed)}",
        "ulimit -l unlimited, LimitMEMLOCK=infinity, --ulimit memlock=-1 of a container",
    )


def folders(hub: Callable[[], Path] | None) -> Iterator[Finding]:
    """Look if Forge's folders can be written; ``hub``: of the cache that the hub's programs share.

    The folders need not be there: then the nearest one above must let them be made.
    """
    wanted: dict[str, Callable[[], Path]] = {
        "cache": paths.cache_folder,
        "settings": paths.config_folder,
        "histories": paths.state_folder,
    }
    if hub is not None:
        wanted["models of the hub"] = hub
    good = list[str]()
    for name, place in wanted.items():
        try:
            path = place()
        except paths.NoHome:
            message = f"{name}: this user has no home folder"
            yield warning("folders", message, "set HOME, or XDG_CACHE_HOME and its like")
            continue
        reason = unwritable(path)
        if reason is None:
            good.append(f"{name} {path}")
        else:
            advice = "make it writable for this user, or set XDG_CACHE_HOME, XDG_CONFIG_HOME, "
            advice += "XDG_STATE_HOME or HF_HUB_CACHE to another folder"
            yield warning("folders", f"{name}: can't write into {path}: {reason}", advice)
    if good:
        yield ok("folders", "writable: " + ", ".join(good))


def unwritable(path: Path) -> str | None:
    """Return why a folder can't be written or made; None if it can."""
    try:
        with tempfile.TemporaryFile(dir=nearest(path)):
            return None
    except OSError as failure:
        return failure.strerror or str(failure)


def nearest(path: Path) -> Path:
    """Return the folder itself, or the nearest one above that is there.

    Raises OSError where this user may not look into one of them.
    """
    return next(each for each in (path, *path.parents) if each.exists())


def disk(hub: Callable[[], Path]) -> Iterator[Finding]:
    """Look at the space for models."""
    with suppress(paths.NoHome, OSError):
        folder = nearest(hub())
        free = shutil.disk_usage(folder).free
        message = f"{readable(free)} are free for models at {folder}"
        if free < LITTLE_SPACE:
            advice = "free some (forge list, forge rm), or set HF_HUB_CACHE to a folder elsewhere"
            yield warning("disk", message, advice)
        else:
            yield ok("disk", message)
