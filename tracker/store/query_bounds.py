"""A user's SELECT in a child process: bounded in time, memory and rows, whatever the statement is.

DuckDB notices an interrupt between blocks of rows only, so a single large call could go on for minutes, and
some statements end the process that runs them. A child can be ended at any moment, and takes nothing with it.

Covered: a deadline, a limit of the child's memory, of the rows and of their size; a child never outlives its
parent by more than its deadline. Not covered: outside Linux only DuckDB's own limit of memory applies.
"""

from __future__ import annotations

import pickle
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tracker.errors import FieldError, StoreError, TrackerError
from tracker.interpreter import python_command, python_environment
from tracker.store.item_parts import MissingItems
from tracker.store.reading import MEMORY_HINT, OUT_OF_MEMORY, Answer
from tracker.store.relations import Relation, with_rows

WORKER = "tracker.store.select_worker"
SIZE_BYTES = 8  # before each message of the worker: its length
READ_BYTES = 1 << 20
LONGEST_S = 86_400.0
TIME_HINT = "narrow it with `where`, or allow more time with `--timeout`"


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The bounds of one statement; the rows beyond `max_rows` or `answer_bytes` are left out."""

    timeout: float = 60.0  # seconds
    max_rows: int = 100_000
    memory_bytes: int = 800_000_000  # that the worker may take besides the 0.15 GB that it starts with
    threads: int = 4
    answer_bytes: int = 64 << 20  # of all rows, as they are sent

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        if not 0 < self.timeout <= LONGEST_S:
            problem = f"must be more than 0 and at most {LONGEST_S:,.0f} seconds, got {self.timeout:g}"
            raise FieldError("timeout", problem, example=60)
        if self.max_rows < 1:
            raise FieldError("max_rows", f"must be at least 1, got {self.max_rows}", example=1000)


@dataclass(frozen=True, slots=True)
class Request:
    """What the worker is asked."""

    sql: str
    snapshot: Path | None  # None: nothing has been published yet
    items_path: Path
    limits: QueryLimits
    relations: tuple[tuple[Relation, bytes], ...]  # each with its rows as an Arrow stream


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of the answer; all rows that were sent before are void."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """All rows were sent."""

    has_more: bool
    missing: MissingItems


@dataclass(frozen=True, slots=True)
class Failure:
    """There is no answer."""

    message: str
    hint: str
    is_store: bool = False


def bounded_select(
    sql: str,
    *,
    snapshot: Path | None,
    items_path: Path,
    relations: Sequence[Relation] = (),
    limits: QueryLimits | None = None,
) -> Answer:
    """The answer to one SELECT over the tables of the snapshot, `items` and these relations.

    Raises:
        TrackerError: it is anything else, DuckDB cannot answer it, or it exceeds a limit.
    """
    limits = limits or QueryLimits()
    check_text(sql)
    loaded = tuple((_bare(relation), _stream(rows)) for relation, rows in with_rows(relations, sql))
    request = Request(sql, snapshot, items_path, limits, loaded)
    ends_at = time.monotonic() + limits.timeout
    # A session of its own: Ctrl-C reaches this process only, which then ends the worker.
    with subprocess.Popen(
        python_command("-m", WORKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=python_environment(),
        start_new_session=True,
    ) as worker:
        try:
            return _answer(worker, request, ends_at=ends_at)
        finally:
            worker.kill()


def check_text(sql: str) -> None:
    """Refuse a statement that is no text for DuckDB.

    Raises:
        TrackerError: it holds half a surrogate or a NUL.
    """
    for place, character in enumerate(sql):
        if "\ud800" <= character <= "\udfff" or character == "\0":
            raise TrackerError(
                f"SQL: character {place + 1} is U+{ord(character):04X}, which no text may contain",
                hint="remove it",
            )


def _bare(relation: Relation) -> Relation:
    return Relation(relation.name, relation.comment, relation.schema, relation.comments, _nothing)


def _nothing() -> pa.Table:
    raise ValueError("the rows of this relation are sent beside it")


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())


def _answer(worker: subprocess.Popen[bytes], request: Request, *, ends_at: float) -> Answer:
    assert worker.stdin is not None  # a pipe, see above
    assert worker.stdout is not None
    columns = Columns((), ())
    rows: list[tuple[Any, ...]] = []
    try:
        worker.stdin.write(pickle.dumps(request))
        worker.stdin.close()
    except BrokenPipeError:  # it has ended already, which the next lines report
        pass
    for message in _messages(worker.stdout, ends_at=ends_at, timeout=request.limits.timeout):
        match message:
            case Columns():
                columns, rows = message, []
            case list():
                rows += message
            case Failure(text, hint, is_store):
                raise (StoreError if is_store else TrackerError)(text, hint=hint)
            case End():
                return Answer(columns.names, rows, columns.kinds, message.has_more, message.missing)
    raise _ended(worker.wait())


def _messages(pipe: IO[bytes], *, ends_at: float, timeout: float) -> Iterator[Any]:
    """What the worker sends, until it ends.

    Raises:
        TrackerError: the deadline has passed.
    """
    held = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(ends_at - time.monotonic(), 0.0)):
                raise out_of_time(timeout)
            chunk = pipe.read1(READ_BYTES)  # type: ignore[attr-defined]  # a buffered reader
            if not chunk:
                return
            held += chunk
            while len(held) >= SIZE_BYTES:
                end = SIZE_BYTES + int.from_bytes(held[:SIZE_BYTES], "big")
                if len(held) < end:
                    break
                yield pickle.loads(held[SIZE_BYTES:end])  # noqa: S301 - from our own worker
                del held[:end]


def out_of_time(timeout: float) -> TrackerError:
    """The error of a statement that takes longer than its deadline."""
    return TrackerError(f"SQL: no answer within {timeout:g} s", hint=TIME_HINT)


def _ended(code: int) -> TrackerError:
    """The error where the worker ended without a word."""
    if code == -signal.SIGKILL:  # the system took it: nothing else but us sends this signal
        return TrackerError(OUT_OF_MEMORY, hint=MEMORY_HINT)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return TrackerError(
        f"SQL: DuckDB gave up on this statement ({how})", hint="split it into several statements"
    )
