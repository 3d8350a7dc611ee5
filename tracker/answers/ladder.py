"""What each copy of a model loses: a ladder's rungs against its parent on the items that both answered.

All numbers are computed from the items of the runs that the ladder names. Differences are rung minus parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from statistics import fmean
from typing import Any

from tracker.answers.comparison import item_clusters
from tracker.answers.models import DEMO
from tracker.answers.placement import paired_shift
from tracker.errors import TrackerError, UnknownNameError
from tracker.files.ladders import read_ladders
from tracker.frontier.paired_shift import IndexShift, NoShift, ScoreShift
from tracker.records import EMBEDDED_MODEL_ID
from tracker.records.ladders import MOST_LOOKS, Ladder, LadderRung
from tracker.settings import Settings
from tracker.stats import mcnemar, mean_interval, paired_difference, stderr_of_mean
from tracker.store import NOTHING_MISSING, MissingItems, open_snapshot

Row = Mapping[str, Any]
NO_ITEMS = "no item in common with the reference"


@dataclass(frozen=True, slots=True)
class Loss:
    """LadderRung minus parent on the same items, as fractions of 1.

    The 95% interval holds at whichever of `n_looks` planned looks the ladder stops.
    """

    n_items: int
    n_clusters: int | None  # None: items are independent
    reference_value: float
    value: float
    difference: float
    stderr: float | None
    ci_low: float
    ci_high: float
    n_looks: int
    n_lost: int | None  # items that only the reference solved; None unless every score is 0 or 1
    n_gained: int | None  # items that only the rung solved
    mcnemar_p: float | None  # exact; where clusters repeat, whole clusters are swapped

    @property
    def half_width(self) -> float:
        """The distance from the difference to the farther end of its interval."""
        return max(self.ci_high - self.difference, self.difference - self.ci_low)


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far the answers themselves differ, whatever their scores."""

    n_choices: int  # items whose choices have log-probabilities on both sides
    mean_log_prob_change: float | None  # mean of |Δ| over the choices, in nats
    changed_choice_fraction: float | None  # items whose most probable choice is another one
    n_written: int  # items whose answer was written on both sides
    changed_text_fraction: float | None  # of these, with another text


@dataclass(frozen=True, slots=True)
class RungCost:
    """What a rung needs and how fast it is, on its device; null: not measured."""

    device: str | None
    weights_bytes: int | None  # in memory, as predicted before loading
    peak_memory_bytes: int | None
    memory_basis: str | None
    tokens_per_s: float | None  # output tokens per second of generation
    items_per_s: float | None
    speed_ratio: float | None  # to the parent; null on another device
    memory_ratio: float | None


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """The loss on one task of the suite."""

    task: str
    metric: str
    filter: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class RungResult:
    """One rung with what it loses; the parent has no loss."""

    label: str
    model_id: str
    revision: str | None
    status: str
    reason: str | None
    detail: str | None
    end: str | None  # why no further item is asked; null: the ladder is not done with it
    run_id: str | None
    engine: str | None
    engine_version: str | None
    dtype: str | None
    quantization: str | None
    measured_on: date | None
    n_items: int
    score: float | None  # over all of its items, with its own 95% interval
    score_ci_low: float | None
    score_ci_high: float | None
    truncated_fraction: float | None  # of the written answers
    empty_fraction: float | None
    cost: RungCost
    loss: Loss | None
    tasks: tuple[TaskLoss, ...]
    divergence: Divergence | None
    shift: IndexShift | None
    shift_note: str | None  # why there is none
    note: str | None  # why there is no loss


@dataclass(frozen=True, slots=True)
class LadderResult:
    """A ladder with the result of every rung, the parent first."""

    ladder_id: str
    model_id: str  # of the parent
    reference: str  # label of the rung with which the others are compared: the parent if it was measured
    suite: str
    suite_version: int
    tasks: tuple[str, ...]
    precision: float
    command: str
    rungs: tuple[RungResult, ...]
    missing: MissingItems = NOTHING_MISSING
    problems: tuple[str, ...] = ()  # files of ladders that cannot be read


