"""The child process that answers one user's SELECT: a request on stdin, messages on stdout.

It limits its own memory, and ends itself soon after its deadline, also if its parent was killed.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from tracker.errors import StoreError, TrackerError
from tracker.store.opened import open_copy
from tracker.store.query_bounds import (
    SIZE_BYTES,
    Columns,
    End,
    Failure,
    QueryLimits,
    Request,
)
from tracker.store.reading import MEMORY_HINT, OUT_OF_MEMORY, columns_of, python_rows
from tracker.store.relations import Relation

MEMORY_SHARE = 0.8  # of the process's limit, for DuckDB's blocks; the rest is for what it does not count
GRACE_S = 2.0  # the parent should end this process first, and say why
ROW_HINT = "select fewer columns, or a part of the text with `left(text, 1000)`"
CHUNK_BYTES = 1 << 20  # rows are fetched so that about this much is sent at a time
MOST_IN_CHUNK = 2_000
PAGES_FIELD = 5  # in /proc/self/statm: pages of data, as the limit counts them
# What converting a value of DuckDB to one of Python may raise, besides DuckDB's own errors.
VALUE_ERRORS = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    UnicodeError,
    RuntimeError,
    pa.ArrowException,
)


def main() -> None:
    """Answer the request on stdin."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write between the messages
    request: Request = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    nowhere = open(os.devnull, "w")  # noqa: SIM115 - until the end
    faulthandler.dump_traceback_later(request.limits.timeout + GRACE_S, exit=True, file=nowhere)
    try:
        _serve(request, out)
    except MemoryError:
        _send(out, Failure(OUT_OF_MEMORY, MEMORY_HINT))
    except TrackerError as error:
        _send(out, Failure(str(error), error.hint, isinstance(error, StoreError)))
    except VALUE_ERRORS as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        _send(out, Failure(f"SQL: a value has no form in Python: {words[0]}", "cast the column to `varchar`"))
    os._exit(0)  # DuckDB's threads may still be busy with what nobody needs


def _serve(request: Request, out: BinaryIO) -> None:
    limits = request.limits
    config = {
        "memory_limit": f"{int(MEMORY_SHARE * limits.memory_bytes)}B",
        "threads": min(limits.threads, os.cpu_count() or 1),
    }
    relations = [_loaded(*each) for each in request.relations]
    with open_copy(request.snapshot, request.items_path, config=config) as snapshot:
        _limit_memory(limits.memory_bytes)
        has_more, missing = snapshot.select_into(partial(_sent, limits, out), request.sql, relations)
    _send(out, End(has_more, missing))


def _loaded(relation: Relation, rows: bytes) -> Relation:
    return replace(relation, load=pa.ipc.open_stream(rows).read_all)


def _limit_memory(more_bytes: int) -> None:
    """Let this process have `more_bytes` besides what it has now; then allocations fail."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[PAGES_FIELD])
    except OSError:  # not Linux: DuckDB's own limit has to do
        return
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _sent(limits: QueryLimits, out: BinaryIO, cursor: duckdb.DuckDBPyConnection) -> bool:
    """Send the rows of the statement that was just executed; whether there are more than the limits allow.

    Raises:
        TrackerError: not even one row is within the limits, or a value cannot be sent.
    """
    columns = columns_of(cursor)
    _send(out, Columns(tuple(name for name, _ in columns), tuple(kind for _, kind in columns)))
    n_sent = sent_bytes = 0
    n_next = 1
    while found := cursor.fetchmany(min(n_next, limits.max_rows + 1 - n_sent)):
        kept = python_rows(found[: limits.max_rows - n_sent], columns)
        message = pickle.dumps(kept)
        if sent_bytes + len(message) > limits.answer_bytes:
            if n_sent == 0:
                size = f"{limits.answer_bytes / 2**20:.0f} MiB"
                raise TrackerError(f"SQL: a row of the answer is larger than {size}", hint=ROW_HINT)
            return True
        if kept:
            _write(out, message)
        n_sent, sent_bytes = n_sent + len(kept), sent_bytes + len(message)
        if len(kept) < len(found):
            return True
        n_next = max(1, min(2 * n_next, MOST_IN_CHUNK, CHUNK_BYTES * n_sent // max(sent_bytes, 1)))
    return False


def _send(out: BinaryIO, message: Any) -> None:
    _write(out, pickle.dumps(message))


def _write(out: BinaryIO, message: bytes) -> None:
    out.write(len(message).to_bytes(SIZE_BYTES, "big"))
    out.write(message)
    out.flush()


if __name__ == "__main__":
    main()
