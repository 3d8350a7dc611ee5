"""A table on a narrow terminal has fewer columns, and every cell that it has is whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from tracker.cli.tables import print_table

NAMES = ("model", "score", "device", "license", "months behind")
MODEL = "an-organization/a-model-with-a-long-name-135M-Instruct"
CELLS = (MODEL, "41.7%", "NVIDIA H200", "apache-2.0", "≥ 18.6 (G3)")


def printed(width: int) -> str:
    table = Table()
    for name in NAMES:
        table.add_column(name)
    table.add_row(*CELLS)
    out = io.StringIO()
    print_table(table, least=("license", "device"), on=Console(file=out, width=width))
    return out.getvalue()


def test_narrow_tables_leave_out_columns_in_order_and_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "apache-2.0" in printed(120)
    assert capsys.readouterr().err == ""
    text = printed(68)
    assert "license" not in text
    assert "NVIDIA H200" in text
    assert capsys.readouterr().err == "left out here: license; a wider terminal or `--json` has them\n"
    text = printed(50)
    assert "device" not in text
    assert "left out here: license, device;" in capsys.readouterr().err


@pytest.mark.parametrize("width", [50, 60, 70, 80, 100])
def test_narrow_tables_fold_names_and_cut_nothing(width: int) -> None:
    text = printed(width)
    assert "…" not in text
    assert "41.7%" in text
    assert "≥ 18.6 (G3)" in text
    first = (line.split("│")[1].strip() for line in text.splitlines() if "│" in line)
    assert "".join(first) == MODEL


def test_narrow_tables_wrap_where_even_the_rest_does_not_fit() -> None:
    assert "score" in printed(30)
