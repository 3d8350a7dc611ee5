"""Tables for people: values as text that is safe on a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 200  # columns where no terminal says how wide it is
FULL_WIDTH_COLUMNS = 10  # more than these do not fit side by side, and are written below each other


def console() -> Console:
    """Where data goes: standard output, wide enough for a whole table when it is a pipe."""
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
                table.add_row(Text(name, style="bold"), cell(value))
            out.print(table)
        return
    table = Table(header_style="bold")
    for place, name in enumerate(columns):
        is_number = all(isinstance(row[place], int | float) or row[place] is None for row in rows)
        table.add_column(Text(printable(name)), justify="right" if is_number and rows else "left")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    out.print(table)


def cell(value: Any) -> Text:
    """The value as it stands in a table; nothing in it is read as markup or steers the terminal."""
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    if isinstance(value, datetime):
        return Text(moment(value))
    if isinstance(value, dict | list):
        return Text(printable(str(csv_cell(value))))
    return Text(printable(str(value)))


def printable(text: str) -> str:
    """The text without control and direction characters, which could rewrite what stands on a screen."""
    return "".join("�" if unicodedata.category(c) in {"Cc", "Cf"} and c not in "\n\t" else c for c in text)


def moment(value: datetime | None) -> str:
    """To the minute, in UTC."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "–"


def count(n: int | None) -> str:
    """A number of parameters as people write it: `134.5M`, `8.03B`."""
    if n is None:
        return "–"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= size:
            return f"{n / size:.4g}{letter}"
    return str(n)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: times as ISO 8601, what is not a number as null, bytes in base64."""
    return to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=str)


def csv_cell(value: Any) -> Any:
    """The value as it stands in CSV: lists and objects as JSON."""
    flat = plain(value)
    return json.dumps(flat, ensure_ascii=False) if isinstance(flat, dict | list) else flat
