"""`tracker query SQL`: one read-only statement on the snapshot."""

from __future__ import annotations

import csv as csv_module
import sys
from typing import Annotated

from cyclopts import Parameter

from tracker.answers.shipped import answer_sql
from tracker.cli.tables import csv_cell, plain, print_rows, warn_of_missing
from tracker.errors import UsageError
from tracker.foreign_text import json_text
from tracker.settings import load_settings
from tracker.store import Answer, QueryLimits

SHOWN_ROWS = 200  # rows in a table; JSON and CSV have all


def query(
    sql: str,
    *,
    timeout: float = QueryLimits().timeout,
    max_rows: int = QueryLimits().max_rows,
    json: Annotated[bool, Parameter(negative="")] = False,
    csv: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run one SELECT on the newest snapshot: `models`, `runs`, `task_scores`, `items` and more.

    The published scores and the index are available too: `shipped_scores`, `shipped_models`, `index_values`.
    The query cannot change anything, read other files or use the network, and has 1 GB of memory.

    Parameters
    ----------
    sql
        One SELECT of DuckDB's SQL, or `show tables`, `describe TABLE`, `summarize TABLE`.
    timeout
        Seconds until the query is ended.
    max_rows
        Rows to print at most, and at most 64 MiB of them.
    json
        Print one JSON document: `columns`, `rows`, `has_more`, `missing_parts`.
    csv
        Print CSV with a header line; a text that a spreadsheet would take for a formula begins with `'`.
    """
    if json and csv:
        raise UsageError("`--json` and `--csv` cannot be combined", hint="give one of them")
    answer = answer_sql(sql, load_settings(), QueryLimits(timeout=timeout, max_rows=max_rows))
    warn_of_missing(answer.missing)
    if json:
        _print_document(answer)
    elif csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(csv_cell(name) for name in answer.columns)
        writer.writerows([csv_cell(value) for value in row] for row in answer.rows)
    else:
        print_rows(answer.columns, answer.rows[:SHOWN_ROWS])
    if answer.has_more:
        sys.stdout.flush()
        note = f"the answer has more rows than the first {len(answer.rows):,}"
        print(f"{note}: `--max-rows` or `limit` sets how many", file=sys.stderr)
    elif not (json or csv) and len(answer.rows) > SHOWN_ROWS:
        note = f"showing {SHOWN_ROWS} of {len(answer.rows):,} rows; `--json` or `--csv` prints all"
        print(note, file=sys.stderr)


def _print_document(answer: Answer) -> None:
    """Print the answer as one JSON document, row by row: all rows as objects would take much memory."""
    out = sys.stdout
    out.write(f'{{"columns": {json_text(list(answer.columns))}, "rows": [')
    for place, row in enumerate(answer.rows):
        out.write(", " if place else "")
        out.write(json_text(dict(zip(answer.columns, map(plain, row), strict=True))))
    more = {"has_more": answer.has_more, "missing_parts": answer.missing.n_parts}
    out.write("], " + json_text(more)[1:] + "\n")
