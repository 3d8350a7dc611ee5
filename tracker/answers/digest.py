"""The changes between two moments, computed from the published data and the runs in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from tracker.answers.digest_index import index_changes
from tracker.answers.digest_memory import memory_bests, read_bests
from tracker.answers.digest_records import (
    SHOWN,
    Digest,
    DigestChange,
    first_parts,
    hub_address,
    section,
    web_address,
)
from tracker.answers.digest_scores import (
    INDEX,
    REPORTERS,
    new_score_changes,
    record_changes,
    score_change_lines,
)
from tracker.answers.run_lines import completed_words
from tracker.errors import describe_failure, is_failure
from tracker.logs import get_logger
from tracker.records.published import OutcomeStatus
from tracker.settings import Settings
from tracker.store import Snapshot, open_snapshot

Row = Mapping[str, Any]
REWRITTEN = "the history was rewritten"
INCOMPLETE = (OutcomeStatus.FAILED, OutcomeStatus.PARTIAL, OutcomeStatus.SKIPPED_UNAVAILABLE)


def digest(settings: Settings, *, since: datetime, until: datetime, most: int | None = SHOWN) -> Digest:
    """Compute the digest from the newest snapshot, with at most `most` changes per section.

    A section that cannot be computed says so in one line, and the others follow.
    """
    with open_snapshot(settings) as snapshot:
        reads = _Reads(snapshot, settings, since, until)
        kinds: tuple[tuple[str, str, Callable[[], list[DigestChange]]], ...] = (
            ("index", "Best on the capability index", reads.index_lines),
            ("frontier", "New benchmark records", reads.frontier_lines),
            ("memory", "New best measured here, by memory", reads.memory_lines),
            ("contradictions", "Claims contradicted by a measurement", reads.contradiction_lines),
            ("research", "Auto-research", reads.research_lines),
            ("new_models", "New models", lambda: new_model_lines(reads.models)),
            ("changed_models", "Models that changed", lambda: changed_model_lines(reads.models)),
            ("new_weights", "New weights since the measurement", reads.weights_lines),
            ("new_scores", "New scores", lambda: new_score_changes(reads.public_scores)),
            ("changed_scores", "Scores that changed", lambda: score_change_lines(reads.public_scores)),
            ("outages", "Problems with sources", lambda: outage_lines(reads.ingests)),
        )
        sections = tuple(section(key, title, _attempt(key, lines), most=most) for key, title, lines in kinds)
        credit = _attempt("credit", reads.credit)
    return Digest(since, until, sections, tuple(line.text for line in credit))


def _attempt(key: str, lines: Callable[[], list[DigestChange]]) -> list[DigestChange]:
    """The lines of a section, or one that says why there are none."""
    try:
        return lines()
    except BaseException as error:
        if not is_failure(error):
            raise
        get_logger("digest").warning("section failed", section=key, exc_info=error)
        return [DigestChange(f"this section could not be computed: {describe_failure(error)}")]


class _Reads:
    """The rows of the snapshot that the sections share, each read when it is first needed."""

    def __init__(self, snapshot: Snapshot, settings: Settings, since: datetime, until: datetime) -> None:
        self.snapshot, self.settings, self.since, self.until = snapshot, settings, since, until

    def _changes(self, name: str) -> list[Row]:
        return [*self.snapshot.query(name, since=naive(self.since), until=naive(self.until))]

    @cached_property
    def models(self) -> list[Row]:
        return self._changes("model_changes")

    @cached_property
    def ingests(self) -> list[Row]:
        rows = self.snapshot.query("ingests", since=naive(self.since))
        return [row for row in rows if row["started_at"] <= self.until]

    @cached_property
    def private(self) -> set[str]:
        return {row["source"] for row in self.snapshot.query("sources") if row["is_private"]}

    @cached_property
    def public_scores(self) -> list[Row]:
        return self._public(self._changes("score_changes"))

    @cached_property
    def best_scores(self) -> tuple[list[Row], list[Row]]:
        before, after = _twice(self.snapshot, "best_scores", self.since, self.until)
        return self._public(before), self._public(after)

    def _public(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if row["source"] not in self.private]

    def index_lines(self) -> list[DigestChange]:
        return _index_lines(self.settings, *self.best_scores, self.since, self.until)

    def frontier_lines(self) -> list[DigestChange]:
        before, after = self.best_scores
        return record_changes(_benchmarks(before), _benchmarks(after))

    def memory_lines(self) -> list[DigestChange]:
        return memory_bests(*(read_bests(self.snapshot, naive(end)) for end in (self.since, self.until)))

    def contradiction_lines(self) -> list[DigestChange]:
        since, until = naive(self.since), naive(self.until)
        rows = self.snapshot.query("claimed_and_measured", contradicted=True, since=since, until=until)
        return contradiction_lines(rows)

    def research_lines(self) -> list[DigestChange]:
        return research_lines(self._changes("ended_studies"))

    def weights_lines(self) -> list[DigestChange]:
        return weights_lines(self._changes("new_weights"))

    def credit(self) -> list[DigestChange]:
        read = {row["attribution"] for row in self.ingests if row["attribution"] and row["n_seen"]}
        return [DigestChange(text) for text in sorted(read)]


def _index_lines(
    settings: Settings, before: Sequence[Row], after: Sequence[Row], since: datetime, until: datetime
) -> list[DigestChange]:
    """What new data do to the index and the gap.

    Where they are no vintage, as in a store that an older version filled, the published values are compared.
    """
    changes = index_changes(settings, since=since, until=until)
    return changes or record_changes(_of_index(before), _of_index(after))


def _of_index(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["unit"] == INDEX]


def _benchmarks(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["unit"] != INDEX]


def new_model_lines(rows: Iterable[Row]) -> list[DigestChange]:
    """One line per model that is new, or available again."""
    lines = []
    for row in rows:
        if row["is_gone"] or not (row["is_new"] or row["was_gone"]):  # gone: told as a change
            continue
        size = f"{row['n_params'] / 1e9:.3g}B" if row["n_params"] else "size unknown"
        if row["n_params_at_least"]:
            size = f"at least {row['n_params_at_least'] / 1e9:.3g}B stored (packed)"
        facts = ", ".join(str(part) for part in (size, row["kind"], row["license"]) if part)
        text = " is available again" if row["was_gone"] else f" ({facts})"
        lines.append(DigestChange(text, row["name"], hub_address(row["name"])))
    return lines


def changed_model_lines(rows: Iterable[Row]) -> list[DigestChange]:
    """One line per model that was renamed, gone, gated, opened or got another license."""
    return [
        DigestChange(" " + "; ".join(words), row["name"], hub_address(row["renamed_to"] or row["name"]))
        for row in rows
        if (words := _model_words(row))
    ]


def _model_words(row: Row) -> list[str]:
    if row["is_gone"]:
        return [f"is now `{row['renamed_to']}`" if row["renamed_to"] else "was deleted or made private"]
    words = []
    if row["gated"] is not None and row["gated_before"] is None:
        words.append(f"is now gated ({row['gated']})")
    if row["gated"] is None and row["gated_before"] is not None:
        words.append("is no longer gated")
    if row["license"] != row["license_before"]:
        words.append(f"has a new license: {row['license_before'] or 'none'} → {row['license'] or 'none'}")
    return words


def research_lines(rows: Iterable[Row]) -> list[DigestChange]:
    """One line per agent and study that ended: its gain, and what it is to be compared with."""
    return [DigestChange(_study_text(row), row["agent"], hub_address(row["agent"])) for row in rows]


def _study_text(row: Row) -> str:
    """The gain of a study on `test`, an n-gram table's line there, the gain at a larger size, the speed."""
    text = f" on {row['tier']}/{row['track']}, {row['n_trials']} trials: "
    if row["n_caught"]:
        return f"{text}caught faking a score; the gain does not count"
    text += f"{row['gain_bpb']:+.4f} bpb ({row['gain_ci_low']:+.4f} to {row['gain_ci_high']:+.4f})"
    parts = [f"{row['test_bpb']:.3f} bpb on test"]
    if row["ngram_bpb"] is not None:
        parts[0] += f", an n-gram table {row['ngram_bpb']:.3f}"
    if row["transfer_gain_bpb"] is not None:
        parts.append(f"at four times the size {row['transfer_gain_bpb']:+.4f} bpb")
    if row["output_tokens"] and row["latency_s"]:
        parts.append(f"{row['output_tokens'] / row['latency_s']:.0f} tokens/s")
    return f"{text}; {'; '.join(parts)}"