def ladder_of(model: str, settings: Settings, *, suite: str | None = None) -> LadderResult:
    """The newest ladder of a model, by its id, the end of one, or a name that a ladder used.

    Raises:
        TrackerError: no ladder of it has been measured here.
    """
    ladders, problems = read_ladders(settings)
    wanted = (EMBEDDED_MODEL_ID if model == DEMO else model).casefold()
    for ladder in ladders:
        parent = ladder.parent
        names = {parent.model.casefold(), parent.model_id.casefold()}
        names.add(parent.model_id.casefold().rpartition("/")[2])
        if wanted in names and suite in (None, ladder.suite):
            return ladder_result(ladder, settings, problems=problems)
    if not ladders:
        hint = f"`tracker ladder {model} COPY` measures one"
        raise TrackerError("no ladder has been measured here yet", hint="; ".join([hint, *problems]))
    known = [ladder.parent.model_id for ladder in ladders]
    if wanted in {name.casefold() for name in known}:
        suites = ", ".join(
            dict.fromkeys(one.suite for one in ladders if one.parent.model_id.casefold() == wanted)
        )
        raise TrackerError(f"no ladder of `{model}` has the suite `{suite}`", hint=f"measured: {suites}")
    raise UnknownNameError("measured ladder", model, known=known)


def ladders_with(model_id: str, settings: Settings) -> list[Ladder]:
    """The ladders on which a model is a rung, the newest first; broken files are left out."""
    return [one for one in read_ladders(settings)[0] if any(rung.model_id == model_id for rung in one.rungs)]


def ladder_result(
    ladder: Ladder, settings: Settings, *, problems: Sequence[str] = (), with_months: bool = True
) -> LadderResult:
    """The results of a ladder, computed from the items of its runs."""
    facts: dict[str, Row] = {}
    items: dict[str, Sequence[Row]] = {}
    missing = NOTHING_MISSING
    with open_snapshot(settings) as snapshot:
        for rung in ladder.rungs:
            facts |= {row["run_id"]: row for row in snapshot.query("model_runs", model_id=rung.model_id)}
            if rung.run_id in facts:
                answer = snapshot.read("answered_items", run_id=rung.run_id)
                items[rung.label] = answer.records()
                missing = answer.missing or missing
    reference = ladder.reference
    first = items.get(reference.label, [])
    results = []
    for rung in ladder.rungs:
        own = items.get(rung.label, [])
        pair = None if rung is reference else _Pair.of(first, own)
        shift = _shift(pair, ladder, settings) if pair and pair.rows and with_months else None
        results.append(_result(rung, pair, shift, facts=facts, own=own, reference=reference))
    return LadderResult(
        ladder_id=ladder.ladder_id,
        model_id=ladder.parent.model_id,
        reference=reference.label,
        suite=ladder.suite,
        suite_version=ladder.suite_version,
        tasks=ladder.tasks,
        precision=ladder.precision,
        command=ladder.command,
        rungs=tuple(results),
        missing=missing,
        problems=tuple(problems),
    )


def rung_loss(reference: LadderRung, rung: LadderRung, settings: Settings) -> Loss | None:
    """The loss of one rung so far; None without an item in common."""
    if reference.run_id is None or rung.run_id is None:
        return None
    with open_snapshot(settings) as snapshot:
        before = snapshot.query("answered_items", run_id=reference.run_id)
        after = snapshot.query("answered_items", run_id=rung.run_id)
    pair = _Pair.of(before, after)
    return pair.loss() if pair.rows else None


def ladder_document(found: LadderResult) -> dict[str, Any]:
    """The ladder as plain JSON values."""
    return {
        "ladder_id": found.ladder_id,
        "model_id": found.model_id,
        "reference": found.reference,
        "suite": found.suite,
        "suite_version": found.suite_version,
        "tasks": list(found.tasks),
        "precision": found.precision,
        "command": found.command,
        "missing_parts": found.missing.n_parts,
        "problems": list(found.problems),
        "rungs": [_rung_document(rung) for rung in found.rungs],
    }


def _rung_document(rung: RungResult) -> dict[str, Any]:
    document = asdict(rung)
    document["measured_on"] = rung.measured_on.isoformat() if rung.measured_on else None
    if rung.shift is not None:
        document["shift"]["as_of"] = rung.shift.as_of.isoformat()
    return document


