"""Connections to SQLite and PostgreSQL, set up so that both behave the same, and their failures in our words.

Writers take the database's write lock when their transaction begins; readers see one instant and can write nothing.
The trap: in SQLite the pool of one connection *is* the lock between this process's threads, so a thread that holds the
writer must not ask for it again. Why these settings: docs/decisions/0003-store.md.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dure.ports import StoreBusyError, StoreFullError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

READERS = 4
MORE_READERS = 12
WRITERS = 4  # PostgreSQL only: they wait for each other in the database
CONNECT_S = 5
_WAL_KEPT_BYTES = 64 * 1024 * 1024

_SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE")
_SQLITE_UNAVAILABLE = (
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_AUTH",
)
# lock_not_available, query_canceled (statement_timeout), deadlock, serialization failure, too many connections
_POSTGRESQL_BUSY = ("55P03", "57014", "40P01", "40001", "53300")
_POSTGRESQL_FULL = ("53100",)
# connection exceptions, operator intervention, system errors, bad credentials, no such database, out of memory
_POSTGRESQL_UNAVAILABLE = ("08", "57", "58", "28", "3D", "53", "XX")


def parsed(url: str) -> URL:
    """Return `url` with the driver that Dure uses. Raises StoreUnavailableError for other databases."""
    try:
        given = make_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        given = None
    match given.get_backend_name() if given is not None else "":
        case "sqlite":
            assert given is not None
            return given.set(drivername="sqlite")
        case "postgresql" | "postgres":
            assert given is not None
            return given.set(drivername="postgresql+psycopg")
        case _:
            raise StoreUnavailableError(
                "The database address is not understood: write sqlite:////absolute/path/dure.db "
                "or postgresql://user@host/database."
            )


def in_memory(url: URL) -> bool:
    """Return whether the database lives in this process's memory only."""
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


def engines(url: URL, wait_s: float) -> tuple[Engine, Engine]:
    """Return the engine that writes and the one that reads; `wait_s` is how long either waits for its turn."""
    if url.get_backend_name() == "postgresql":
        return _postgresql(url, wait_s)
    writer = _sqlite(url, wait_s, connections=1, begin="BEGIN IMMEDIATE")
    if in_memory(url):
        return writer, writer
    return writer, _sqlite(url, wait_s, connections=READERS, begin="BEGIN", query_only=True)


def _sqlite(url: URL, wait_s: float, *, connections: int, begin: str, query_only: bool = False) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=MORE_READERS if query_only else 0,
        pool_timeout=wait_s,
        # The driver must not begin transactions by itself: it knows only the kind that takes the lock too late.
        connect_args={"timeout": wait_s, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode not in {"wal", "memory"}:
            connection.close()
            raise StoreUnavailableError(
                f"{url.database} lies on a file system without the shared memory that SQLite needs (NFS, for one): "
                "choose a folder on a local disk, or PostgreSQL."
            )
        # Every commit reaches the disk before it is answered, so that a power cut loses nothing either.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
        if query_only:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, wait_s: float) -> tuple[Engine, Engine]:
    bounds = {
        "lock_timeout": wait_s,
        "statement_timeout": 3 * wait_s,
        # A writer whose machine froze must not keep the write lock for ever.
        "idle_in_transaction_session_timeout": 3 * wait_s,
    }
    given = url.query.get("options", "")
    options = " ".join(
        [given if isinstance(given, str) else " ".join(given)]
        + [f"-c {name}={int(seconds * 1000)}" for name, seconds in bounds.items()]
    )
    writer = create_engine(
        url,
        pool_size=WRITERS,
        max_overflow=MORE_READERS,
        pool_timeout=wait_s,
        pool_pre_ping=True,  # a restarted server costs nobody an error
        connect_args={
            "connect_timeout": CONNECT_S,
            "options": options.strip(),
            "fallback_application_name": "dure",
        },
    )
    # One instant for all statements of a reader; its pool is the writer's.
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def made_private(url: URL) -> None:
    """Create a SQLite database file that only its owner can read: it holds what people's cells contain."""
    if url.get_backend_name() != "sqlite" or in_memory(url):
        return
    path = os.fspath(url.database or "")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnavailableError(
            f"The database {path} cannot be opened: {error.strerror}. Check the folder and its owner, or name "
            "another state folder with `dure up --dir FOLDER`."
        ) from error


@contextlib.contextmanager
def told(url: URL) -> Iterator[None]:
    """Turn what the database refuses into a StoreError with one sentence that says what to do."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreBusyError(f"{_name(url)} is busy: no connection became free in time. Try again.") from error
    except DBAPIError as error:
        told_error = _translated(url, error)
        if told_error is None:
            raise
        raise told_error from error


def _translated(url: URL, error: DBAPIError) -> Exception | None:
    name, origin = _name(url), error.orig
    first = (str(origin).strip().splitlines() or [type(origin).__name__])[0][:200]
    code = getattr(origin, "sqlite_errorname", None) or getattr(origin, "sqlstate", None) or ""
    full = _SQLITE_FULL + _POSTGRESQL_FULL
    unavailable = _SQLITE_UNAVAILABLE + _POSTGRESQL_UNAVAILABLE
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", *_POSTGRESQL_BUSY)):
        return StoreBusyError(f"{name} is busy: another writer held it for too long ({first}). Try again.")
    if code.startswith(full):
        return StoreFullError(
            f"{name} cannot be written: its disk or quota is full ({first}). Free some space there; nothing was "
            "written, and everything answered before is kept."
        )
    if error.connection_invalidated or code.startswith(unavailable) or (not code and _lost(error)):
        return StoreUnavailableError(
            f"{name} cannot be used ({first}). Check that it runs and may be reached with `dure doctor`."
        )
    return None


def _lost(error: DBAPIError) -> bool:
    # A connection that could not be made or that broke has no code from the server.
    return type(error).__name__ in {"OperationalError", "InterfaceError"}


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"The database {url.database or 'in memory'}"
    return f"The database {url.set(query={}).render_as_string(hide_password=True)}"
