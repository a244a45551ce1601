"""The addresses of the machine itself. Pure."""

import ipaddress

NAME = "localhost"
ORIGIN = r"[a-z][a-z0-9+.-]*://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
"""The origin of a page of this machine, whatever its port is."""


def is_loopback(address: str) -> bool:
    """Tell if an IP address leads to this machine; one of IPv4 may be written as IPv6."""
    found = _parsed(address)
    return found is not None and found.is_loopback


def is_this_machine(host: str) -> bool:
    """Tell if a client that connects to ``host`` reaches the machine that it runs on.

    The address of no machine in particular (0.0.0.0, ::), which servers print, leads there, too.
    """
    name = host.lower().rstrip(".")
    if name == NAME or name.endswith(f".{NAME}"):
        return True
    found = _parsed(_four_numbers(name))
    return found is not None and (found.is_loopback or found.is_unspecified)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _four_numbers(name: str) -> str:
    """Return an IPv4 address with all of its parts; 127.1 and 0 are short for some of them."""
    *first, last = name.split(".")
    if not all(part.isdecimal() and len(part) < 4 for part in (*first, last)) or len(first) > 3:
        return name
    return ".".join([*first, *["0"] * (3 - len(first)), last])
