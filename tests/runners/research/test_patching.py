"""Edits of the training script: found exactly or loosely, never in the frozen part, never nothing."""

from __future__ import annotations

import pytest

from runners.research.agents.patching import MAX_BLOCKS, patched
from runners.research.problem.script import regions

SCRIPT = """import math

# --- EDITABLE: begin ---
class Tunables:
    beta1: float = 0.9  # memory
    beta2: float = 0.95


def scale(x):
    if x > 1:
        return 1
    return x


def other(x):
    return x
# --- EDITABLE: end ---
SEED = 7
"""


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


def test_patching_an_edit_is_applied_and_shown_as_a_difference() -> None:
    done = patched(SCRIPT, "Less memory.\n" + block("    beta2: float = 0.95", "    beta2: float = 0.99"))
    assert done.script == SCRIPT.replace("0.95", "0.99")
    assert "-    beta2: float = 0.95" in done.diff.splitlines()
    assert "+    beta2: float = 0.99" in done.diff.splitlines()


def test_patching_blanks_make_no_difference_and_the_indentation_is_kept() -> None:
    reply = block("if x>1:\n  return 1".replace("x>1", "x  > 1"), "if x > 2:\n    return 2")
    done = patched(SCRIPT, f"```python\n{reply}```")
    assert done.script == SCRIPT.replace("if x > 1:\n        return 1", "if x > 2:\n        return 2")


def test_patching_several_blocks_are_applied_one_after_the_other() -> None:
    reply = block("    beta2: float = 0.95", "    beta2: float = 0.99") + block(
        "    beta2: float = 0.99", "    beta2: float = 0.999"
    )
    assert patched(SCRIPT, reply).script == SCRIPT.replace("0.95", "0.999")


def test_patching_lines_can_be_taken_out() -> None:
    done = patched(SCRIPT, "<<<<<<< SEARCH\n    if x > 1:\n        return 1\n=======\n>>>>>>> REPLACE")
    assert done.script == SCRIPT.replace("    if x > 1:\n        return 1\n", "")


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("Let us raise beta2.", "has no SEARCH/REPLACE block"),
        ("<<<<<<< SEARCH\n    beta2: float = 0.95\n=======\n    beta2", "does not end with >>>>>>> REPLACE"),
        ("<<<<<<< SEARCH\n    beta2: float = 0.95\n>>>>>>> REPLACE", "no line of ======="),
        (block("    beta3 = 1", "    beta3 = 2"), "is not in the script: `beta3 = 1`"),
        (block("    return x", "    return 2 * x"), "occurs 2 times"),
        (block("SEED = 7", "SEED = 8"), "frozen part"),
        (block("import math", "import socket"), "frozen part"),
        (block("", "x = 1"), "SEARCH part of block 1 is empty"),
        (block("    beta2: float = 0.95", "    beta2: float = 0.95  # fine"), "changes only comments"),
        (block("    beta2: float = 0.95", "    beta2: float = = 1"), "it is not valid Python"),
        (block("    beta2: float = 0.95", "# --- EDITABLE: end ---\nSEED = 8"), "touches an EDITABLE marker"),
        (
            block("    beta2: float = 0.95", "    beta2: float = " + "-" * 30_000 + "1"),
            "characters, more than",
        ),
        (
            block("    beta2: float = 0.95", "    beta2 = " + "(" * 9_000 + "1" + ")" * 9_000),
            "after the edit",
        ),
        (block("    beta2: float = 0.95", "    beta2: float = 0.9\x00"), "after the edit"),
        (block("    beta2: float = 0.95", "    beta2 = 1") * (MAX_BLOCKS + 1), "blocks, more than"),
    ],
)
def test_patching_what_does_not_apply_is_reported_in_a_sentence(reply: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        patched(SCRIPT, reply)
    assert sentence in str(refused.value)


def test_patching_the_frozen_part_stays_as_it_is_to_the_byte() -> None:
    done = patched(SCRIPT, block("def other(x):\n    return x", "def other(x):\n    return -x"))
    assert regions(done.script).frozen_hash == regions(SCRIPT).frozen_hash
