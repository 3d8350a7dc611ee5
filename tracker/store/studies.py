"""A study as rows, and rows as a study: the study itself, its trials, exchanges and trainings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC
from typing import Any

import duckdb

from tracker.records import EngineSettings, Model
from tracker.records.studies import (
    Exchange,
    Loop,
    Pair,
    Split,
    Study,
    Track,
    Training,
    Trial,
)
from tracker.serialization import dump, load_json
from tracker.store.ingests import utc

OF_ENGINE = ("dtype", "quantization", "max_model_len", "thinking", "seed")  # settings that change answers
OF_AGENT = ("optimiser", "override_share", "loop", "team", "token_budget")
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
    "secret_hash", "secret", "ngram_bpb", "has_transfer", "executor",
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

OF_TRANSFER = ("n_params", "n_tokens", "gain_bpb", "gain_ci_low", "gain_ci_high", "detail")


def write_study(connection: duckdb.DuckDBPyConnection, study: Study) -> None:
    """Replace the study and its final comparison, not its trials; the caller holds the transaction."""
    key = {"study_id": study.study_id, "slot": FINAL_SLOT}
    connection.execute("delete from studies where study_id = $id", {"id": study.study_id})
    connection.execute("delete from trainings where study_id = $study_id and slot = $slot", key)
    _insert(connection, "studies", [study_row(study)])
    if study.result is not None:
        _insert(connection, "trainings", _pair_rows(key, phase="test", pairs=study.result.test_pairs))
        if (transfer := study.result.transfer) is not None:
            _insert(connection, "trainings", _pair_rows(key, phase="transfer", pairs=transfer.pairs))


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
    transfer = result.transfer if result else None
    return (
        {name: getattr(study, name) for name in OF_STUDY}
        | {name: getattr(result, name) if result else None for name in RESULT}
        | {f"transfer_{name}": getattr(transfer, name) if transfer else None for name in OF_TRANSFER}
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
    if agent.loop is not Loop.ONCE:
        found |= {"loop": agent.loop.value, "team": agent.team, "token_budget": agent.token_budget}
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


def study_of_rows(
    row: Mapping[str, Any], trainings: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
) -> Study:
    """The study in its row of `studies`, the rows of its final trainings, and its model's row of `models`.

    Of the agent's engine settings, the rows have the name of the engine and those that change answers; the
    others become the defaults.

    Raises:
        TrackerError: a value is missing or out of range.
    """
    more = json.loads(row.get("agent_settings") or "{}")
    agent: dict[str, Any] = {
        "kind": row["agent"],
        "name": row["agent_name"],
        "model": None if row["model_id"] is None else _model(row, model or {}),
        "settings": None,
    } | {name: more[name] for name in OF_AGENT if name in more}
    if row["engine"] is not None:
        agent["settings"] = {"engine": row["engine"]} | {n: more[n] for n in OF_ENGINE if n in more}
    document = {name: row[name] for name in (*OF_STUDY, "track", "status") if row.get(name) is not None}
    document |= _times(row) | {
        "agent": agent,
        "warnings": json.loads(row["warnings"]),
        "hardware": json.loads(row["hardware"]),
        "incumbent": json.loads(row["incumbent"]),
    }
    if row["gain_bpb"] is not None:
        document["result"] = {name: row[name] for name in RESULT} | {
            "test_pairs": _pairs([each for each in trainings if each["phase"] == "test"]),
            "transfer": _transfer(row, [each for each in trainings if each["phase"] == "transfer"]),
        }
    return load_json(Study, json.dumps(document), where=f"study `{row['study_id']}`")


def trial_of_rows(
    row: Mapping[str, Any], exchanges: Sequence[Mapping[str, Any]], trainings: Sequence[Mapping[str, Any]]
) -> Trial:
    """The trial in its row of `trials` and the rows of its exchanges and trainings.

    Raises:
        TrackerError: a value is missing or out of range.
    """
    change = None
    if row["params"] is not None:
        change = {"params": json.loads(row["params"]), "script": row["script"]}
    proposal = {name: row[name] for name in ("rationale", "proposer", "diff", "problem")} | {
        "change": change,
        "exchanges": [
            {field.name: exchange.get(field.name) for field in fields(Exchange)}
            for exchange in sorted(exchanges, key=lambda exchange: int(exchange["place"]))
        ],
    }
    document = {name: row[name] for name in (*OF_TRIAL, "verdict", "categories")}
    document |= _times(row) | {"proposal": proposal, "parent": json.loads(row["parent"])}
    document["pairs"] = _pairs([each for each in trainings if each["phase"] == "gate"])
    document["confirmation"] = _pairs([each for each in trainings if each["phase"] == "confirmation"])
    where = f"trial {row['slot']} of study `{row['study_id']}`"
    return load_json(Trial, json.dumps(document), where=where)


def _model(row: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    more = {field.name: known[field.name] for field in fields(Model) if known.get(field.name) is not None}
    return more | {"model_id": row["model_id"], "revision": row["revision"]}


def _transfer(row: Mapping[str, Any], trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The transfer in a row of `studies`; None in one without, or from before there were any."""
    found = {name: row.get(f"transfer_{name}") for name in OF_TRANSFER}
    if found["gain_bpb"] is None and found["detail"] is None:
        return None
    return found | {"pairs": _pairs(trainings)}


def _times(row: Mapping[str, Any]) -> dict[str, str]:
    moments = {name: row[name] for name in ("started_at", "ended_at") if row[name] is not None}
    return {name: moment.replace(tzinfo=UTC).isoformat() for name, moment in moments.items()}


def _pairs(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    both = {(each["place"], each["role"]): _training(each) for each in trainings}
    places = sorted({place for place, _ in both})
    return [
        {"seed": both[place, "parent"]["seed"]} | {role: both[place, role] for role in ("parent", "child")}
        for place in places
    ]


def _training(row: Mapping[str, Any]) -> dict[str, Any]:
    bpb = {split.value: row[f"{split}_bpb"] for split in Split if row[f"{split}_bpb"] is not None}
    return {name: row[name] for name in (*OF_TRAINING, "status")} | {
        "bpb": bpb,
        "curve": json.loads(row["curve"]),
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