def weights_lines(rows: Iterable[Row]) -> list[DigestChange]:
    """One line per model whose weights are no longer those that were measured."""
    return [
        DigestChange(
            f" was measured at {row['measured_revision'][:12]}; its weights changed with "
            f"{row['revision'][:12]}",
            row["model_id"],
            hub_address(row["model_id"]),
        )
        for row in rows
    ]


def contradiction_lines(pairs: Iterable[Row]) -> list[DigestChange]:
    """One line per model with claims that lie outside the interval measured here."""
    told: dict[str, list[tuple[str, str | None]]] = {}
    for row in pairs:
        if row["verdict"] not in ("claimed_higher", "claimed_lower"):
            continue
        measured = f"{row['measured']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%}, n={row['n_items']})"
        measured += completed_words(row, row["measured"])
        close = "" if row["match"] == "exact" else "; prompts or shots may differ"
        text = (
            f"{row['task']}: claimed {row['claimed']:.1%} by "
            f"{row['reporter'] or REPORTERS[row['reported_by']]}, measured here {measured}{close}"
        )
        told.setdefault(row["model_id"], []).append((text, web_address(row["source_url"])))
    return [
        DigestChange(
            f" on {first_parts([text for text, _ in claims], 'claims', separator='; on ')}",
            model_id,
            claims[0][1] or hub_address(model_id),
        )
        for model_id, claims in told.items()
    ]


