"""Write the shipped catalog again: `python -m tests.builders.catalog [HOME]`.

Needed after a change of the shipped tables or of the code that places models; a test says so. With the home
of an installation that has ingested, its models of the Hub and its newest vintage are in the catalog too.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from tracker.answers.catalog import catalog_rows
from tracker.frontier.facts import CatalogRow
from tracker.frontier.tables import default_folder
from tracker.settings import Settings


def write_catalog(path: Path, rows: Iterable[CatalogRow]) -> None:
    """Write the rows as the table that `load_catalog` reads; an empty cell is not known."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in fields(CatalogRow))
        table.writerows(astuple(row) for row in rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        home = Path(sys.argv[1] if len(sys.argv) > 1 else empty)
        write_catalog(default_folder() / "catalog.csv", catalog_rows(Settings(home=home)))
