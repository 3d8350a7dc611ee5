"""Every sentence of SECURITY.md names a test, and that test is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if "| `tests/" in line]
PLACE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_security_claims_each_section_of_what_holds_has_some() -> None:
    held = PAGE.split("## Not defended")[0]
    assert len(ROWS) == len(PLACE.findall(held)) >= 25
    assert held.count("| what holds | test |") == 5


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_security_claims_name_tests_that_are_there(row: list[str]) -> None:
    claim, place = row
    match = PLACE.fullmatch(place)
    assert match is not None, place
    path, name = match.groups()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name in functions, f"{claim}: {path} has no {name}"
