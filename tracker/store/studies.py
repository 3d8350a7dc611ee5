"""A study as rows: the study itself, its trials, exchanges and trainings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import duckdb

from tracker.records import EngineSettings
from tracker.records.studies import (
    Pair,
    Study,
    Track,
    Training,
    Trial,
)
from tracker.serialization import dump
from tracker.store.ingests import utc

OF_ENGINE = ("dtype", "quantization", "max_model_len", "thinking", "seed")  # settings that change answers
FINAL_SLOT = -1  # of the trainings that were compared on `test`
FORGET_TRIAL = (
    "delete from trials where study_id = $study_id and slot = $slot",
    "delete from proposals where study_id = $study_id and slot = $slot",
    "delete from trainings where study_id = $study_id and slot = $slot",
)
# columns named like the fields of the record
OF_STUDY = (
    "study_id", "tier", "seed", "n_trials", "wave_size", "placebo_share", "reason", "detail", "pid",
    "corpus_hash", "script_hash", "program_hash", "harness_version", "program", "sandbox",
)  # fmt: skip
OF_TRIAL = (
    "study_id", "slot", "wave", "is_placebo", "p_better", "reason", "detail", "claimed_gain_bpb",
    "confirmed_gain_bpb",
)  # fmt: skip
OF_TRAINING = (
    "key", "seed", "reason", "detail", "n_tokens", "n_params", "train_s", "cpu_s", "eval_s", "tokens_per_s",
    "mfu", "peak_memory_bytes", "device",
)  # fmt: skip
RESULT = (
    "baseline_bpb", "test_bpb", "best_val_bpb", "gain_bpb", "gain_ci_low", "gain_ci_high", "claimed_gain_bpb",
)  # fmt: skip


def write_study(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """Replace the study and its final comparison, not its trials; the caller holds the transaction."""
    key = {"study_id": study.study_id, "slot": FINAL_SLOT}
    connection.execute("delete from studies where study_id = $id", {"id": study.study_id})
    connection.execute("delete from trainings where study_id = $study_id and slot = $slot", key)
    _insert(connection, "studies", [study_row(study)])
    if study.result is not None:
        _insert(connection, "trainings", _pair_rows(key, phase="test", pairs=study.result.test_pairs))


def write_trial(connection: duckdb.DuckDBPyConnection, trial: Trial) -> None:
    """Replace the trial, its exchanges and its trainings; the caller holds the transaction."""
    key = {"study_id": trial.study_id, "slot": trial.slot}
    for statement in FORGET_TRIAL:
        connection.execute(statement, key)
    _insert(connection, "trials", [trial_row(trial)])
    _insert(connection, "proposals", _exchange_rows(key, trial))
    _insert(connection, "trainings", _pair_rows(key, phase="gate", pairs=trial.pairs))
    _insert(connection, "trainings", _pair_rows(key, phase="confirmation", pairs=trial.confirmation))


def study_row(study: Study) -> dict[str, Any]:
    """The study as a row of `studies`."""
    agent, result = study.agent, study.result
    return (
        {name: getattr(study, name) for name in OF_STUDY}
        | {name: getattr(result, name) if result else None for name in RESULT}
        | {
            "agent": agent.kind,
            "agent_name": agent.name,
            "model_id": agent.model.model_id if agent.model else None,
            "revision": agent.model.revision if agent.model else None,
            "engine": agent.settings.engine if agent.settings else None,
            "agent_settings": _json(agent_settings(study)),
            "track": study.track.value,
            "status": study.status.value,
            "warnings": _json(study.warnings),
            "started_at": utc(study.started_at),
            "ended_at": utc(study.ended_at) if study.ended_at else None,
            "hardware": _json(dict(study.hardware)),
            "incumbent": _json(dump(study.incumbent)),
        }
    )


def agent_settings(study: Study) -> dict[str, Any]:
    """Non-default settings, besides model, engine and wave, that distinguish one agent from another."""
    agent, usual = study.agent, EngineSettings()
    found: dict[str, Any] = {}
    if agent.settings is not None:
        found = {n: v for n in OF_ENGINE if (v := getattr(agent.settings, n)) != getattr(usual, n)}
    if study.track is Track.HYBRID:
        found |= {"optimiser": agent.optimiser, "override_share": agent.override_share}
    return found


def trial_row(trial: Trial) -> dict[str, Any]:
    """The trial as a row of `trials`."""
    proposal = trial.proposal
    first = trial.pairs[0] if trial.pairs else None
    return {name: getattr(trial, name) for name in OF_TRIAL} | {
        "verdict": trial.verdict.value,
        "proposer": proposal.proposer,
        "rationale": proposal.rationale,
        "params": _json(dict(proposal.change.params)) if proposal.change else None,
        "script": proposal.change.script if proposal.change else None,
        "diff": proposal.diff,
        "problem": proposal.problem,
        "parent": _json(dump(trial.parent)),
        "categories": list(trial.categories),
        "n_pairs": len(trial.pairs),
        "n_confirmations": len(trial.confirmation),
        "val_bpb": first.child.bpb.get("val") if first else None,
        "parent_val_bpb": first.parent.bpb.get("val") if first else None,
        "started_at": utc(trial.started_at),
        "ended_at": utc(trial.ended_at),
        "prompt_tokens": sum(each.prompt_tokens for each in proposal.exchanges),
        "output_tokens": sum(each.output_tokens for each in proposal.exchanges),
        "latency_s": float(sum(each.latency_s for each in proposal.exchanges)),
    }


def _exchange_rows(key: dict[str, Any], trial: Trial) -> list[dict[str, Any]]:
    return [
        key | {"place": place, "verdict": trial.verdict.value} | asdict(exchange)
        for place, exchange in enumerate(trial.proposal.exchanges)
    ]


def _pair_rows(key: dict[str, Any], *, phase: str, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    for place, pair in enumerate(pairs):
        for role, training in (("parent", pair.parent), ("child", pair.child)):
            yield key | {"phase": phase, "place": place, "role": role} | _training_row(training)


def _training_row(training: Training) -> dict[str, Any]:
    return {name: getattr(training, name) for name in OF_TRAINING} | {
        "status": training.status.value,
        "val_bpb": training.bpb.get("val"),
        "select_bpb": training.bpb.get("select"),
        "test_bpb": training.bpb.get("test"),
        "curve": _json(training.curve),
    }


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        connection.execute(f"insert into {table} by name select unnest($row)", {"row": row})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
