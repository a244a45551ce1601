"""Bytes as people read them. Pure."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def readable(count: float) -> str:
    """With the unit that fits, from KiB on; a digit after the point where it says something."""
    if count >= GIB:
        return f"{count / GIB:.1f} GiB"
    if count >= 10 * MIB or count == 0:
        return f"{count / MIB:.0f} MiB"
    return f"{count / MIB:.1f} MiB" if count >= MIB else f"{count / KIB:.0f} KiB"