@dataclass(frozen=True, slots=True)
class _Pair:
    """The items that both answered: the same question of the same task by the same metric."""

    rows: Sequence[tuple[Row, Row]]

    @classmethod
    def of(cls, before: Sequence[Row], after: Sequence[Row]) -> _Pair:
        known = {_item_key(row): row for row in before}
        return cls([(known[key], row) for row in after if (key := _item_key(row)) in known])

    def loss(self) -> Loss:
        """The paired difference over all of these items."""
        before = [float(row["score"]) for row, _ in self.rows]
        after = [float(row["score"]) for _, row in self.rows]
        clusters = self._clusters()
        found = paired_difference(after, before, clusters=clusters, n_looks=MOST_LOOKS)
        test = mcnemar(before, after, clusters=clusters) if set(before) | set(after) <= {0.0, 1.0} else None
        return Loss(
            n_items=len(self.rows),
            n_clusters=None if clusters is None else len(set(clusters)),
            reference_value=fmean(before),
            value=fmean(after),
            difference=found.value,
            stderr=found.stderr,
            ci_low=found.low,
            ci_high=found.high,
            n_looks=MOST_LOOKS,
            n_lost=test.n_only_a if test else None,
            n_gained=test.n_only_b if test else None,
            mcnemar_p=test.p_value if test else None,
        )

    def by_task(self) -> dict[str, _Pair]:
        """The items of each task of the suite."""
        found: dict[str, list[tuple[Row, Row]]] = {}
        for pair in self.rows:
            found.setdefault(pair[0]["asked"], []).append(pair)
        return {task: _Pair(rows) for task, rows in found.items()}

    def shift(self, task: str) -> ScoreShift:
        """The two scores of one task with their errors."""
        loss = self.loss()
        stderr = stderr_of_mean([float(row["score"]) for row, _ in self.rows], clusters=self._clusters())
        return ScoreShift(task, loss.reference_value, loss.value, stderr or 0.0, loss.stderr or 0.0)

    def divergence(self) -> Divergence:
        """How far the answers differ."""
        choices = [
            (one["log_probs"], other["log_probs"])
            for one, other in self.rows
            if one["log_probs"] and other["log_probs"] and len(one["log_probs"]) == len(other["log_probs"])
        ]
        changes = [abs(a - b) for one, other in choices for a, b in zip(one, other, strict=True)]
        several = [(one, other) for one, other in choices if len(one) > 1]
        texts = [
            one["text_hash"] != other["text_hash"]
            for one, other in self.rows
            if one["is_written"] and other["is_written"]
        ]
        return Divergence(
            n_choices=len(choices),
            mean_log_prob_change=fmean(changes) if changes else None,
            changed_choice_fraction=fmean(_best(a) != _best(b) for a, b in several) if several else None,
            n_written=len(texts),
            changed_text_fraction=fmean(texts) if texts else None,
        )

    def _clusters(self) -> list[str] | None:
        first = [row for row, _ in self.rows]
        names = [f"{row['task']} {row['cluster']}" if row["cluster"] is not None else None for row in first]
        return item_clusters(names, range(len(first)))


def _best(log_probs: Sequence[float]) -> int:
    return max(range(len(log_probs)), key=log_probs.__getitem__)


def _item_key(row: Row) -> tuple[Any, ...]:
    return (row["task"], row["metric"], row["filter"], row["doc_id"], row["doc_hash"])


def _shift(pair: _Pair, ladder: Ladder, settings: Settings) -> IndexShift | NoShift:
    """The loss on the index; the index is fitted only if a task is on it."""
    shifts = []
    for task, part in pair.by_task().items():
        first = part.rows[0][0]
        shifts.append((part.shift(task), str(first["metric"]), str(first["filter"])))
    return paired_shift(shifts, ladder.reference.model_id, ladder.suite, settings)


