"""The database: SQLite in the data folder, or PostgreSQL for several gateways.

SQLAlchemy Core over aiosqlite and asyncpg, so that a statement is written once. SQLite has a
write-ahead log, and what is committed has been flushed to the disk (``synchronous=FULL``): a
commit survives a power failure. It has one writer at a time. Transactions that write take turns
here, in memory, instead of waiting for each other in its lock, where the order is chance.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.core.errors import ForgeError, StorageFull, Unavailable
from gateway.stored.errors import StatementFailed, StoreUnreachable, StoreUnusable
from gateway.stored.migrations import MIGRATIONS, Migration, migrate

BUSY_S, CONNECT_S, COMMAND_S = 10, 10, 60
POOL = 5
"""Connections that are kept; as many again are opened under load."""
MIGRATION_LOCK = 0x466F726765
"""PostgreSQL's advisory lock of a server that looks after the schema."""
DISK_FULL = "53100"
"""PostgreSQL's code."""
READS = "forge_reads"
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=ON",  # of macOS alone: its fsync leaves data in the disk's own cache
    "checkpoint_fullfsync=ON",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_S * 1000}",
    "secure_delete=ON",  # deleted texts must not stay in free pages
)


class Database:
    """An engine, made by :meth:`open`."""

    def __init__(self, url: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        """``url``: ``postgresql://...`` as libpq takes it, or a path of SQLite's file."""
        self.postgres = is_postgres(url)
        self._url = url
        self._migrations = migrations
        self._engine: AsyncEngine | None = None
        self._driver_errors: tuple[type[Exception], ...] = ()
        """asyncpg's own, which connecting raises: SQLAlchemy has not seen them yet."""
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises :class:`StoreUnusable`."""
        async with contextlib.AsyncExitStack() as unless_open:
            unless_open.push_async_callback(self.close)
            await self._connect()
            unless_open.pop_all()

    async def _connect(self) -> None:
        if self.postgres:
            self._engine, self._driver_errors = _postgres(self._url)
        else:
            self._engine = _sqlite(self._url)
        try:
            async with self._engine.begin() as connection:
                if self.postgres:  # of several gateways that start together, one goes first
                    lock = text("SELECT pg_advisory_xact_lock(:lock)")
                    await connection.execute(lock, {"lock": MIGRATION_LOCK})
                await connection.run_sync(migrate, self._migrations)
        except (OSError, TimeoutError) as error:
            raise StoreUnreachable(f"the database does not answer: {_line(error)}") from error
        except DBAPIError as error:
            raise StoreUnusable(f"the database can't be used: {_line(error.orig)}") from error
        except ValueError as error:  # of a URL
            raise StoreUnusable(f"the URL can't be read: {_line(error)}") from error
        except self._driver_errors as error:
            kind = StoreUnreachable if _temporary(error) else StoreUnusable
            raise kind(f"the database can't be used: {_line(error)}") from error

    async def open_beside(self) -> None:
        """Connect to a database that another server uses and looks after, only to read of it."""
        if self._engine is None:
            self._engine = _sqlite(self._url)

    async def close(self) -> None:
        """Give back all connections."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Return a transaction that may write; it is committed at the end, or undone by an error.

        Raises StorageFull, Unavailable if the database does not answer, or StatementFailed. Keep it
        short: on SQLite all others wait, so no other I/O belongs into it.
        """
        turn = contextlib.nullcontext() if self.postgres else self._turn
        async with turn, self._transaction(reads=False) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Return a transaction that only reads; on SQLite it sees what was there at its begin, and
        waits for no writer."""
        async with self._transaction(reads=True) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _transaction(self, *, reads: bool) -> AsyncIterator[AsyncConnection]:
        if self._engine is None:
            raise Unavailable("the store is closed", retry_after=5)
        engine = self._engine.execution_options(**{READS: reads})
        try:
            async with engine.begin() as connection:
                yield connection
        except StatementError as error:
            told = _told(error) if isinstance(error, DBAPIError) else None
            if told is None:
                raise _failed(error) from None
            raise told from error
        except (OSError, TimeoutError) as error:  # from connecting
            raise _no_answer() from error
        except self._driver_errors as error:
            if not _temporary(error):
                raise _failed(error) from None
            raise _no_answer() from error


def is_postgres(url: str) -> bool:
    """Tell a URL of PostgreSQL from the path of a file."""
    return url.startswith(("postgresql://", "postgres://"))


def _sqlite(path: str) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=path)
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=COMMAND_S,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours: Python's comes too late for a reader
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader that begins to write may find that another has written meanwhile, and no waiting
        # helps it: so writers say at once that they are.
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgres(url: str) -> tuple[AsyncEngine, tuple[type[Exception], ...]]:
    """Make an engine whose URL asyncpg reads itself, as libpq would: sslmode, sockets, .pgpass.

    With it come the roots of the driver's errors.
    """
    try:
        import asyncpg
    except ImportError:
        raise StoreUnusable(
            "PostgreSQL needs a driver: pip install 'forge-inference-gateway[postgres]'"
        ) from None

    async def connect() -> Any:
        return await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=COMMAND_S)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=COMMAND_S,
        pool_pre_ping=True,
    )
    errors = asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
    return engine, errors


def _told(error: DBAPIError) -> ForgeError | None:
    """Return what clients are told of an error that is not a bug; None of a bug."""
    origin: Any = error.orig
    code = getattr(origin, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL or getattr(origin, "sqlstate", None) == DISK_FULL:
        return StorageFull("the disk of the database is full")
    if code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
        return StorageFull("the disk of the database takes no more")
    if error.connection_invalidated or (code is None and isinstance(error, OperationalError)):
        return _no_answer()
    return None


def _failed(error: Exception) -> StatementFailed:
    """Return what stands for an error that may have clients' texts in it, with its traceback.

    SQLite's own words name tables and columns alone; PostgreSQL's may have a row in them.
    """
    origin: Any = getattr(error, "orig", None) or error
    name = getattr(origin, "sqlite_errorname", None)
    cause = origin.__cause__ or origin  # asyncpg's own, below SQLAlchemy's for it
    kind = type(cause).__name__ if name is None else f"{name} ({_line(origin)})"
    failed = StatementFailed(kind, getattr(error, "statement", None))
    return failed.with_traceback(error.__traceback__)


def _no_answer() -> ForgeError:
    return Unavailable("the database does not answer", retry_after=5)


def _temporary(error: BaseException) -> bool:
    """Classes 08 (connection), 53 (resources) and 57 (the server starts or stops)."""
    return str(getattr(error, "sqlstate", None) or "08")[:2] in ("08", "53", "57")


def _line(error: BaseException | None) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error).split()) or type(error).__name__
