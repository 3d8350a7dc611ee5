"""Text from models and sources made safe to show: as its characters, never rendered. Numbers as text."""

from __future__ import annotations

import math
import re

from tracker.foreign_text import printable, streamlit_text

SHOWN_CHARS = 20_000  # about ten screens; a browser takes seconds over a megabyte in one block
NOTHING = "–"
_COMMAND = re.compile(r"`((?:tracker |--)[A-Za-z0-9 _./=-]+)`")


def escaped(text: str) -> str:
    """`text` so that Markdown shows its characters and links none; line breaks become spaces."""
    return streamlit_text(text)


def with_commands(text: str) -> str:
    """`text` as for `escaped`, with our commands and flags (`tracker …`, `--suite place`) set as code."""
    parts = _COMMAND.split(text)  # every second one is a command
    return "".join(f"`{part}`" if place % 2 else _inner(part) for place, part in enumerate(parts))


def _inner(text: str) -> str:
    """A part of a sentence, with the spaces around it that `escaped` strips."""
    return " " * text[:1].isspace() + escaped(text) + " " * text[-1:].isspace() if text.strip() else text


def visible(text: str) -> str:
    """`text` with control characters written out: an ANSI escape is seen as `\\x1b`, not obeyed."""
    return printable(text)


def clipped(text: str, length: int = SHOWN_CHARS) -> str:
    """The first `length` characters."""
    return text[:length]


def known(value: float | None) -> float | None:
    """`value`, or None for an empty cell: pandas writes `nan` for null."""
    return None if value is None or math.isnan(value) else value


def percent(value: float | None) -> str:
    """`0.4521` as `45.2%`; a dash for nothing."""
    fraction = known(value)
    return NOTHING if fraction is None else f"{100 * fraction:.1f}%"


def interval(low: float | None, high: float | None) -> str:
    """Both ends in percent, or a dash if there is no interval."""
    start, end = known(low), known(high)
    return NOTHING if start is None or end is None else f"{100 * start:.1f}–{100 * end:.1f}%"


def duration(value: float | None) -> str:
    """Seconds for people: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    duration_s = known(value)
    if duration_s is None:
        return NOTHING
    minutes, rest = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def seconds(value: float | None) -> str:
    """A short time to the hundredth: `0.31 s`."""
    short_s = known(value)
    return NOTHING if short_s is None else f"{short_s:.2f} s"


def size(value: float | None) -> str:
    """Bytes of a file in decimal units: `1.2 GB`."""
    amount = known(value)
    if amount is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def memory(value: float | None) -> str:
    """Bytes of memory in binary units: `1.2 GiB`."""
    amount = known(value)
    if amount is None:
        return NOTHING
    return f"{amount / 2**20:.0f} MiB" if amount < 2**30 else f"{amount / 2**30:.1f} GiB"


def count(value: float | None) -> str:
    """A large count, shortened: `134.5M`."""
    number = known(value)
    if number is None:
        return NOTHING
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.4g}{unit}"
    return f"{number:,.0f}"


def rate(value: float | None) -> str:
    """A rate in whole units, one decimal below ten."""
    per_s = known(value)
    if per_s is None:
        return NOTHING
    return f"{per_s:.1f}" if per_s < 10 else f"{per_s:,.0f}"


def months(value: float | None) -> str:
    """`4.37` as `4.4 months`; a dash for nothing."""
    length = known(value)
    return NOTHING if length is None else f"{length:.1f} month{'' if f'{length:.1f}' == '1.0' else 's'}"


def ends(low: float | None, high: float | None) -> str:
    """Both ends of an interval to one decimal, or a dash if there is none; `to` where an end is negative."""
    start, end = known(low), known(high)
    if start is None or end is None:
        return NOTHING
    return f"{start:.1f}–{end:.1f}" if min(start, end) >= 0 else f"{start:.1f} to {end:.1f}"


def energy(value: float | None) -> str:
    """Joules as watt-hours: `3.2 Wh`."""
    joules = known(value)
    return NOTHING if joules is None else f"{joules / 3600:,.1f} Wh"


def bpb(value: float | None) -> str:
    """Bits per byte saved, with its sign: `+0.0412`; a dash for nothing."""
    saved = known(value)
    return NOTHING if saved is None else f"{saved:+.4f}"


def bpb_ends(low: float | None, high: float | None) -> str:
    """Both ends of an interval of bits per byte saved, or a dash if there is none."""
    return NOTHING if known(low) is None or known(high) is None else f"{bpb(low)} to {bpb(high)}"
