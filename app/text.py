"""What a model or a source wrote, made safe to show: as the characters that it is, never rendered."""

from __future__ import annotations

import math
import re

SHOWN_CHARS = 20_000  # about ten screens; a browser takes seconds over a megabyte in one block
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&=^])")
# Streamlit makes a link of these wherever they stand, escaped or not: an address, a host, a mail address
LINKED = re.compile(r"://|www(?=\.)|@", re.IGNORECASE)
BREAK = "\u200b"  # of no width: what is split by it is read the same and is no link
NOTHING = "–"
DELETE = 0x7F
TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # turn the order of what follows round
# `\x1b` for the escape that starts an ANSI sequence, `\u202e` for a turn; fonts lack other signs
HIDDEN = {code: f"\\x{code:02x}" for code in (*range(0x20), DELETE) if chr(code) not in "\n\t"}
HIDDEN |= {code: f"\\u{code:04x}" for code in TURNING}


def escaped(text: str) -> str:
    """`text` so that Markdown shows its characters and links none; line breaks become spaces."""
    unlinked = LINKED.sub(rf"\g<0>{BREAK}", " ".join(visible(text).split()))
    return MARKDOWN.sub(r"\\\1", unlinked)


def visible(text: str) -> str:
    """`text` with control characters written out: an ANSI escape is seen as `\\x1b`, not obeyed."""
    return text.replace("\r\n", "\n").translate(HIDDEN)


def clipped(text: str, length: int = SHOWN_CHARS) -> str:
    """The first `length` characters."""
    return text[:length]


def known(value: float | None) -> float | None:
    """`value`, or None for an empty cell: pandas writes `nan` where the store had null."""
    return None if value is None or math.isnan(value) else value


def percent(value: float | None) -> str:
    """`0.4521` as `45.2 %`; a dash for nothing."""
    fraction = known(value)
    return NOTHING if fraction is None else f"{100 * fraction:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """Both ends in percent, or a dash if there is no interval."""
    start, end = known(low), known(high)
    return NOTHING if start is None or end is None else f"{100 * start:.1f} – {100 * end:.1f} %"


def duration(value: float | None) -> str:
    """Seconds as people say them: `42 s`, `3 min 20 s`, `2 h 5 min`."""
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
    """Bytes in decimal units: `1.2 GB`."""
    amount = known(value)
    if amount is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def count(value: float | None) -> str:
    """A large count in short: `134.5 M`."""
    number = known(value)
    if number is None:
        return NOTHING
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.4g} {unit}"
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
    """Both ends of an interval to one decimal, or a dash if there is none."""
    start, end = known(low), known(high)
    return NOTHING if start is None or end is None else f"{start:.1f} – {end:.1f}"


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
