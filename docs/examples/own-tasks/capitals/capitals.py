"""The questions of `my_capitals`, from the file beside this one, whatever folder you type in."""

import json
from pathlib import Path

from datasets import Dataset


def splits(**_):
    """The first two lines are worked examples, the others are asked."""
    lines = Path(__file__).with_name("capitals.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {"examples": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:])}
