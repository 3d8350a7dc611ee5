"""How often a model gives other answers when a suite is measured again: the flip rate of two runs.

The same weights answer the same items again: by another engine, on another device, with other settings, or
with the same as a replicate. Answers that a later run reused are no second answers, so runs with the same
fingerprints are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracker.answers.comparison import item_clusters
from tracker.errors import UnknownNameError
from tracker.settings import Settings
from tracker.stats import mean_interval
from tracker.store import Snapshot, open_snapshot

Row = Mapping[str, Any]
FIELDS = (
    "engine", "engine_version", "dtype", "quantization", "device", "max_model_len", "attention", "sampling",
    "max_output_tokens",
)  # fmt: skip
DONE = ("complete", "partial")


@dataclass(frozen=True, slots=True)
class Repeatability:
    """Two runs of the same weights and suite on the items that both answered, as fractions of 1."""

    run_id: str
    earlier_run_id: str
    suite: str
    differs: tuple[str, ...]  # what is known to differ: engine, device, or settings such as `kv_cache_dtype`
    replicate: int  # which measurement of the same the run is
    n_items: int
    n_flips: int  # items with another score
    flip_rate: float  # its 95% interval is for other items of their kind
    ci_low: float
    ci_high: float
    n_written: int  # items whose answers were written
    changed_text_fraction: float | None  # of these, with another text


def repeatability(run_id: str, model_id: str, settings: Settings) -> Repeatability | None:
    """A run against the newest earlier one whose answers it does not reuse; None: there is none.

    A replicate is compared with a run of the same settings, if there is one; no other run with a replicate.

    Raises:
        UnknownNameError: the model has no such run.
    """
    with open_snapshot(settings) as snapshot:
        runs = snapshot.query("model_runs", model_id=model_id)
        scores = snapshot.query("model_scores", model_id=model_id)
        if run_id not in {run["run_id"] for run in runs}:
            raise UnknownNameError(f"run of {model_id}", run_id, known=[run["run_id"] for run in runs])
        return repeated(run_id, runs, scores, snapshot)


def repeated(
    run_id: str, runs: Sequence[Row], scores: Sequence[Row], snapshot: Snapshot
) -> Repeatability | None:
    """The same, from the rows of the reads `model_runs` and `model_scores` of one model."""
    run = next(one for one in runs if one["run_id"] == run_id)
    same = ("model_id", "revision", "model_quantization", "suite", "suite_version")
    others = [
        one
        for one in runs
        if one["status"] in DONE and one["run_id"] < run_id and all(one[name] == run[name] for name in same)
        if _replicate(run) > 1 or _replicate(one) == 1
    ]
    others.sort(key=lambda one: one["run_id"], reverse=True)
    if _replicate(run) > 1:
        others.sort(key=lambda one: len(_differences(run, one)) > 0)
    own = _fingerprints(scores, run_id)
    for other in others:
        theirs = _fingerprints(scores, other["run_id"])
        recomputed = {task for task in own.keys() & theirs.keys() if own[task] != theirs[task]}
        if recomputed and (found := _compared(run, other, recomputed, snapshot)) is not None:
            return found
    return None


def repeatability_document(found: Repeatability | None) -> dict[str, Any] | None:
    """The same as plain JSON values."""
    return None if found is None else asdict(found) | {"differs": list(found.differs)}


def repeatability_line(row: Mapping[str, Any]) -> str:
    """The flip rate as one sentence; `row` has the fields of a `Repeatability`."""
    ends = f"{row['ci_low']:.1%} … {row['ci_high']:.1%}, 95% interval"
    line = f"repeatability: {row['flip_rate']:.1%} of {row['n_items']:,} items ({ends}) changed their score"
    if row["changed_text_fraction"] is not None:
        line += f", {row['changed_text_fraction']:.0%} of {row['n_written']:,} texts changed,"
    differs = f"; what differs: {', '.join(row['differs'])}" if row["differs"] else ""
    if row["replicate"] > 1 and not differs:
        differs = "; asked again with the same settings"
    return f"{line} since run {row['earlier_run_id']}{differs}"


def _fingerprints(scores: Sequence[Row], run_id: str) -> dict[tuple[str, str, str], str]:
    return {
        (row["task"], row["metric"], row["filter"]): row["fingerprint"]
        for row in scores
        if row["run_id"] == run_id
    }


def _compared(
    run: Row, other: Row, recomputed: set[tuple[str, str, str]], snapshot: Snapshot
) -> Repeatability | None:
    """Two runs on the items of these tasks; None: none is in both."""
    before, after = (
        {_key(row): row for row in snapshot.query("answered_items", run_id=one["run_id"])}
        for one in (other, run)
    )
    pairs = [
        (before[key], row)
        for key, row in after.items()
        if key in before and (row["task"], row["metric"], row["filter"]) in recomputed
    ]
    if not pairs:
        return None
    flips = [float(a["score"] != b["score"]) for a, b in pairs]
    clusters = item_clusters(
        [f"{a['task']} {a['cluster']}" if a["cluster"] is not None else None for a, _ in pairs],
        range(len(pairs)),
    )
    texts = [a["text_hash"] != b["text_hash"] for a, b in pairs if a["is_written"] and b["is_written"]]
    rate = mean_interval(flips, clusters=clusters)
    return Repeatability(
        run["run_id"], other["run_id"], run["suite"], _differences(run, other), _replicate(run), len(pairs),
        int(sum(flips)),
        rate.value, rate.low, rate.high, len(texts), sum(texts) / len(texts) if texts else None,
    )  # fmt: skip


def _replicate(run: Row) -> int:
    return run["replicate"] or 1


def _key(row: Row) -> tuple[Any, ...]:
    return (row["task"], row["metric"], row["filter"], row["doc_id"], row["doc_hash"])


def _differences(run: Row, other: Row) -> tuple[str, ...]:
    found = [name for name in FIELDS if run[name] != other[name]]
    ours, theirs = run["settings"] or {}, other["settings"] or {}
    found += [name for name in ours if name not in (*FIELDS, "engine") and ours[name] != theirs.get(name)]
    return tuple(dict.fromkeys(found))