def outage_lines(ingests: Iterable[Row]) -> list[DigestChange]:
    """One line per source whose newest ingest was not complete, and per repository with a rewritten history.

    A source that has been read since is no problem any more; an ingest that is still running decides nothing.
    """
    rows = list(ingests)
    ended: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["started_at"], reverse=True):
        if row["status"] != OutcomeStatus.RUNNING:
            ended.setdefault(row["source"], []).append(row)
    lines = [
        DigestChange(_outage(of), url=web_address(of[0].get("url")))
        for of in ended.values()
        if of[0]["status"] in INCOMPLETE
    ]
    rewritten = {problem for row in rows for problem in row["problems"] if REWRITTEN in problem}
    return lines + [DigestChange(problem) for problem in sorted(rewritten)]


def _outage(rows: Sequence[Row]) -> str:
    """The newest ingest of a source, and since when it has failed."""
    newest = rows[0]
    n_failed = next((n for n, row in enumerate(rows) if row["status"] not in INCOMPLETE), len(rows))
    before = (
        f" ({n_failed} ingests since {rows[n_failed - 1]['started_at']:%Y-%m-%d})" if n_failed > 1 else ""
    )
    label = OutcomeStatus(newest["status"]).label
    n_left_out = newest.get("n_problems") or 0
    left_out = f"; {n_left_out:,} entries left out" if n_left_out else ""
    return (
        f"{newest['source']}, {newest['started_at']:%Y-%m-%d %H:%M} UTC: {label}: "
        f"{newest['reason']}{left_out}{before}"
    )


def naive(moment: datetime) -> datetime:
    """The moment as the database keeps it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _twice(snapshot: Snapshot, name: str, since: datetime, until: datetime) -> tuple[list[Row], list[Row]]:
    """The rows of a read as it was at both ends."""
    return (
        [*snapshot.query(name, at=naive(since))],
        [*snapshot.query(name, at=naive(until))],
    )
