"""The standard variables: which of them ask for traces."""

import pytest

from gateway.tracing.settings import TracesRefused, TracesWanted, settings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
URL = "http://collector:4318"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: " "},
        {"OTEL_SERVICE_NAME": "forge"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL},
        {ENDPOINT: URL, "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: URL, "OTEL_SDK_DISABLED": "TRUE"},
        {ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off(environ: dict[str, str]) -> None:
    assert settings(environ) is None


@pytest.mark.parametrize(
    "environ",
    [
        {ENDPOINT: URL},
        {ENDPOINT: URL, "OTEL_SDK_DISABLED": "false"},
        {ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "console, otlp"},
        {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", TRACES: ""}
        | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
def test_on(environ: dict[str, str]) -> None:
    assert settings(environ) == TracesWanted(ENDPOINT, URL)


def test_the_variable_for_traces_comes_first() -> None:
    environ = {ENDPOINT: URL, TRACES: "https://other/v1/traces"}
    assert settings(environ) == TracesWanted(TRACES, "https://other")


def test_secrets_are_not_shown() -> None:
    wanted = settings({ENDPOINT: "https://user:secret@[::1]:4318/secret?key=secret#secret"})
    assert wanted == TracesWanted(ENDPOINT, "https://[::1]:4318")


@pytest.mark.parametrize(
    "url", ["collector:4318", "collector", "grpc://a:1", "http://", "http://["]
)
def test_no_address(url: str) -> None:
    refused = settings({ENDPOINT: url})
    assert isinstance(refused, TracesRefused)
    assert ENDPOINT in refused.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_other_ways_are_refused_by_name(name: str, value: str) -> None:
    refused = settings({ENDPOINT: URL, name: value})
    assert isinstance(refused, TracesRefused)
    assert name in refused.reason
    assert value in refused.reason
