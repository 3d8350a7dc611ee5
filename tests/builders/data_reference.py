"""The tables of `docs/data.md`, made from the comments in the database.

`python -m tests.builders.data_reference` writes them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.conftest import ROOT
from tracker.answers.shipped import shipped_relations
from tracker.settings import Settings
from tracker.store import open_snapshot

PAGE = ROOT / "docs" / "data.md"
HEADING = "## Tables\n"
COLUMNS = """
select table_name, column_name, data_type, comment from duckdb_columns()
where not internal order by table_name, column_index
"""
TABLES = """
select table_name, comment from duckdb_tables() where not internal
union all select view_name, comment from duckdb_views() where not internal
"""


def reference(home: Path) -> str:
    """One Markdown table per table, its columns in order."""
    settings = Settings(home=home)
    shipped = shipped_relations(settings)
    with open_snapshot(settings) as snapshot:
        columns = snapshot.select(COLUMNS, shipped).rows
        tables = dict(snapshot.select(TABLES, shipped).rows)
    outside = {relation.name for relation in shipped}
    parts = []
    for table in sorted({row[0] for row in columns}):
        mark = " *(shipped)*" if table in outside else ""
        lines = [f"### `{table}`{mark}", "", f"{tables[table]}.", "", "| column | type | |", "|---|---|---|"]
        lines += [
            f"| `{column}` | {kind.lower()} | {comment} |"
            for name, column, kind, comment in columns
            if name == table
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def page(home: Path) -> str:
    """The whole page, its own text before the tables."""
    return PAGE.read_text(encoding="utf-8").partition(HEADING)[0] + HEADING + "\n" + reference(home)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Path(folder)), encoding="utf-8")
