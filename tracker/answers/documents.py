"""Answers as plain JSON values, for `--json` and the JSON routes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tracker.frontier.placement import Placement, Unplaced

if TYPE_CHECKING:
    import pandas as pd


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame."""
    return [json_row(row) for row in frame.to_dict("records")]


def json_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row: times in ISO 8601, null for values that are missing or not finite."""
    return {str(name): _json_value(value) for name, value in row.items()}


def placement_document(found: Placement | Unplaced | None) -> dict[str, Any]:
    """`placement`, null if there is none, and `placement_note`: the reason, or a note."""
    if found is None:
        return {"placement": None, "placement_note": None}
    if isinstance(found, Placement):
        return {"placement": json_row(asdict(found)), "placement_note": found.note}
    return {"placement": None, "placement_note": found.reason}


def _json_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date):
        return None if value != value else value.isoformat()  # noqa: PLR0124 (pandas' "no time" is a datetime)
    return json.loads(json.dumps(value, default=str)) if isinstance(value, dict | list | tuple) else value
