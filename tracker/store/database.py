"""A DuckDB file: opened, brought up to date, and its failures put into words."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracker.errors import BusyError, StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
RETRY_S = 0.1
# What is wrong in our own code stays an exception of DuckDB's, and ends in a traceback.
BUGS = (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError)
WRITABLE_HINT = "set TRACKER_HOME to a folder that you can write to"
OTHER_HOME_HINT = "set TRACKER_HOME to another folder"
REBUILD_HINT = "`tracker store rebuild` makes it anew from the item files"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All steps in their order, from the files `NNNN_what_it_does.sql`."""
    return [
        Migration(version=int(path.stem[:4]), name=path.stem[5:], sql=path.read_text())
        for path in sorted(MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]


def open_database(path: Path, *, wait_s: float) -> duckdb.DuckDBPyConnection:
    """A connection for writing, with the newest schema and the session in UTC.

    Raises:
        BusyError: a process outside our lock, such as the DuckDB shell, has it open.
        StoreError: the file is unreadable, was written by a newer version, or the disk is full.
    """
    if not path.exists():
        with new_database(path):
            pass
    connection = _connect(path, wait_s=wait_s)
    try:
        with store_errors(path):
            set_up(connection)
            migrate(connection, where=str(path))
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def new_database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database with the newest schema, which takes the place of `path` when the block ends well.

    It is built under a temporary name: a kill while a file is being made would leave one that DuckDB refuses.
    The caller holds the lock.

    Raises:
        StoreError: the disk is full or failing; what was at `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with store_errors(path):
            connection = duckdb.connect(temporary)
            try:
                set_up(connection)
                migrate(connection, where=str(path))
                yield connection
                connection.execute("checkpoint")
            finally:
                connection.close()
            log_path(path).unlink(missing_ok=True)  # DuckDB would play the old log into the new file
            temporary.replace(path)
    finally:
        for left in (temporary, log_path(temporary)):
            left.unlink(missing_ok=True)


def log_path(path: Path) -> Path:
    """Where DuckDB keeps what it has committed but not yet written into the database."""
    return path.with_name(f"{path.name}.wal")


def _connect(path: Path, *, wait_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return duckdb.connect(path)
        except duckdb.Error as error:
            if "Could not set lock" not in str(error):
                raise StoreError(f"{path}: cannot be read: {first_line(error)}", hint=_hint(error)) from error
            if time.monotonic() > deadline:
                raise BusyError(f"{path}: {_other(error)} has it open", hint="close it there") from error
            time.sleep(RETRY_S)


def set_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the session's zone UTC; an aware time is otherwise stored in the machine's local time."""
    connection.execute("set timezone = 'UTC'")


def migrate(connection: duckdb.DuckDBPyConnection, *, where: str) -> None:
    """Apply what is missing, each step in one transaction with the row that records it.

    Raises:
        StoreError: a newer version of this program, or another program, has already been here.
    """
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    if tables and "migrations" not in tables:
        raise StoreError(f"{where}: is not a database of tracker", hint=OTHER_HOME_HINT)
    connection.execute(
        "create table if not exists migrations (version integer primary key, name text not null,"
        " applied_at timestamp not null)"
    )
    done = check_version(connection, where=where)
    for migration in migrations():
        if migration.version <= done:
            continue
        with transaction(connection):
            connection.execute(migration.sql)
            connection.execute(
                "insert into migrations values ($version, $name, now())",
                {"version": migration.version, "name": migration.name},
            )


def check_version(connection: duckdb.DuckDBPyConnection, *, where: str) -> int:
    """The newest migration that was applied here; 0 for none.

    Raises:
        StoreError: it is one that this version does not know.
    """
    # An answer that is not read to its end keeps the connection: hence `fetchall` for one row.
    ((done,),) = connection.execute("select coalesce(max(version), 0) from migrations").fetchall()
    known = migrations()[-1].version
    if done > known:
        message = f"{where}: written by a newer version (schema {done}, this one knows {known})"
        raise StoreError(message, hint=f"upgrade tracker, or {OTHER_HOME_HINT}")
    return int(done)


def change_id(connection: duckdb.DuckDBPyConnection) -> str:
    """The mark of the last write: equal in a database and in its up-to-date snapshot."""
    ((mark,),) = connection.execute("select change_id from store_state").fetchall()
    return str(mark)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All statements inside, or none."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        with suppress(duckdb.TransactionException):  # a commit that failed has already rolled back
            connection.rollback()
        raise


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn a failing disk or file into a `StoreError` that names `path`; a mistake of ours stays as it is."""
    try:
        yield
    except BUGS:
        raise
    except duckdb.Error as error:
        raise StoreError(f"{path}: {first_line(error)}", hint=_hint(error)) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint=_hint(error)) from error
    except RuntimeError as error:
        if "interrupted" in str(error):  # what DuckDB makes of Ctrl-C
            raise KeyboardInterrupt from error
        raise


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return "close other programs and repeat the command"
    if any(words in text for words in ("No space left", "File too large", "quota")):
        return "free some disk space and repeat the command; what was stored before is intact"
    if "ermission" in text or "Read-only" in text:
        return WRITABLE_HINT
    return REBUILD_HINT


def first_line(error: Exception) -> str:
    """What an error of DuckDB's says, without the place it points at."""
    return str(error).strip().splitlines()[0]


def _other(error: Exception) -> str:
    found = re.search(r"PID (\d+)", str(error))
    return f"process {found.group(1)}" if found else "another program"
