"""Open DuckDB files, migrate them, and translate their errors."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracker.errors import BusyError, StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
RETRY_S = 0.1
COMMENTS = "comments"  # name of the step that only comments on tables and columns
# Errors in our own SQL stay DuckDB exceptions and end in a traceback.
BUGS = (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError, duckdb.NotSupportedError)
DAMAGE = ("Corrupt database file", "Could not read enough bytes", "database has been invalidated")
WRITABLE_HINT = "set TRACKER_HOME to a writable folder"
OTHER_HOME_HINT = "set TRACKER_HOME to another folder"
REPAIR_HINT = "`tracker store repair` restores what can be restored and says what is missing"


class NewerSchemaError(StoreError):
    """A newer version of this program wrote the database; it is left unchanged."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str


_EMPTY: dict[tuple[Migration, ...], bytes] = {}  # an empty database by its schema, once one was made


def migrations() -> tuple[Migration, ...]:
    """All steps in order, from the files `NNNN_what_it_does.sql`."""
    return tuple(
        Migration(version=int(path.stem[:4]), name=path.stem[5:], sql=path.read_text())
        for path in sorted(MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    )


def open_database(path: Path, *, wait_s: float) -> duckdb.DuckDBPyConnection:
    """Open a connection for writing, with the newest schema and the session in UTC.

    Raises:
        BusyError: a process that ignores our lock, such as the DuckDB shell, has the file open.
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
    """Create an empty database with the newest schema that replaces `path` when the block succeeds.

    It is built under a temporary name, since a kill during creation would leave a file that DuckDB refuses.
    The caller holds the lock, and has kept the old log elsewhere if it may contain anything.

    Raises:
        StoreError: the disk is full or failing; what was at `path` stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with store_errors(path):
            _write_empty(temporary)
            connection = duckdb.connect(temporary)
            try:
                set_up(connection)
                connection.execute("update migrations set applied_at = now()")
                yield connection
                connection.execute("checkpoint")
            finally:
                connection.close()
            log_path(path).unlink(missing_ok=True)  # DuckDB would replay the old log into the new file
            temporary.replace(path)
    finally:
        for left in (temporary, log_path(temporary)):
            left.unlink(missing_ok=True)


def _write_empty(path: Path) -> None:
    """Write a database with the newest schema and no rows.

    The migrations take 0.2 s; a process that makes several databases, as a rebuild does, applies them once.
    """
    schema = migrations()
    if schema not in _EMPTY:
        with closing(duckdb.connect(path)) as connection:
            set_up(connection)
            migrate(connection, where=str(path))
            connection.execute("checkpoint")
        _EMPTY[schema] = path.read_bytes()
        return
    path.write_bytes(_EMPTY[schema])


@contextmanager
def open_to_read(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a file that nobody writes.

    Raises:
        BusyError: a process that ignores our lock has the file open for writing.
        StoreError: it cannot be opened, or what the block reads is damaged.
    """
    with store_errors(path), _connect(path, wait_s=0.0, read_only=True) as connection:
        yield connection


def damaged_tables(path: Path) -> dict[str, str]:
    """Read every column of every table of a file that nobody writes; the tables that cannot be read, and why.

    DuckDB holds each block against its checksum when it reads it, so what was read is what was written.

    Raises:
        BusyError: a process that ignores our lock has the file open for writing.
        StoreError: the file cannot be opened at all.
    """
    problems = {}
    with open_to_read(path) as connection:
        for name in table_names(connection):
            try:
                connection.execute(f'select bit_xor(hash(rows)) from "{name}" as rows').fetchall()  # noqa: S608
            except duckdb.OutOfMemoryException:
                raise
            except duckdb.Error as error:
                problems[name] = first_line(error)
    return problems


def damaged_indexes(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The tables whose primary key cannot be read, and why; changes nothing.

    A key is only read where it is needed, so a damaged one breaks a later write. Setting every key to itself
    needs all of it; the change is rolled back. 100,000 rows take a few seconds.
    """
    problems = {}
    for name, columns in primary_keys(connection).items():
        assignments = ", ".join(f'"{column}" = "{column}"' for column in columns)
        try:
            connection.begin()
            connection.execute(f'update "{name}" set {assignments}')  # noqa: S608 - names from the catalog
            connection.rollback()
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            problems[name] = first_line(error)
            with suppress(duckdb.Error):
                connection.rollback()
            if isinstance(error, duckdb.FatalException):  # nothing else can be read from this connection
                break
    return problems


def table_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The tables of the database, by name."""
    rows = connection.execute("select table_name from duckdb_tables() order by table_name").fetchall()
    return [str(name) for (name,) in rows]


def primary_keys(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """The columns of the primary key of each table that has one."""
    rows = connection.execute(
        "select table_name, constraint_column_names from duckdb_constraints()"
        " where constraint_type = 'PRIMARY KEY' order by table_name"
    ).fetchall()
    return {str(name): [str(column) for column in columns] for name, columns in rows}


def log_path(path: Path) -> Path:
    """DuckDB's write-ahead log: commits that are not yet in the database file."""
    return path.with_name(f"{path.name}.wal")


def is_damage(error: BaseException | None) -> bool:
    """Whether DuckDB found that the content of a file is not what was written."""
    return isinstance(error, duckdb.Error) and any(sign in str(error) for sign in DAMAGE)


def is_held_elsewhere(error: duckdb.Error) -> bool:
    """Whether a file cannot be opened because another process, such as the DuckDB shell, writes it."""
    return "Could not set lock" in str(error)


def _connect(path: Path, *, wait_s: float, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return duckdb.connect(path, read_only=read_only)
        except duckdb.Error as error:
            if not is_held_elsewhere(error):
                raise StoreError(f"cannot read `{path}`: {first_line(error)}", hint=_hint(error)) from error
            if time.monotonic() > deadline:
                raise BusyError(f"{_other(error)} has `{path}` open", hint="close it there") from error
            time.sleep(RETRY_S)


def set_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the zone UTC, also of its cursors; an aware time would be stored in the machine's local time."""
    connection.execute("set global timezone = 'UTC'")


def migrate(connection: duckdb.DuckDBPyConnection, *, where: str, has_comments: bool = True) -> None:
    """Apply missing migrations, each in one transaction with the row that records it.

    Without comments, the migration that only comments on tables and columns is skipped: it takes 70 ms, which
    an empty in-memory database for one read does not need.

    Raises:
        StoreError: the file is from a newer version, or not a database of this program.
    """
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    if tables and "migrations" not in tables:
        raise StoreError(f"`{where}` is not a tracker database", hint=OTHER_HOME_HINT)
    connection.execute(
        "create table if not exists migrations (version integer primary key, name text not null,"
        " applied_at timestamp not null)"
    )
    done = check_version(connection, where=where)
    for migration in migrations():
        if migration.version <= done or (migration.name == COMMENTS and not has_comments):
            continue
        with transaction(connection):
            connection.execute(migration.sql)
            connection.execute(
                "insert into migrations values ($version, $name, now())",
                {"version": migration.version, "name": migration.name},
            )


def add_comments(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply the migration that `migrate` skips without comments."""
    for migration in migrations():
        if migration.name == COMMENTS:
            connection.execute(migration.sql)


def check_version(connection: duckdb.DuckDBPyConnection, *, where: str) -> int:
    """The newest migration applied to this database; 0 for none.

    Raises:
        StoreError: this version does not know that migration.
    """
    # A result that is not fully fetched blocks the connection, hence `fetchall` for one row.
    ((done,),) = connection.execute("select coalesce(max(version), 0) from migrations").fetchall()
    known = migrations()[-1].version
    if done > known:
        message = (
            f"`{where}` was written by a newer version (schema {done}; this version supports up to {known})"
        )
        raise NewerSchemaError(message, hint=f"upgrade tracker, or {OTHER_HOME_HINT}")
    return int(done)


def mark_change(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the database a new id, so that its snapshot counts as out of date."""
    connection.execute("update store_state set change_id = $id", {"id": secrets.token_hex(8)})


def change_id(connection: duckdb.DuckDBPyConnection) -> str:
    """Id of the last write: equal in a database and its up-to-date snapshot."""
    ((mark,),) = connection.execute("select change_id from store_state").fetchall()
    return str(mark)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in one transaction: all of its statements take effect, or none."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        with suppress(duckdb.TransactionException):  # a failed commit has already rolled back
            connection.rollback()
        raise


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Convert disk and file errors to a `StoreError` that names `path`; bugs pass unchanged."""
    try:
        yield
    except BUGS:
        raise
    except duckdb.Error as error:
        raise StoreError(f"`{path}`: {first_line(error)}", hint=_hint(error)) from error
    except OSError as error:
        raise StoreError(f"`{path}`: {error.strerror}", hint=_hint(error)) from error
    except RuntimeError as error:
        if "interrupted" in str(error):  # how DuckDB reports Ctrl-C
            raise KeyboardInterrupt from error
        raise


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return "close other programs and repeat the command"
    if any(words in text for words in ("No space left", "File too large", "quota")):
        return "free some disk space and repeat the command; stored data is intact"
    if "ermission" in text or "Read-only" in text:
        return WRITABLE_HINT
    return REPAIR_HINT


def first_line(error: Exception) -> str:
    """First line of a DuckDB error, without the position it points at."""
    return str(error).strip().splitlines()[0]


def _other(error: Exception) -> str:
    found = re.search(r"PID (\d+)", str(error))
    return f"process {found.group(1)}" if found else "another program"
