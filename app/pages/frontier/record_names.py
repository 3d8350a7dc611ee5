"""Which record holders are named on the chart: the newest first, no name on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

CHAR_PX, LINE_PX = 6.6, 15.0  # of a name at 12 pixels, with room around it
DESK_PX, PHONE_PX = 1000.0, 300.0  # widths of the plot for which names are chosen
NAME_CHARS = 26
# from the dot to the middle of the name: closed ones stand to the upper left of their step, where the line
# has come from below; open ones to the lower right, below the line that goes on
OFFSETS = {"closed": (-6.0, -10.0), "open": (6.0, 12.0)}


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    right: float
    middle: float

    def meets(self, other: _Box) -> bool:
        is_beside = self.right < other.left or other.right < self.left
        return not is_beside and abs(self.middle - other.middle) < LINE_PX


def named_records(rows: pd.DataFrame, *, until: pd.Timestamp, height_px: float) -> pd.DataFrame:
    """The record holders with `label`, and whether it has room `on_desk` and `on_phone`.

    The time axis ends on `until`.

    Reads `model access released value is_record`; `released` is a time.
    """
    records = rows[rows["is_record"]].sort_values("released", ascending=False)
    labels = [_short(name) for name in records["model"]]
    placed = {
        f"on_{name}": _free(records, labels, _scale(rows, until, width_px=width, height_px=height_px))
        for name, width in (("desk", DESK_PX), ("phone", PHONE_PX))
    }
    return records.assign(label=labels, **placed)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Places on the plot, in pixels from its upper left corner."""

    first_day: pd.Timestamp
    px_per_day: float
    highest: float
    px_per_value: float
    width_px: float

    def at(self, row: pd.Series[Any]) -> tuple[float, float]:
        x = (row["released"] - self.first_day).days * self.px_per_day
        return x, (self.highest - row["value"]) * self.px_per_value


def _scale(rows: pd.DataFrame, until: pd.Timestamp, *, width_px: float, height_px: float) -> _Scale:
    first_day, high, low = rows["released"].min(), float(rows["value"].max()), float(rows["value"].min())
    n_days = max((until - first_day).days, 1)
    return _Scale(first_day, width_px / n_days, high, height_px / max(high - low, 1e-9), width_px)


def _free(records: pd.DataFrame, labels: Sequence[str], scale: _Scale) -> list[bool]:
    """For each record, in turn, whether its name lies on none before it."""
    boxes: list[_Box] = []
    is_free = []
    for (_, row), label in zip(records.iterrows(), labels, strict=True):
        dx, dy = OFFSETS[row["access"]]
        x, y = scale.at(row)
        x, y, length = x + dx, y + dy, CHAR_PX * len(label)
        box = _Box(x - length, x, y) if row["access"] == "closed" else _Box(x, x + length, y)
        is_in = box.left >= 0.0 and box.right <= scale.width_px
        fits = is_in and not any(box.meets(other) for other in boxes)
        if fits:
            boxes.append(box)
        is_free.append(fits)
    return is_free


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 1]}…"
