"""`tracker query SQL`: one read-only statement on the snapshot."""

from __future__ import annotations

import csv as csv_module
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.tables import csv_cell, plain, print_rows
from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.store import Answer, open_snapshot

SHOWN_ROWS = 200  # more are for a program, which asks for JSON or CSV


def query(
    sql: str,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    csv: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run one SELECT on the newest snapshot: tables `models`, `runs`, `task_scores` and `items`.

    Nothing can be changed by it, and no other file and no network is within its reach.

    Parameters
    ----------
    sql
        One SELECT statement of DuckDB's SQL; `describe runs` lists the columns of a table.
    json
        Print one JSON document: `columns` and `rows`.
    csv
        Print CSV with a header line.
    """
    if json and csv:
        raise TrackerError("`--json` and `--csv` exclude each other", hint="give one of them")
    with open_snapshot(load_settings()) as snapshot:
        answer = snapshot.select(sql)
    if json:
        print_json({"columns": list(answer.columns), "rows": _documents(answer)})
    elif csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([csv_cell(value) for value in row] for row in answer.rows)
    else:
        print_rows(answer.columns, answer.rows[:SHOWN_ROWS])
        if len(answer.rows) > SHOWN_ROWS:
            note = f"{len(answer.rows):,} rows, of which {SHOWN_ROWS} are shown; --json or --csv prints all"
            print(note, file=sys.stderr)


def _documents(answer: Answer) -> list[dict[str, Any]]:
    names: list[str] = []
    for name in answer.columns:  # two columns of one name must not become one key
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return [dict(zip(names, map(plain, row), strict=True)) for row in answer.rows]
