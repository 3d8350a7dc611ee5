"""The part of a digest about published scores: new, changed and withdrawn values, and records.

One line per model: its effort variants and benchmarks stand together. Values of a fitted scale (an index,
a rating) move for every model with each refit; what stays within its published interval, or follows a rescale
of all values, is one sentence and no news.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracker.answers.digest_records import (
    SHOWN,
    DigestChange,
    first_parts,
    hub_address,
    value_text,
    web_address,
)
from tracker.stats import normal_interval

Row = Mapping[str, Any]
REPORTERS = {"first_party": "its developer", "third_party": "a third party", "unknown": "an unknown party"}
INDEX, RATING = "index", "rating"
FITTED = (INDEX, RATING)  # units of scales that are fitted to all models together
EFFORT = re.compile(
    r"_(?:none|minimal|low|medium|high|xhigh|max|\d+k)$", re.IGNORECASE
)  # as Epoch AI writes it
LEAST_MOVED = 8  # values of a benchmark; fewer do not show a rescale
MOST_FITTED = 500  # values from which a rescale is estimated; all pairs of more take seconds
NEAR_RESCALE = 0.02  # of the range of the values: how far from the rescale a value still follows it


def new_score_changes(rows: Iterable[Row]) -> list[DigestChange]:
    """One line per model with new scores, or per benchmark where the models are many."""
    fresh = [row for row in rows if row["before"] is None and not row["is_withdrawn"]]
    models = _grouped(fresh, _model_key)
    if len(models) <= SHOWN:
        return [_new_scores(of) for of in models.values()]
    benchmarks = _grouped(fresh, lambda row: (row["source"], row["benchmark"]))
    return [
        _count(of) for of in sorted(benchmarks.values(), key=lambda of: (of[0]["unit"] != INDEX, -len(of)))
    ]


def score_change_lines(rows: Iterable[Row]) -> list[DigestChange]:
    """One sentence per refit, then one line per model with changed or withdrawn scores, clearest first."""
    changed = [row for row in rows if row["is_withdrawn"] or row["before"] is not None]
    refits = _refits(changed)
    refitted = {id(row) for refit in refits for row in refit.rows}
    told = [row for row in changed if id(row) not in refitted]
    models = sorted(_grouped(told, _model_key).values(), key=_clarity, reverse=True)
    return [_refit_sentence(refit) for refit in refits] + [_changed_scores(of) for of in models]


def record_changes(before: Iterable[Row], after: Iterable[Row]) -> list[DigestChange]:
    """One line per model that is a new best open or closed one, with the benchmarks where it is.

    A benchmark that was not there before has no records, only a beginning. On a fitted scale a better value
    of the same model is a refit and no record.
    """
    old = {(r["source"], r["benchmark"], r["access"]): r for r in before}
    new = {(r["source"], r["benchmark"], r["access"]): r for r in after}
    records: dict[tuple[str, str], list[_Record]] = defaultdict(list)
    for (source, benchmark, access), row in sorted(new.items()):
        known = old.get((source, benchmark, access))
        if known is None or row["value"] <= known["value"]:
            continue
        is_same = base_name(row["name"]).casefold() == base_name(known["name"]).casefold()
        if is_same and row["unit"] in FITTED:
            continue
        rival, was = new.get((source, benchmark, "closed")), old.get((source, benchmark, "closed"))
        was_behind = access == "open" and was is not None and known["value"] < was["value"]
        caught_up = was_behind and rival is not None and row["value"] >= rival["value"]
        records[row["name"], access].append(_Record(row, known, is_same, caught_up))
    return [_record_change(name, access, found) for (name, access), found in records.items()]


def base_name(name: str) -> str:
    """The name without the effort at which the model was run: `gpt-5.4_high` is `gpt-5.4`."""
    return EFFORT.sub("", name)


def interval(row: Row, prefix: str = "") -> tuple[float, float] | None:
    """The 95% interval of a score; None if nothing is known of its error."""
    low, high, stderr = row[f"{prefix}ci_low"], row[f"{prefix}ci_high"], row[f"{prefix}stderr"]
    value = row[prefix.rstrip("_") or "value"]
    if low is not None and high is not None:
        return low, high
    if stderr is None:
        return None
    found = normal_interval(value, stderr)
    return found.low, found.high


def overlap_words(row: Row) -> str:
    """Whether the interval before and the one now overlap."""
    now, before = interval(row), interval(row, "before_")
    if now is None or before is None:
        return "intervals unknown"
    return (
        "the intervals overlap"
        if now[0] <= before[1] and before[0] <= now[1]
        else "the intervals do not overlap"
    )


@dataclass(frozen=True, slots=True)
class _Record:
    """A new best of a benchmark."""

    row: Row
    known: Row  # the best before
    is_same: bool  # the same model was the best before
    caught_up: bool  # an open model reached the best closed one

    @property
    def previous(self) -> str:
        """The value before, and whose it was."""
        value = value_text(self.known["value"], self.known["unit"])
        return f"up from {value}" if self.is_same else f"previously `{self.known['name']}` with {value}"


@dataclass(frozen=True, slots=True)
class _Refit:
    """The values of one scale that moved no more than a refit moves them."""

    source: str
    benchmark: str
    rows: Sequence[Row]


def _grouped(rows: Iterable[Row], key: Any) -> dict[Hashable, list[Row]]:
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _model_key(row: Row) -> str:
    return str(row.get("model_id") or base_name(row["name"])).casefold()


def _named(rows: Sequence[Row]) -> tuple[str, str | None]:
    """The name under which the rows of one model are told, and where they can be looked up."""
    first = rows[0]
    name = first["name"] if len({row["name"] for row in rows}) == 1 else base_name(first["name"])
    url = next((found for row in rows if (found := web_address(row.get("source_url")))), None)
    return name, url or hub_address(first.get("model_id") or name)


def _sources(rows: Sequence[Row]) -> str:
    return ", ".join(sorted({row["source"] for row in rows}))


def _on(row: Row) -> str:
    return f"{row['benchmark']} ({row['variant']})" if row["variant"] else str(row["benchmark"])


def _new_scores(rows: Sequence[Row]) -> DigestChange:
    name, url = _named(rows)
    reporters = " and ".join(dict.fromkeys(REPORTERS[row["reported_by"]] for row in rows))
    said = f"({_sources(rows)}, reported by {reporters})"
    benchmarks = list(_grouped(rows, lambda row: row["benchmark"]).values())
    parts = []
    for of in benchmarks:
        best = max(of, key=lambda row: row["value"])
        value = value_text(best["value"], best["unit"])
        parts.append((best["benchmark"], value + (f" (highest of {len(of)} values)" if len(of) > 1 else "")))
    if len(parts) == 1:
        return DigestChange(f" on {parts[0][0]}: {parts[0][1]} {said}", name, url)
    listed = first_parts([f"{benchmark} {value}" for benchmark, value in parts], "benchmarks")
    return DigestChange(f": new scores: {listed} {said}", name, url)


def _count(rows: Sequence[Row]) -> DigestChange:
    best = max(rows, key=lambda row: row["value"])
    value = f"{value_text(best['value'], best['unit'])} by `{best['name']}`"
    on = f"on {best['benchmark']}"
    text = (
        f"1 new value {on}: {value}"
        if len(rows) == 1
        else f"{len(rows):,} new values {on}, the highest {value}"
    )
    return DigestChange(f"{text} ({best['source']})", url=web_address(best.get("source_url")))


def _changed_scores(rows: Sequence[Row]) -> DigestChange:
    name, url = _named(rows)
    parts: list[str] = []
    for of in _grouped(rows, lambda row: (row["benchmark"], row["variant"])).values():
        texts = dict.fromkeys(_change_text(row) for row in of)  # efforts with the same values are one part
        parts += texts if len(texts) == 1 else [f"`{row['name']}` on {_change_text(row)}" for row in of]
    if len(parts) == 1:
        return DigestChange(f" on {parts[0]} ({_sources(rows)})", name, url)
    return DigestChange(f": {first_parts(parts, 'scores', separator='; ')} ({_sources(rows)})", name, url)


def _change_text(row: Row) -> str:
    where = _on(row)
    if row["is_withdrawn"]:
        return f"{where}: {value_text(row['value'], row['unit'])} was withdrawn"
    change = f"{value_text(row['before'], row['unit'])} → {value_text(row['value'], row['unit'])}"
    return f"{where}: {change}, {overlap_words(row)}"


def _clarity(rows: Sequence[Row]) -> tuple[bool, bool, float]:
    """How clear the changes of a model are: beyond their intervals, changed rather than withdrawn, large."""
    moved = [row for row in rows if not row["is_withdrawn"]]
    scale = {INDEX: 100.0, RATING: 1000.0}
    return (
        any(overlap_words(row) == "the intervals do not overlap" for row in moved),
        bool(moved),
        max((abs(row["value"] - row["before"]) / scale.get(row["unit"], 1.0) for row in moved), default=0.0),
    )


def _refits(changed: Sequence[Row]) -> list[_Refit]:
    """The values of each fitted scale that a refit explains."""
    moved = [row for row in changed if row["unit"] in FITTED and not row["is_withdrawn"]]
    scales = _grouped(moved, lambda row: (row["source"], row["benchmark"]))
    found = []
    for of in scales.values():
        follows = _follow_rescale(of)
        kept = [row for row, is_near in zip(of, follows, strict=True) if is_near or _is_within(row)]
        if kept:
            found.append(_Refit(kept[0]["source"], kept[0]["benchmark"], kept))
    return found


def _is_within(row: Row) -> bool:
    """Whether the value moved by no more than half of its published interval."""
    known = interval(row) or interval(row, "before_")
    return known is not None and abs(row["value"] - row["before"]) <= (known[1] - known[0]) / 2


def _follow_rescale(rows: Sequence[Row]) -> list[bool]:
    """Whether each value lies where one shift and stretch of all values puts it."""
    before = np.array([row["before"] for row in rows], dtype=np.float64)
    now = np.array([row["value"] for row in rows], dtype=np.float64)
    if len(rows) < LEAST_MOVED or len(np.unique(before)) < LEAST_MOVED:
        return [False] * len(rows)
    from scipy.stats import theilslopes  # slow to load

    some = np.linspace(0, len(rows) - 1, min(len(rows), MOST_FITTED)).astype(np.intp)
    line = theilslopes(now[some], before[some], method="joint")
    off = np.abs(now - (line.intercept + line.slope * before))
    return [bool(flag) for flag in off <= NEAR_RESCALE * np.ptp(before)]


def _refit_sentence(refit: _Refit) -> DigestChange:
    shifts = np.array([row["value"] - row["before"] for row in refit.rows])
    n_models = len({_model_key(row) for row in refit.rows})
    models = "1 model" if n_models == 1 else f"{n_models:,} models"
    spread = f"{shifts.min():+.1f} to {shifts.max():+.1f}, median {np.median(shifts):+.1f}"
    return DigestChange(
        f"{refit.benchmark}: the values of {models} were refitted ({spread}), within their intervals or as a "
        f"rescale of all values moves them ({refit.source})"
    )


def _record_change(name: str, access: str, records: Sequence[_Record]) -> DigestChange:
    url = hub_address(name)
    sources = _sources([record.row for record in records])
    tail = "; open models have caught up with closed ones"
    if len(records) == 1:
        (one,) = records
        where = f"{one.row['benchmark']} with {value_text(one.row['value'], one.row['unit'])}"
        text = f" is the best {access} model on {where}, {one.previous} ({sources})"
        return DigestChange(text + (tail if one.caught_up else ""), name, url)
    parts = [
        f"{one.row['benchmark']} {value_text(one.row['value'], one.row['unit'])} ({one.previous})"
        for one in records
    ]
    caught_up = [one.row["benchmark"] for one in records if one.caught_up]
    listed = first_parts(parts, "benchmarks")
    more = f"{tail} on {first_parts(caught_up, 'of them')}" if caught_up else ""
    return DigestChange(
        f" is the best {access} model on {len(records)} benchmarks: {listed} ({sources}){more}", name, url
    )
