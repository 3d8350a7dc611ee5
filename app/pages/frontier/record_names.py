"""Which record holders are named on the chart: the newest first, no name on another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

CHAR_PX, LINE_PX = 6.6, 15.0  # of a name at 12 pixels, with room around it
DESK_PX, PHONE_PX = 1000.0, 300.0  # widths of the plot for which names are chosen
NAME_CHARS = 26
MEASURED_PX = 9.0  # from the point of a model measured here to its label
ROUND = 20.0  # points of the index between two lines of the chart
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


def named_records(
    rows: pd.DataFrame, *, until: pd.Timestamp, height_px: float, here: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The record holders with `label`, and whether it has room `on_desk` and `on_phone`.

    The time axis ends on `until`. `here` are the models measured here, whose labels come first.

    Reads `model access released value is_record`; `released` is a time.
    """
    records = rows[rows["is_record"]].sort_values("released", ascending=False)
    labels = [_short(name) for name in records["model"]]
    placed = {
        f"on_{name}": _free(
            records, labels, _scale(rows, until, here, width_px=width, height_px=height_px), here
        )
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


def _scale(
    rows: pd.DataFrame, until: pd.Timestamp, here: pd.DataFrame | None, *, width_px: float, height_px: float
) -> _Scale:
    """The scale of the chart: its axis of values ends on round numbers beyond all points and intervals."""
    values = [rows["value"]]
    if here is not None:
        values += [here[name].astype(float) for name in ("value", "ci_low", "ci_high")]
    known = pd.concat(values).dropna()
    low, high = float(known.min()), float(known.max())
    step = ROUND if high - low > ROUND else max(high - low, 1e-9)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    first_day = rows["released"].min()
    n_days = max((until - first_day).days, 1)
    return _Scale(first_day, width_px / n_days, high, height_px / max(high - low, 1e-9), width_px)


def _measured_boxes(here: pd.DataFrame | None, scale: _Scale) -> list[_Box]:
    """The labels of the models measured here, to the left of their points."""
    boxes = []
    for _, row in here.iterrows() if here is not None else ():
        if row["label"]:
            x, y = scale.at(row)
            boxes.append(_Box(x - CHAR_PX * len(row["label"]) - MEASURED_PX, x - MEASURED_PX, y))
    return boxes


def _free(
    records: pd.DataFrame, labels: Sequence[str], scale: _Scale, here: pd.DataFrame | None
) -> list[bool]:
    """For each record, in turn, whether its name lies on none before it and on no label of `here`."""
    boxes = _measured_boxes(here, scale)
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
