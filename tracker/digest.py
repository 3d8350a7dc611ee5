"""What changed between two moments, computed from the vintages and from what was measured in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracker.settings import Settings
from tracker.sizing import MEMORY_GB
from tracker.store import Snapshot, open_snapshot

Row = Mapping[str, Any]
SHOWN = 25  # lines of a section; the rest is counted
Z95 = 1.96  # standard errors to each side of a 95 % interval
GB = 1e9
REWRITTEN = "the history was rewritten"
TROUBLE = ("failed", "partial", "skipped_unavailable")


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of change: its lines, and how many more there are."""

    key: str
    title: str
    lines: tuple[str, ...]
    n: int


@dataclass(frozen=True, slots=True)
class Digest:
    """What changed after `since` and until `until`."""

    since: datetime
    until: datetime
    sections: tuple[Section, ...]
    attributions: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed at all."""
        return not any(section.n for section in self.sections)


def digest(settings: Settings, *, since: datetime, until: datetime, most: int | None = SHOWN) -> Digest:
    """What the newest snapshot says of that time, of each kind at most so many lines."""
    with open_snapshot(settings) as snapshot:
        window = {"since": naive(since), "until": naive(until)}
        models = snapshot.query("model_changes", **window)
        weights = snapshot.query("new_weights", **window)
        scores = snapshot.query("score_changes", **window)
        pairs = [
            row
            for row in snapshot.query("claimed_and_measured")
            if since < max(row["measured_at"], row["seen_at"]) <= until
        ]
        ingests = [row for row in snapshot.query("ingests", since=naive(since)) if row["started_at"] <= until]
        records = crossings(*_twice(snapshot, "best_scores", since, until))
        bests = memory_bests(*_twice(snapshot, "measured_means", since, until))
        private = {row["source"] for row in ingests if row["is_private"]}
        credit = sorted({row["attribution"] for row in ingests if row["attribution"] and row["n_seen"]})
    public = [row for row in scores if row["source"] not in private]
    kinds: tuple[tuple[str, str, list[str]], ...] = (
        ("new_models", "New models", model_lines(models, ("new", "back"))),
        ("changed_models", "Models that changed", model_lines(models, CHANGES)),
        ("new_weights", "New weights since it was measured", weights_lines(weights)),
        ("frontier", "Records on a benchmark", records),
        ("memory", "New best measured here, by memory", bests),
        ("contradictions", "Claims that a measurement contradicts", contradiction_lines(pairs)),
        ("changed_scores", "Scores that changed", score_lines(public)),
        ("new_scores", "New scores", new_score_lines(public)),
        ("outages", "Sources with trouble", outage_lines(ingests)),
    )
    sections = tuple(section(key, title, lines, most=most) for key, title, lines in kinds)
    return Digest(since, until, sections, tuple(credit))


def section(key: str, title: str, lines: Sequence[str], *, most: int | None = SHOWN) -> Section:
    """A section that shows the first lines, or all of them."""
    return Section(key, title, tuple(lines[:most]), len(lines))


CHANGES = ("renamed", "gone", "gated", "opened", "license")
WORDS: Mapping[str, Callable[[Row], str]] = {
    "new": lambda row: "",
    "back": lambda row: "is there again",
    "renamed": lambda row: f"is now `{row['renamed_to']}`",
    "gone": lambda row: "was deleted or made private",
    "gated": lambda row: f"is now gated ({row['gated']})",
    "opened": lambda row: "is no longer gated",
    "license": lambda row: f"licence: {row['license_before'] or 'none'} → {row['license'] or 'none'}",
}


def model_lines(rows: Iterable[Row], wanted: Sequence[str]) -> list[str]:
    """One line per model that changed in one of these ways."""
    lines = []
    for row in rows:
        if row["what"] not in wanted:
            continue
        size = f"{row['n_params'] / 1e9:.3g}B" if row["n_params"] else "size unknown"
        facts = ", ".join(str(part) for part in (size, row["kind"], row["license"]) if part)
        change = WORDS[row["what"]](row)
        lines.append(f"`{row['name']}` {change}" if change else f"`{row['name']}` ({facts})")
    return lines


def weights_lines(rows: Iterable[Row]) -> list[str]:
    """One line per model whose weights are no longer those that were measured."""
    return [
        f"`{row['model_id']}` was measured at {row['measured_revision'][:12]}, and has other weights since "
        f"{row['revision'][:12]}"
        for row in rows
    ]


def score_lines(rows: Iterable[Row]) -> list[str]:
    """One line per score that is another one or gone; says whether the intervals overlap."""
    lines = []
    for row in rows:
        where = f"`{row['name']}` on {row['benchmark']}" + (f" ({row['variant']})" if row["variant"] else "")
        if row["is_withdrawn"]:
            lines.append(f"{where}: {shown(row['value'], row['unit'])} was withdrawn ({row['source']})")
        elif row["before"] is not None:
            change = f"{shown(row['before'], row['unit'])} → {shown(row['value'], row['unit'])}"
            lines.append(f"{where}: {change}, {overlap_words(row)} ({row['source']})")
    return lines


def new_score_lines(rows: Iterable[Row]) -> list[str]:
    """One line per new score, or per source and benchmark where they are many."""
    fresh = [row for row in rows if row["before"] is None and not row["is_withdrawn"]]
    if len(fresh) <= SHOWN:
        return [
            f"`{row['name']}` on {row['benchmark']}: {shown(row['value'], row['unit'])} "
            f"({row['source']}, {row['reported_by']})"
            for row in fresh
        ]
    counts: dict[tuple[str, str], int] = {}
    for row in fresh:
        counts[row["source"], row["benchmark"]] = counts.get((row["source"], row["benchmark"]), 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{benchmark}: {n} ({source})" for (source, benchmark), n in ranked]


def interval(row: Row, prefix: str = "") -> tuple[float, float] | None:
    """The 95 % interval of a score; None if nothing is known of its error."""
    low, high, stderr = row[f"{prefix}ci_low"], row[f"{prefix}ci_high"], row[f"{prefix}stderr"]
    value = row[prefix.rstrip("_") or "value"]
    if low is not None and high is not None:
        return low, high
    return None if stderr is None else (value - Z95 * stderr, value + Z95 * stderr)


def overlap_words(row: Row) -> str:
    """Whether the interval before and the one now overlap."""
    now, before = interval(row), interval(row, "before_")
    if now is None or before is None:
        return "no interval given"
    return (
        "the intervals overlap" if now[0] <= before[1] and before[0] <= now[1] else "the intervals are apart"
    )


def crossings(before: Iterable[Row], after: Iterable[Row]) -> list[str]:
    """One line per benchmark that has a new best, and per benchmark where open passed closed or fell behind.

    A benchmark that was not there before has no records, only a beginning.
    """
    old = {(r["source"], r["benchmark"], r["access"]): r for r in before}
    new = {(r["source"], r["benchmark"], r["access"]): r for r in after}
    lines = []
    for (source, benchmark, access), row in sorted(new.items()):
        known = old.get((source, benchmark, access))
        if known is None or row["value"] <= known["value"]:
            continue
        line = (
            f"{benchmark}: best {access} is `{row['name']}` with {shown(row['value'], row['unit'])}, "
            f"before `{known['name']}` with {shown(known['value'], row['unit'])} ({source})"
        )
        rival, was = new.get((source, benchmark, "closed")), old.get((source, benchmark, "closed"))
        was_behind = access == "open" and was is not None and known["value"] < was["value"]
        if was_behind and rival is not None and row["value"] >= rival["value"]:
            line += "; open has caught up with closed"
        lines.append(line)
    return lines


def memory_bests(before: Iterable[Row], after: Iterable[Row]) -> list[str]:
    """One line per suite and memory size whose best model measured here is another one."""
    lines = []
    old, new = _bests(before), _bests(after)
    for (suite, gigabytes), row in sorted(new.items()):
        known = old.get((suite, gigabytes))
        if known is not None and known["model_id"] == row["model_id"]:
            continue
        was = f", before `{known['model_id']}` with {known['mean_centered']:.1%}" if known else ""
        lines.append(f"{suite}, {gigabytes} GB: `{row['model_id']}` with {row['mean_centered']:.1%}{was}")
    return lines


def contradiction_lines(pairs: Iterable[Row]) -> list[str]:
    """One line per claim that lies outside the interval measured here."""
    lines = []
    for row in pairs:
        if row["verdict"] not in ("claimed_higher", "claimed_lower"):
            continue
        measured = f"{row['measured']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%}, n={row['n_items']})"
        close = "" if row["match"] == "exact" else "; prompts or shots may differ"
        lines.append(
            f"`{row['model_id']}` on {row['task']}: claimed {row['claimed']:.1%} by "
            f"{row['reporter'] or row['reported_by']}, measured here {measured}{close}"
        )
    return lines


def outage_lines(ingests: Iterable[Row]) -> list[str]:
    """One line per ingest that was not complete, and per repository whose history was rewritten."""
    lines = [
        f"{row['source']}, {row['started_at']:%Y-%m-%d %H:%M} UTC: {row['status']}: {row['reason']}"
        for row in ingests
        if row["status"] in TROUBLE
    ]
    rewritten = {p for row in ingests for p in row["problems"] if REWRITTEN in p}
    return lines + sorted(rewritten)


def shown(value: float, unit: str) -> str:
    """The value for people."""
    return f"{value:.1%}" if unit == "fraction" else f"{value:,.1f}"


def naive(moment: datetime) -> datetime:
    """The moment as the database keeps it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _bests(rows: Iterable[Row]) -> dict[tuple[str, int], Row]:
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        for gigabytes in MEMORY_GB:
            if row["peak_memory_bytes"] is None or row["peak_memory_bytes"] > gigabytes * GB:
                continue
            best = found.get((row["suite"], gigabytes))
            if best is None or row["mean_centered"] > best["mean_centered"]:
                found[row["suite"], gigabytes] = row
    return found


def _twice(snapshot: Snapshot, name: str, since: datetime, until: datetime) -> tuple[list[Row], list[Row]]:
    """The rows of a read as it was at both ends."""
    return (
        [*snapshot.query(name, at=naive(since))],
        [*snapshot.query(name, at=naive(until))],
    )
