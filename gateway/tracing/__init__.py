"""Traces: spans of requests, sent to an OpenTelemetry collector.

Nothing here costs anything until the standard variables name a collector
(:mod:`gateway.tracing.settings`): OpenTelemetry is imported by :mod:`gateway.tracing.exporter`
alone, and that by :func:`tracer` alone. Requests are drawn for keeping once their heads are here
(:mod:`gateway.tracing.requests`). What happens to one is noted where it happens, as times; its
spans are made of them at its end (:mod:`gateway.tracing.work`), never along the way.
"""

import logging
from collections.abc import Mapping

from gateway.tracing.settings import TracesRefused, settings
from gateway.tracing.tracer import Tracer

log = logging.getLogger("forge.tracing")

EXTRA = "pip install 'forge-inference-gateway[otel]'"


def tracer(environ: Mapping[str, str], model: str, version: str) -> Tracer | None:
    """Return what keeps spans, if the environment asks for that and it can be done.

    ``model``: that of requests which name none. A server whose traces can't be sent is still a
    server: the reason is logged.
    """
    wanted = settings(environ)
    if wanted is None:
        return None
    if isinstance(wanted, TracesRefused):
        log.error("no traces: %s", wanted.reason)
        return None
    try:
        from gateway.tracing.exporter import Exporter
    except ImportError as error:
        log.error(
            "no traces: %s is set, and OpenTelemetry is not installed (%s): %s",
            wanted.variable, error, EXTRA,
        )  # fmt: skip
        return None
    try:
        exporter = Exporter(wanted.place, version)
    except ValueError as error:
        log.error("no traces: %s", error)
        return None
    log.info("traces go to %s, %s", wanted.place, exporter.sampling)
    return Tracer(exporter, model)
