"""What a model or a source wrote, made safe to show: as the characters that it is, never rendered."""

from __future__ import annotations

import re

SHOWN_CHARS = 20_000  # about ten screens; a browser takes seconds over a megabyte in one block
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&=^])")
CONTROL_PICTURES = 0x2400  # "␀" stands for 0x00, "␛" for the escape that starts an ANSI sequence
DELETE = 0x7F
INVISIBLE = {
    code: CONTROL_PICTURES + code for code in range(0x20) if chr(code) not in "\n\t"
} | {DELETE: 0x2421}
# these turn the order of what follows round, so that a text reads as another than it is
INVISIBLE |= {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def escaped(text: str) -> str:
    """`text` so that Markdown shows its characters; line breaks become spaces."""
    return MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))


def visible(text: str) -> str:
    """`text` with every control character as its picture: an ANSI escape is seen, not obeyed."""
    return text.replace("\r\n", "\n").translate(INVISIBLE)


def clipped(text: str, length: int = SHOWN_CHARS) -> str:
    """The first `length` characters."""
    return text[:length]


def percent(value: float | None) -> str:
    """`0.4521` as `45.2 %`; a dash for nothing."""
    return "–" if value is None or value != value else f"{100 * value:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """Both ends in percent, or a dash if there is no interval."""
    if low is None or high is None or low != low or high != high:
        return "–"
    return f"{100 * low:.1f} – {100 * high:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None or seconds != seconds:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(n_bytes: float | None) -> str:
    """Bytes in decimal units: `1.2 GB`."""
    if n_bytes is None or n_bytes != n_bytes:
        return "–"
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def count(number: float | None) -> str:
    """A large count in short: `134.5 M`."""
    if number is None or number != number:
        return "–"
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:,.0f}"
