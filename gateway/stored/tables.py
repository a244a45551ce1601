"""All tables of the store, for SQLite and for PostgreSQL.

Times are whole Unix seconds. What clients have written is kept as bytes in UTF-8: PostgreSQL's
texts hold no NUL. ``seq`` orders the rows of a table as they came, which their ids do not.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database counts up; SQLite does so for its INTEGER alone."""
ID = String(64)
OWNER = String(64)
"""Name of an API key; empty on a server without keys."""

schema = Table("schema", METADATA, Column("version", Integer, primary_key=True))
"""One row: how many migrations this database has seen."""

blobs = Table(
    "blobs",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("complete", Integer, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    Index("blobs_touched", "touched_at"),
)
"""Of PostgreSQL alone: beside SQLite they are files. One that is not complete is being written."""

blob_chunks = Table(
    "blob_chunks",
    METADATA,
    Column("blob", ID, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""Equal parts of a blob, of which the last may be shorter."""

files = Table(
    "files",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("owner", OWNER, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("filename", LargeBinary, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("blob", ID, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("files_owner", "owner", "seq"),
    Index("files_expiry", "expires_at"),
    Index("files_blob", "blob"),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("owner", OWNER, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("filename", LargeBinary, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("file_age", BigInteger),
    Column("file", ID),
    Index("uploads_owner", "owner"),
    Index("uploads_expiry", "expires_at"),
)
"""``file_age``: seconds that the file is to live; ``file``: its id, once the upload is complete."""

upload_parts = Table(
    "upload_parts",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("upload", ID, ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("blob", ID, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("upload_parts_upload", "upload"),
    Index("upload_parts_blob", "blob"),
)

gateways = Table(
    "gateways",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
)
"""The servers that share this database; one whose heartbeat is old is taken for dead."""

batches = Table(
    "batches",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("owner", OWNER, nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("ending", String(16)),
    Column("gateway", ID),
    Column("priority", Float, nullable=False),
    Column("model", LargeBinary),
    Column("input_file", ID, nullable=False),
    Column("output_file", ID),
    Column("error_file", ID),
    Column("output_age", BigInteger),
    Column("metadata", LargeBinary),
    Column("errors", LargeBinary),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    Column("origin", ID),
    Index("batches_owner", "owner", "seq"),
    Index("batches_status", "status"),
)
"""``metadata`` and ``errors`` are JSON; ``gateway`` is the server that validates or finalizes;
``ending`` the last status, once it is settled: no result is added any more. ``origin`` names the
span of the request that made it, as a traceparent."""

lines = Table(
    "lines",
    METADATA,
    Column("batch", ID, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("custom_id", LargeBinary, nullable=False),
    Column("state", String(8), nullable=False),
    Column("gateway", ID),
    Column("cluster", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    Index("lines_state", "batch", "state", "cluster", "number"),
    Index("lines_gateway", "gateway"),
)
"""``state``: waiting, taken (by a ``gateway``), done or failed. ``cluster`` stands for the
beginning that a line's prompt shares with others."""

objects = Table(
    "objects",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("owner", OWNER, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("status", String(16)),
    Column("parent", ID),
    Column("children", Integer, nullable=False),
    Column("given", Integer, nullable=False),
    Column("next", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("items_size", BigInteger, nullable=False),
    Column("background", Integer, nullable=False),
    Column("gateway", ID),
    Column("seen_at", BigInteger, nullable=False),
    Column("used_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("log", LargeBinary),
    Index("objects_owner", "owner", "used_ns", "seq"),
    Index("objects_age", "used_ns"),
    Index("objects_status", "status"),
)
"""Stored responses and conversations, and what is left of deleted responses that others follow.
``body`` is JSON, ``log`` the events of a response in the background; ``next`` is the position of
the next item, and the first ``given`` are a response's input. ``children`` follow it. ``used_ns``
is in Unix nanoseconds: it orders what is evicted. ``gateway`` is the server that is at work."""

object_items = Table(
    "object_items",
    METADATA,
    Column("object", ID, ForeignKey("objects.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("owner", OWNER, nullable=False),
    Column("id", LargeBinary, nullable=False),
    Column("json", LargeBinary, nullable=False),
    Index("object_items_id", "owner", "id"),
)

object_owners = Table(
    "object_owners",
    METADATA,
    Column("owner", OWNER, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)
"""Bytes of ``objects`` that each owner has."""

captures = Table(
    "captures",
    METADATA,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("id", ID, nullable=False, unique=True),
    Column("owner", OWNER, nullable=False),
    Column("model", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("captures_owner", "owner", "seq", "size"),
    Index("captures_age", "created_at"),
)
"""Requests with their answers, for debugging; ``facts`` is JSON, with all that is told of them
beside the two bodies."""

keys = Table(
    "keys",
    METADATA,
    Column("name", OWNER, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("rights", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
"""API keys that are not the operator's. ``digest`` is the secret's SHA-256, ``rights`` are JSON."""

revisions = Table(
    "revisions",
    METADATA,
    Column("topic", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""Counts the changes of what other gateways have in memory: they look here every few seconds. A
number of keys that is not 0 says that there was a key: such a server does not become open."""

usage_hours = Table(
    "usage_hours",
    METADATA,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("owner", OWNER, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("output", BigInteger, nullable=False),
)
"""Hours since the beginning of 1970, in UTC."""

usage_spent = Table(
    "usage_spent",
    METADATA,
    Column("owner", OWNER, primary_key=True),
    Column("period", String(10), primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)
"""Tokens of each key in a day (``2026-11-30``) and a month (``2026-11``), for budgets: sums of
``usage_hours`` would take as long as there are hours and models."""

usage_writers = Table(
    "usage_writers",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)
"""The last sums that each gateway has added, so that none are added twice: an answer of the
database may be lost after its commit."""
