"""The frontier as an SVG within its page: both frontiers over time, every model a dot with its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from tracker.foreign_text import html_plain

Row = Mapping[str, Any]  # a model of the frontier as a document
WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 32, 36
VALUE_STEP = 20  # of the marks on the axis of values
ACCESS = ("open", "closed")


def frontier_svg(rows: Iterable[Row], *, title: str, unit: str) -> str:
    """Every model by release and value; a line for the best of each group."""
    points = [(date.fromisoformat(row["released"]).toordinal(), float(row["value"]), row) for row in rows]
    first, last = min(day for day, _, _ in points), max(day for day, _, _ in points)
    low = VALUE_STEP * (min(value for _, value, _ in points) // VALUE_STEP)
    high = VALUE_STEP * -(-max(value for _, value, _ in points) // VALUE_STEP)

    def x(day: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (day - first) / max(last - first, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / max(high - low, 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html_plain(title)}">']
    for mark in range(int(low), int(high) + 1, VALUE_STEP):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark}</text>')
    years = range(date.fromordinal(first).year + 1, date.fromordinal(last).year + 1)
    parts += [
        f'<text x="{x(date(year, 1, 1).toordinal()):.1f}" y="{HEIGHT - 12}">{year}</text>' for year in years
    ]
    parts.append(f'<text x="{LEFT - 40}" y="12">{html_plain(unit)}</text>')
    for access in ACCESS:
        group = [point for point in points if point[2]["access"] == access]
        parts.append(f'<path class="{access}" d="{_steps(group, x, y, until=last)}"/>')
        parts += [_dot(point, access, x, y) for point in group]
    return "\n".join([*parts, "</svg>"])


def _steps(group: list[tuple[int, float, Row]], x: Any, y: Any, *, until: int) -> str:
    """The best of a group so far, which holds until a better one is released."""
    words, best = "", None
    for day, value, _ in sorted(group, key=lambda point: (point[0], -point[1])):
        if best is None or value > best:
            words += f"M{x(day):.1f} {y(value):.1f}" if best is None else f"H{x(day):.1f}V{y(value):.1f}"
            best = value
    return f"{words}H{x(until):.1f}" if words else ""


def _dot(point: tuple[int, float, Row], access: str, x: Any, y: Any) -> str:
    day, value, row = point
    name = html_plain(f"{row['model']}: {value:.1f} ({access}, {row['released']})")
    kind = access if row["is_record"] else f"{access} faint"
    place = f'cx="{x(day):.1f}" cy="{y(value):.1f}"'
    return f'<circle class="{kind}" {place} r="4"><title>{name}</title></circle>'
