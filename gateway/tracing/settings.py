"""The standard variables that say if there are traces, and where they go. Pure.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ The others
(headers, certificates, timeouts, batches, sampler, resource) are read by OpenTelemetry's own SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"


@dataclass(frozen=True, slots=True)
class TracesWanted:
    """Traces are wanted."""

    variable: str
    """The variable that says so."""
    place: str
    """The collector's address without what may be secret in it, for people."""


@dataclass(frozen=True, slots=True)
class TracesRefused:
    """Traces are wanted in a way that is not served."""

    reason: str


def settings(environ: Mapping[str, str]) -> TracesWanted | TracesRefused | None:
    """Return what the environment asks for; None: no traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    found = _first(environ, ENDPOINTS)
    exporters = {each.strip() for each in environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}
    if found is None or exporters == {"none"}:
        return None
    if exporters and "otlp" not in exporters:
        return TracesRefused(
            f"OTEL_TRACES_EXPORTER: only 'otlp' and 'none' are served, not {exporters}"
        )
    protocol = _first(environ, PROTOCOLS)
    if protocol is not None and protocol[1] != SPOKEN:
        name, value = protocol
        return TracesRefused(
            f"{name}: only {SPOKEN} is spoken, to port 4318 as a rule, not '{value}'"
        )
    return _checked(*found)


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the first variable that has a value, and that; an empty one counts as none."""
    values = ((name, environ.get(name, "").strip()) for name in names)
    return next((each for each in values if each[1]), None)


def _checked(variable: str, url: str) -> TracesWanted | TracesRefused:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        return TracesRefused(f"{variable}: no address such as http://localhost:4318")
    shown = f"[{host}]" if ":" in host else host
    return TracesWanted(
        variable, f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")
    )
