"""How much an edited script may carry that is no technique."""

from __future__ import annotations

import base64
import secrets

import pytest

from runners.research.evaluation.script_content import (
    MAX_DATA_BYTES,
    MAX_NEW_BYTES,
    content_finding,
    script_content,
)
from runners.research.judgement import judged_script
from runners.research.problem.script import regions, shipped
from runners.research.problem.tiers import SMOKE

SHIPPED = shipped(SMOKE)
N_BYTES = 8000  # of entropy: a table of that size, whatever its form


def bits(n: int) -> str:
    return f"{int.from_bytes(secrets.token_bytes(n)):0{8 * n}b}"


CARRIERS = {
    "a string": lambda: f"A = {base64.b85encode(secrets.token_bytes(N_BYTES)).decode()!r}",
    "bytes": lambda: f"A = {secrets.token_bytes(N_BYTES)!r}",
    "numbers": lambda: f"A = {list(secrets.token_bytes(N_BYTES))}",
    "floats": lambda: f"A = {[secrets.randbelow(10**6) / 10**6 for _ in range(3000)]}",
    "one large number": lambda: f"A = {hex(int.from_bytes(secrets.token_bytes(N_BYTES)))}",
    "comments": lambda: "\n".join(f"# {secrets.token_hex(40)}" for _ in range(200)),
    "a docstring": lambda: f'def table():\n    """{secrets.token_hex(N_BYTES)}"""',
    "an f-string": lambda: f'A = f"{secrets.token_hex(N_BYTES)}"',
    "names": lambda: "\n".join(f"_{secrets.token_hex(16)} = 0" for _ in range(500)),
    "blanks": lambda: "\n".join(" " * 4 * (bit == "1") + "#" for bit in bits(2 * N_BYTES)),
    "order of signs": lambda: f"A = 0{''.join('+x' if bit == '1' else '-x' for bit in bits(2 * N_BYTES))}",
    "order of names": lambda: f"A = [{','.join('x' if bit == '1' else 'y' for bit in bits(2 * N_BYTES))}]",
    "no Python": lambda: f"'''{secrets.token_hex(N_BYTES)}",
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_script_content_a_table_is_refused_in_whatever_form(carrier: str) -> None:
    found = content_finding(judged_script(CARRIERS[carrier](), SMOKE), SHIPPED)
    assert found, carrier
    assert (found.reason, found.is_proof) == ("script_too_large", False)
    assert "compressed" in found.detail


def test_script_content_the_shipped_script_and_a_second_one_like_it_are_free() -> None:
    cut = regions(SHIPPED)
    assert content_finding(SHIPPED, SHIPPED) is None
    assert script_content(SHIPPED, SHIPPED).new_bytes < 300
    doubled = f"{cut.head}{cut.editable}{cut.editable}{cut.tail}"
    assert script_content(doubled, SHIPPED).new_bytes < 600


def test_script_content_a_script_that_shares_nothing_may_be_as_large_as_the_shipped_one() -> None:
    found = script_content(SHIPPED, "")
    assert found.new_bytes < MAX_NEW_BYTES
    assert script_content(regions(SHIPPED).editable, "").data_bytes < MAX_DATA_BYTES
