"""The options of the server as a whole: address, queue, limits, keys, what it keeps and logs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from gateway.config import sampling_defaults
from gateway.config.engine_options import Auto, Count, EngineOptions
from gateway.config.media_hosts import MediaHost, media_hosts
from gateway.config.option_types import (
    ClusterAddress,
    DatabaseUrl,
    KeepAlive,
    Secret,
    origins,
    patterns,
)
from gateway.core.api_key import CaptureMode
from gateway.core.header_priority import HeaderRule, header_rules

MIN_UPLOAD_RATE = 1024
"""Bytes a second that an upload must average, once the body timeout is over."""


class ServerOptions(EngineOptions):
    """Options that are said once for a server, however many models it serves."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; localhost is 127.0.0.1 and ::1",
    )
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    cluster: ClusterAddress | None = Field(
        None,
        description="run the workers on the nodes of a Ray cluster: auto, if this machine is one "
        "of them, or HOST:PORT of its control service; it needs the extra [ray]",
    )
    force: bool = Field(False, description="load the model even if memory is too small")
    tuned: Literal["auto", "off"] = Field(
        "auto",
        description="use what was measured as best for this model and machine, by `forge tune` or "
        "at the first load, unless it is set; off: measure nothing either",
    )
    catalog: bool = Field(
        False,
        description="serve every model that `forge list` shows, by its name: loaded by the first "
        "request for it, within --memory-budget; no request downloads anything",
    )
    spare: bool = Field(
        True,
        description="keep a process ready, without the model, for the death of the only worker of "
        "a server with one model; it takes some 56 MiB",
    )
    lora_dir: Path | None = Field(
        None,
        description="folder of LoRA adapters that admins may load while the server runs, with "
        "POST /v1/load_lora_adapter; none: they may load none",
    )
    sampling: Mapping[str, Any] = Field(
        {},
        description="defaults of requests, in any dialect, as a JSON object of a request's fields "
        'such as {"temperature": 0.7, "top_k": 20}, or a table of the config file; may be said '
        "several times",
    )
    memory_budget: Count | Auto = Field(
        "auto",
        description="MiB of memory for the whole server when it serves several models: idle ones "
        "are unloaded for the one that is requested; auto: memory free at the start, less "
        "--cache-ram; with one model it only bounds a reload, whose new workers come up beside "
        "the old ones if there is room for both",
    )
    keep_alive: KeepAlive = Field(
        300.0,
        description="seconds without work (or 5m, 1h) after which one of several models is "
        "unloaded; 0: at once; -1 or forever: never",
    )
    aging_rate: float = Field(
        0.2, ge=0, le=1e6, allow_inf_nan=False, description="priority gained per second of waiting"
    )
    max_queue: int = Field(
        1000, ge=1, description="most requests in the queue; further ones get 429 at once"
    )
    max_queue_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="most bytes of prompts in the queue"
    )
    queue_timeout: float | None = Field(
        None,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="seconds a request may wait to be started, unless it has its own `timeout`",
    )
    preempt: Literal["on", "off"] = Field(
        "on", description="park a running request when a waiting one has a higher base priority"
    )
    quantum: float = Field(
        0.5,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds a request keeps its slot before it may be parked",
    )
    max_body: int = Field(
        4 * 1024 * 1024, ge=1024, le=128 * 1024 * 1024, description="largest request body in bytes"
    )
    max_media: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        le=128 * 1024 * 1024,
        description="most bytes of a request's pictures and sound together, as files; in base64 "
        "they may be so much beside the --max-body of its text, if a model takes some",
    )
    media_number: int = Field(
        16,
        ge=1,
        le=1024,
        description="most pictures and sounds of a request, the earlier turns' included",
    )
    media_hosts: tuple[MediaHost, ...] = Field(
        (),
        description="hosts from which pictures and sound are fetched whose address a request "
        "brings: HOST, HOST:PORT or *.HOST, separated by commas; over https, and from addresses of "
        "the internet alone; none: nothing is fetched",
    )
    max_connections: Count | Auto = Field(
        "auto",
        description="most connections at once; further ones get 503; auto: 16384, or as many as "
        "the limit on open files allows",
    )
    header_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds from a request's first byte to the end of its headers, and for a TLS "
        "handshake; then 408",
    )
    body_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="seconds to wait for the next byte of a body; after as many seconds in all, "
        f"an upload must also have averaged {MIN_UPLOAD_RATE} bytes a second; then 408",
    )
    idle_timeout: float = Field(
        75.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="seconds that a connection stays open between requests, or before the first",
    )
    store_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="most bytes of stored responses and conversations, which are kept in memory "
        "unless --data-dir or --database is given; the oldest of the key with the most go first; "
        "0: nothing is stored",
    )
    store_age: float = Field(
        86400.0,
        gt=0,
        le=31536000,
        allow_inf_nan=False,
        description="seconds that a stored response is kept at most, and a conversation after its "
        "last change",
    )
    capture: CaptureMode = Field(
        "off",
        description="keep requests with their answers for debugging, in --data-dir or --database: "
        "of those that say X-Capture: 1, or of all; it counts for clients without API keys, and "
        "for keys whose table does not say `capture`",
    )
    capture_number: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="most captures; the oldest of the key with the most go first",
    )
    capture_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="most bytes of all captures, and in memory of those that are not written yet",
    )
    capture_age: float = Field(
        604800.0,
        gt=0,
        le=31536000,
        allow_inf_nan=False,
        description="seconds that a capture is kept at most",
    )
    capture_size: int = Field(
        1024 * 1024,
        ge=1024,
        le=128 * 1024 * 1024,
        description="most bytes of a captured body, and of its answer; what is longer is cut",
    )
    redact: tuple[str, ...] = Field(
        (),
        description="pattern (a regular expression of RE2) of what captures must not keep, in "
        "requests and answers; may be said several times, as a list in the config file; in the "
        "environment each pattern is a line",
    )
    data_dir: Path | None = Field(
        None,
        description="folder for uploaded files, batches and stored responses, for one server at a "
        "time; without it and --database the server keeps no files and batches",
    )
    database: DatabaseUrl | None = Field(
        None,
        description="postgresql://... for all of that instead of --data-dir, for one server or "
        "several that share it; in the environment no other user of the machine sees its password",
    )
    usage_days: int = Field(
        400,
        ge=0,
        le=36500,
        description="days that the usage of keys and models is kept, by the hour; without "
        "--data-dir or --database since the start, in memory; 0: no usage, budgets alone",
    )
    max_file: int = Field(
        512 * 1024 * 1024, ge=1024, le=2**40, description="largest uploaded file in bytes"
    )
    max_stored_bytes: int = Field(
        16 * 1024 * 1024 * 1024,
        ge=0,
        le=2**60,
        description="most bytes of files that one API key may keep, unless its table in "
        "--api-key-file says otherwise",
    )
    keepalive: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="seconds after which a stream that still waits gets its headers, and from "
        "then on a comment, so that proxies keep it open",
    )
    stuck_timeout: float = Field(
        30.0,
        gt=0,
        le=86400,
        description="seconds without a heartbeat before a worker is replaced; a working one sends "
        "several in that time, even with a slow model",
    )
    step_timeout: float = Field(
        300.0,
        gt=0,
        le=86400,
        description="seconds one decode step (at most --batch tokens) may take before its worker "
        "is replaced",
    )
    drain_timeout: float = Field(
        30.0, ge=0, le=86400, description="seconds to finish running requests after SIGTERM"
    )
    retire_timeout: float = Field(
        1800.0,
        ge=0,
        le=86400,
        allow_inf_nan=False,
        description="seconds that requests have to end on workers which a reload replaces; then "
        "they fail",
    )
    header_priority: tuple[HeaderRule, ...] = Field(
        (),
        description="priorities of requests that ask for none, by their headers: "
        "'HEADER: PATTERN = PRIORITY', separated by commas, or a table of the config file; the "
        "first that is met counts",
    )
    api_key: Secret | None = Field(
        None, description="API key that clients must send; it has no limits and the name `default`"
    )
    api_key_file: Path | None = Field(
        None, description="TOML file of keys with a highest priority, weight and limits each"
    )
    ssl_keyfile: Path | None = Field(None, description="PEM file of the TLS key: serve HTTPS")
    ssl_certfile: Path | None = Field(None, description="PEM file of the TLS certificate chain")
    cors_origin: tuple[str, ...] = Field(
        (),
        description="web origins whose pages may use the API, separated by commas; * is all, "
        "localhost any page of this machine",
    )
    metrics: bool = Field(True, description="serve Prometheus metrics at /metrics")
    llamacpp_metrics: bool = Field(
        False,
        description="serve llama-server's metrics, too: llamacpp:* names beside Forge's own; "
        "/metrics is text then, unless JSON is asked for",
    )
    page: bool = Field(True, description="serve the live page at / and /dashboard")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="how much to log on stderr; info has a line for each request"
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="lines for people, or a JSON object each"
    )
    ollama_version: str = Field(
        "0.17.0",
        pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){2}[0-9A-Za-z.+-]{0,40}$",
        description="the version of Ollama that /api/version tells; clients refuse old ones",
    )
    unknown_parameters: Literal["ignore", "refuse"] = Field(
        "ignore",
        description="parameters of requests that are not known: ignore and name them in a header,"
        " or refuse them",
    )
    log_prompts: bool = Field(False, description="log the prompts of requests, too")

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """TOML's true is no 1."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation is not bool and "on" not in get_args(annotation):
            raise ValueError("true and false are no values for this option")
        return value

    @field_validator("data_dir", "database", "lora_dir", "cluster", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        """An empty variable switches off what a unit or an image has set; it is no folder."""
        return None if value == "" else value

    @field_validator("cors_origin", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return origins(value)

    @field_validator("redact", mode="before")
    @classmethod
    def _patterns(cls, value: Any) -> Any:
        return patterns(value)

    @field_validator("media_hosts", mode="before")
    @classmethod
    def _media_hosts(cls, value: Any) -> Any:
        return media_hosts(value)

    @field_validator("header_priority", mode="before")
    @classmethod
    def _header_rules(cls, value: Any) -> Any:
        return header_rules(value)

    @field_validator("sampling", mode="before")
    @classmethod
    def _sampling(cls, value: Any) -> Any:
        return sampling_defaults.joined(value)
