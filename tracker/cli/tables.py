"""Tables for the terminal: values as text without markup or control characters."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracker import foreign_text
from tracker.foreign_text import one_line, printable

if TYPE_CHECKING:
    from tracker.store import MissingItems  # DuckDB

PIPED_WIDTH = 200  # columns, if there is no terminal to ask
FULL_WIDTH_COLUMNS = 10  # more columns are printed below each other
FOLDED = 16  # columns that a name keeps on a narrow terminal
NAMES = frozenset({"model", "agent", "benchmark", "task", "measured by"})  # headers of what is folded there
INDEX_HEADERS = ("index (90% interval)", "index from", "months behind")
BOUNDS = {"at_least": "≥ ", "at_most": "≤ "}


def console() -> Console:
    """The console for data: standard output, wide enough for a table when piped."""
    probe = Console()
    return probe if probe.is_terminal else Console(width=PIPED_WIDTH)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows side by side, or below each other when there are many columns."""
    out = console()
    if len(columns) > FULL_WIDTH_COLUMNS:
        for row in rows:
            out.rule(style="dim")
            table = Table(box=None, show_header=False, pad_edge=False)
            for name, value in zip(columns, row, strict=True):
                table.add_row(Text(one_line(name), style="bold"), cell(value))
            out.print(table)
        return
    table = Table(header_style="bold")
    for place, name in enumerate(columns):
        is_number = all(isinstance(row[place], int | float) or row[place] is None for row in rows)
        table.add_column(Text(one_line(name)), justify="right" if is_number and rows else "left")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    out.print(table)


def print_table(table: Table, *, least: Sequence[str], on: Console | None = None) -> None:
    """Print a table; where a terminal is too narrow, without the columns `least`, the first of them first.

    A name is folded and the other cells stay whole, as long as that fits. What was left out is told on
    standard error.
    """
    out = on or console()
    left_out = []
    for name in [] if out.width >= PIPED_WIDTH else least:
        if _least_width(out, table) <= out.width:
            break
        left_out += [name for column in table.columns if column.header == name]
        table.columns = [column for column in table.columns if column.header != name]
        for place, column in enumerate(table.columns):
            column._index = place
    if _least_width(out, table) <= out.width:
        for column in table.columns:
            is_name = column.header in NAMES
            column.no_wrap, column.overflow = not is_name, "fold" if is_name else "ellipsis"
    out.print(table)
    if left_out:
        print(f"left out here: {', '.join(left_out)}; a wider terminal or `--json` has them", file=sys.stderr)


def _least_width(out: Console, table: Table) -> int:
    """How wide a table is with its names folded and everything else whole."""
    wide = out.options.update(width=PIPED_WIDTH * len(table.columns))
    saved = 0
    for column in table.columns:
        if column.header in NAMES:
            width = max((Measurement.get(out, wide, each).maximum for each in column.cells), default=0)
            saved += max(0, width - FOLDED)
    return Measurement.get(out, wide, table).maximum - saved


def cell(value: Any) -> Text:
    """The value as a table cell, without markup or control characters."""
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    if isinstance(value, datetime):
        return Text(moment(value))
    if isinstance(value, dict | list):
        return Text(printable(json.dumps(plain(value), ensure_ascii=False)))
    return Text(printable(str(value)))


def index_cells(row: Mapping[str, Any]) -> tuple[Text, ...]:
    """The cells under `INDEX_HEADERS` of a row with the columns of `IndexPlace`."""
    index, low, high = row["index"], row["index_ci_low"], row["index_ci_high"]
    if is_missing(index):
        return (cell(None),) * len(INDEX_HEADERS)
    ends = "" if is_missing(low) or is_missing(high) else f" ({low:.1f} … {high:.1f})"
    return (
        Text(f"{index:.1f}{ends}"),
        cell(row["index_basis"]),
        months_cell(row["months_behind"], row["months_bound"], row["months_definition"]),
    )


def months_cell(months: float | None, bound: str | None, definition: str | None) -> Text:
    """Months with the bound and the id of the definition: `≥ 40.9 (G6)`."""
    if months is None or is_missing(months):
        return cell(None)
    return Text(f"{BOUNDS.get(bound or '', '')}{months:.1f} ({definition})")


def index_note(rows: Sequence[Mapping[str, Any]], note: str) -> str:
    """The note below a table with `INDEX_HEADERS`; empty if no row has a place on the index."""
    days = {str(row["months_as_of"]) for row in rows if not is_missing(row["index"])}
    return f"{note} As of {min(days)}." if days else ""


def is_missing(value: Any) -> bool:
    """Whether there is no value: None, or NaN in a column of numbers."""
    return value is None or value != value  # noqa: PLR0124 (NaN)


def moment(value: datetime | None) -> str:
    """The time to the minute, in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "–"


def count(n: int | None) -> str:
    """A number of parameters with its unit: `134.5M`, `8.03B`."""
    if n is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= size:
            return f"{n / size:.4g}{letter}"
    return str(n)


def size_of(row: Mapping[str, Any]) -> str:
    """The number of parameters in a row about a model of the Hub; of a packed one at least what it stores."""
    n_params, at_least = row["n_params"], row.get("n_params_at_least")
    if n_params is None and at_least is not None:
        return f"at least {count(int(at_least))} stored (packed)"
    return count(None if n_params is None else int(n_params))


def plain(value: Any) -> Any:
    """Convert the value for JSON: times as ISO 8601, NaN as null, bytes in base64."""
    return to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=str)


def csv_cell(value: Any) -> Any:
    """The value as a CSV cell: lists and objects as JSON, no text that a spreadsheet would compute."""
    flat = plain(value)
    if not isinstance(value, str | dict | list | tuple):  # an interval is text, but nobody chose it
        return flat
    return foreign_text.csv_cell(
        json.dumps(flat, ensure_ascii=False) if isinstance(flat, dict | list) else flat
    )


def warn_of_missing(missing: MissingItems) -> None:
    """One line on standard error if an answer lacks items."""
    if missing:
        print(f"warning: {missing.sentence}; `tracker store check` tells more", file=sys.stderr)
