"""The part of a digest about what was measured here: new bests by memory size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracker.answers.digest_records import DigestChange, first_parts, hub_address
from tracker.answers.run_lines import completed_words
from tracker.memory_estimate import GB, MEMORY_GB, NEED_COLUMNS, column_needed_bytes, row_needed_bytes
from tracker.store import Snapshot

WITHOUT_RECORDS = ("smoke",)  # suites that only show that a model runs
Row = Mapping[str, Any]


def memory_bests(before: Iterable[Row], after: Iterable[Row]) -> list[DigestChange]:
    """One line per suite and model that is a new best measured here: its tasks, each with the memory sizes.

    Tasks are not averaged, since they do not measure the same thing.
    """
    old, new = _bests(before), _bests(after)
    sizes: dict[tuple[str, str, str], list[int]] = {}
    for (suite, task, gigabytes), row in new.items():
        known = old.get((suite, task, gigabytes))
        if known is None or known["model_id"] != row["model_id"]:
            sizes.setdefault((suite, row["model_id"], task), []).append(gigabytes)
    parts: dict[tuple[str, str], list[str]] = {}
    for (suite, model_id, task), of in sizes.items():
        text = _best_text(new[suite, task, of[-1]], old.get((suite, task, of[-1])))
        parts.setdefault((suite, model_id), []).append(f"{text}, in {_sizes(of)}")
    return [
        DigestChange(
            f" on {suite}: {first_parts(told, 'tasks', separator='; ')}", model_id, hub_address(model_id)
        )
        for (suite, model_id), told in parts.items()
    ]


def _best_text(row: Row, known: Row | None) -> str:
    """The score of a new best on its task, and the best before."""
    text = f"{row['task']} {row['value']:.1%}"
    if row["ci_low"] is not None and row["ci_high"] is not None:
        text += f" ({row['ci_low']:.1%} to {row['ci_high']:.1%})"
    text += completed_words(row, row["value"])
    if known is None:
        return text
    return f"{text}, previously `{known['model_id']}` with {known['value']:.1%}"


def _sizes(gigabytes: Sequence[int]) -> str:
    """The sizes for which one model is the best; they are adjacent, since more memory only adds models."""
    first, last = gigabytes[0], gigabytes[-1]
    return f"{first} GB" if first == last else f"{first} to {last} GB"


def read_bests(snapshot: Snapshot, at: datetime) -> list[Row]:
    """The scores measured here among which the best for each memory size are, at that moment, with their run.

    Of hundreds of thousands of scores a few lead on a card of one of the sizes; only those are read in full.
    """
    runs = snapshot.table("newest_whole_runs", at=at)
    columns = {name: runs[name].to_pylist() for name in NEED_COLUMNS}
    needed = column_needed_bytes(columns, len(runs))
    cards = np.array([*MEMORY_GB, np.inf])
    with np.errstate(invalid="ignore"):
        smallest = cards[np.searchsorted(cards[:-1] * GB, np.where(np.isnan(needed), np.inf, needed))]
    fits = np.isfinite(smallest)
    leading = snapshot.query(
        "leading_scores",
        run_ids=runs["run_id"].filter(pa.array(fits)).to_pylist(),
        needs=smallest[fits].tolist(),
        without=list(WITHOUT_RECORDS),
    )
    leaders, tasks = ([row[name] for row in leading] for name in ("run_id", "task"))
    in_full = runs.filter(pc.is_in(runs["run_id"], value_set=pa.array(leaders, pa.string()))).to_pylist()
    by_run = {row["run_id"]: row for row in in_full}
    scores = snapshot.query("scores_of_tasks", run_ids=leaders, tasks=tasks)
    return [by_run[row["run_id"]] | row for row in scores]


def _bests(rows: Iterable[Row]) -> dict[tuple[str, str, int], Row]:
    """The best score by suite, task and memory size."""
    found: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        needed = row_needed_bytes(row)
        if row["suite"] in WITHOUT_RECORDS or needed is None:
            continue
        for gigabytes in MEMORY_GB:
            if needed > gigabytes * GB:
                continue
            key = (row["suite"], row["task"], gigabytes)
            best = found.get(key)
            if best is None or row["value"] > best["value"]:
                found[key] = row
    return dict(sorted(found.items()))
