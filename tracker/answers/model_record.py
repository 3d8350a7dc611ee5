"""Everything known about one model that was measured here: its revisions, runs, scores and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from tracker.answers.abilities import Ability, read_abilities
from tracker.answers.models import id_of_folder, known_id
from tracker.answers.repeatability import repeatability_document, repeated
from tracker.answers.run_lines import mean_row, outcome_rows
from tracker.answers.speed import speeds_in, timed_models
from tracker.errors import UnknownNameError
from tracker.settings import Settings
from tracker.store import MissingItems, open_snapshot

Row = dict[str, Any]
NEWEST_RUNS = 8  # compared with the run before: each reads the items of both


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model with its runs, the newest first; each has `scores`, with `n_items_on_disk`, and `metrics`."""

    model_id: str
    revisions: tuple[Row, ...]
    runs: tuple[Row, ...]
    abilities: tuple[Ability, ...]
    missing: MissingItems
    speeds: tuple[Row, ...] = ()  # measured by a load generator, the newest first; each has `levels`

    def document(self) -> dict[str, Any]:
        """As `tracker show --json` prints it, before times become text."""
        return {
            "model_id": self.model_id,
            "revisions": list(self.revisions),
            "abilities": [one.document() for one in self.abilities],
            "runs": list(self.runs),
            "speeds": list(self.speeds),
            "missing_parts": self.missing.n_parts,
        }

    def plain_document(self) -> dict[str, Any]:
        """The same as plain JSON values: times in ISO 8601, null for numbers that are not finite."""
        found: dict[str, Any] = to_jsonable_python(self.document(), inf_nan_mode="null", fallback=str)
        return found


def read_model(model: str, settings: Settings) -> ModelRecord:
    """The record of a model as people name it: its id or the end of it, a folder, `demo`, with `@revision`.

    Raises:
        UnknownNameError: nothing measured here is called so, or it has no such revision.
    """
    with open_snapshot(settings) as snapshot:
        known = _with_timed(snapshot.query("models"), timed_models(snapshot))
        # a folder may have an @ in its name
        name, _, revision = (model, "", "") if id_of_folder(model, known) else model.partition("@")
        model_id = known_id(name, known)
        runs = snapshot.query("model_runs", model_id=model_id)
        scores = snapshot.query("model_scores", model_id=model_id)
        metrics = snapshot.query("task_metrics", model_id=model_id)
        areas = read_abilities(snapshot, model_id)
        speeds = speeds_in(snapshot, model_id)
        on_disk = snapshot.read("scores_on_disk", model_id=model_id)
        newest = {
            run["run_id"]: repeated(run["run_id"], runs, scores, snapshot) for run in runs[:NEWEST_RUNS]
        }
    revisions = [r for r in known if r["model_id"] == model_id and r["revision"].startswith(revision)]
    if not revisions:
        names = {row["revision"] for row in known if row["model_id"] == model_id}
        raise UnknownNameError(f"revision of {model_id}", revision, known=names)
    n_on_disk = {(row["run_id"], row["place"]): row["n_items_on_disk"] for row in on_disk.records()}
    for score in scores:
        score["n_items_on_disk"] = n_on_disk[score["run_id"], score["place"]]
    for run in runs:
        run["scores"] = [score for score in scores if score["run_id"] == run["run_id"]]
        run["repeatability"] = repeatability_document(newest.get(run["run_id"]))
        run["against"] = outcome_rows(run["against"])
        run["suite_mean"] = mean_row(run["suite_mean"])
        run["metrics"] = [metric for metric in metrics if metric["run_id"] == run["run_id"]]
    chosen = {row["revision"] for row in revisions}
    runs = [run for run in runs if run["revision"] in chosen]
    speeds = [run for run in speeds if run["revision"] in chosen]
    return ModelRecord(model_id, tuple(revisions), tuple(runs), areas, on_disk.missing, tuple(speeds))


def _with_timed(known: list[Row], timed: list[Row]) -> list[Row]:
    """The models that answered questions, then those of which only a speed was measured."""
    have = {(row["model_id"], row["revision"]) for row in known}
    return known + [row for row in timed if (row["model_id"], row["revision"]) not in have]