def _result(
    rung: LadderRung,
    pair: _Pair | None,
    shift: IndexShift | NoShift | None,
    *,
    facts: Mapping[str, Row],
    own: Sequence[Row],
    reference: LadderRung,
) -> RungResult:
    run = facts.get(rung.run_id or "", {})
    interval = _own_interval(own)
    written = [row for row in own if row["is_written"]]
    has_pair = pair is not None and bool(pair.rows)
    return RungResult(
        label=rung.label,
        model_id=rung.model_id,
        revision=run.get("revision"),
        status=str(rung.status),
        reason=rung.reason,
        detail=rung.detail,
        end=str(rung.end) if rung.end else None,
        run_id=rung.run_id,
        engine=run.get("engine"),
        engine_version=run.get("engine_version"),
        dtype=run.get("dtype"),
        quantization=run.get("quantization") or run.get("model_quantization"),
        measured_on=run["ended_at"].date() if run.get("ended_at") else None,
        n_items=len(own),
        score=interval.value if interval else None,
        score_ci_low=interval.low if interval else None,
        score_ci_high=interval.high if interval else None,
        truncated_fraction=fmean(row["is_truncated"] for row in written) if written else None,
        empty_fraction=fmean(row["is_empty"] for row in written) if written else None,
        cost=_cost(_runs_of(rung, facts), _runs_of(reference, facts)),
        loss=pair.loss() if pair is not None and has_pair else None,
        tasks=_task_losses(pair) if pair is not None and has_pair else (),
        divergence=pair.divergence() if pair is not None and has_pair else None,
        shift=shift if isinstance(shift, IndexShift) else None,
        shift_note=shift.reason if isinstance(shift, NoShift) else None,
        note=NO_ITEMS if pair is not None and rung.run_id is not None and not has_pair else None,
    )  # fmt: skip


def _own_interval(own: Sequence[Row]) -> Any:
    if not own:
        return None
    clusters = item_clusters([row["cluster"] for row in own], range(len(own)))
    return mean_interval([float(row["score"]) for row in own], clusters=clusters)


def _task_losses(pair: _Pair) -> tuple[TaskLoss, ...]:
    found = []
    for task, part in pair.by_task().items():
        first = part.rows[0][0]
        found.append(TaskLoss(task, first["metric"], first["filter"], part.loss()))
    return tuple(found)


def _runs_of(rung: LadderRung, facts: Mapping[str, Row]) -> list[Row]:
    """The runs of a rung, and others of its model with its settings, whose answers it may have reused."""
    own = [facts[one] for one in rung.run_ids if one in facts]
    alike = {_setup(row) for row in own}
    others = (row for run_id, row in facts.items() if run_id not in rung.run_ids)
    return own + [row for row in others if _setup(row) in alike]


def _setup(row: Row) -> tuple[Any, ...]:
    return row["model_id"], row["revision"], row["suite"], row["suite_version"], str(row["settings"])


def _cost(runs: Sequence[Row], parents: Sequence[Row]) -> RungCost:
    """The cost of a rung, from the run that answered most; speeds of two devices are not compared."""
    run, parent = _busiest(runs), _busiest(parents)
    same = bool(run and parent) and run["device"] == parent["device"] and run["engine"] == parent["engine"]
    peaks = [row["peak_memory_bytes"] for row in runs if row["peak_memory_bytes"]]
    parent_peaks = [row["peak_memory_bytes"] for row in parents if row["peak_memory_bytes"]]
    peak, parent_peak = max(peaks, default=None), max(parent_peaks, default=None)
    return RungCost(
        device=run.get("device"),
        weights_bytes=(run.get("fit") or {}).get("weights_bytes"),
        peak_memory_bytes=peak,
        memory_basis=run.get("memory_basis"),
        tokens_per_s=run.get("tokens_per_s"),
        items_per_s=_items_per_s(run),
        speed_ratio=_ratio(run.get("tokens_per_s"), parent.get("tokens_per_s"))
        or _ratio(_items_per_s(run), _items_per_s(parent))
        if same
        else None,
        memory_ratio=_ratio(peak, parent_peak) if same else None,
    )


def _busiest(runs: Sequence[Row]) -> Row:
    """The run with most new answers: one that reused them all says nothing about speed."""
    return max(runs, key=lambda row: row["n_items"] - row["n_reused_items"], default={})


def _items_per_s(run: Row) -> float | None:
    if not run or not run["duration_s"]:
        return None
    n_new = run["n_items"] - run["n_reused_items"]
    return n_new / run["duration_s"] if n_new > 0 else None


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value and other else None
