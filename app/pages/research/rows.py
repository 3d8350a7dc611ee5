"""Rows of auto-research: groups, the agent leaderboard, curves, trials. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from app.widgets import safe_text
from tracker.answers.agent_board import (
    SEEDS,
    BoardRow,
    Group,
    StudyRow,
    label,
    over_tasks,
    with_baselines,
)
from tracker.answers.agent_board import board as ranked
from tracker.records.studies import BASELINES, CATEGORIES, changed_numbers

KEYS = ["tier", "track", "n_trials", "corpus_hash", "rules"]  # must be equal for a comparison
BANDS = BASELINES  # whose spread over seeds is drawn
CANDIDATE = "candidate"  # the script with the proposed change
SHOWN_HASH = 8  # characters that tell a corpus from a handful of others
DIFF_PREVIEW_CHARS = 200
PHASES = {"gate": "gate", "confirmation": "confirmation", "test": "final test", "transfer": "larger size"}
ROLES = {"parent": "incumbent", "child": CANDIDATE}
AGENT_FIELDS = [
    "rank", "agent", "track", "gain_bpb", "gain_ci_low", "gain_ci_high", "interval_over", "share_of_tpe",
    "claimed_gain_bpb", "valid_share", "duplicate_share", "failed_share", "n_caught", "tokens_per_unit",
    "tokens", "false_accept_rate", "false_accept_ci_low", "false_accept_ci_high", "n_false_accepts",
    "n_placebos", "n_studies", "n_seeds", "train_s", "latency_s", "is_caught", "n_public_seeds",
    "tokens_per_s", "wall_s", "wall_s_per_unit", "transfer_gain_bpb", "n_transfers",
]  # fmt: skip


def group_key(study: Mapping[str, Any]) -> tuple[Any, ...]:
    """The key of a study's comparison group, from a row of query `studies`; the same as of `StudyRow`."""
    return tuple(study[name] for name in KEYS)


def group_name(key: tuple[Any, ...]) -> str:
    """`cpu/params, 10 trials, corpus 0a1b2c3d, version 0.1.0 (5e6f7a8b)`."""
    tier, track, n_trials, corpus, rules = key
    script, program, version = rules.split(" ", 2)
    hashes = f"{script[:4]}{program[:4]}"
    return f"{tier}/{track}, {n_trials} trials, corpus {corpus[:SHOWN_HASH]}, version {version} ({hashes})"


def group_names(studies: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The groups by name: those with results of the most agents first, then by the newest study."""
    agents: dict[tuple[Any, ...], set[str]] = {}
    for study in studies:
        of_group = agents.setdefault(group_key(study), set())
        if study["gain_bpb"] is not None:
            of_group.add(study["agent_name"])
    in_order = sorted(agents, key=lambda key: -len(agents[key]))  # stable: the newest first within
    return {group_name(key): key for key in in_order}


def agent_group(studies: Sequence[StudyRow], key: tuple[Any, ...]) -> Group | None:
    """The leaderboard of one group, or None while it has no complete study."""
    wanted = (key, with_baselines(key))
    groups = ranked([row for row in studies if tuple(getattr(row, name) for name in KEYS) in wanted])
    return next((g for g in groups if tuple(getattr(g, name) for name in KEYS) == key), None)


def ngram_line(group: Group) -> str:
    """The defaults beside a table of counts, in a sentence; empty for a group without that line."""
    if group.baseline_bpb is None or group.ngram_bpb is None:
        return ""
    defaults = f"The defaults have {group.baseline_bpb:.3f} bits per byte on test"
    return f"{defaults}, an n-gram table on the same corpus {group.ngram_bpb:.3f}."


def agent_frame(group: Group) -> pd.DataFrame:
    """One row per agent, best first: the columns of `AGENT_FIELDS`; `track` only where it differs from the
    group's.
    """
    frame = pd.DataFrame([{name: getattr(row, name) for name in AGENT_FIELDS} for row in group.rows])
    return frame.assign(track=frame["track"].where(frame["track"] != group.track))


def task_frame(studies: Sequence[StudyRow]) -> pd.DataFrame:
    """One row per agent with results on two tasks or more, best first in its group of equal trials."""
    means = over_tasks(ranked(studies))
    return pd.DataFrame([asdict(mean) | {"tasks": ", ".join(mean.tasks)} for mean in means])


def gain_profile(rows: Sequence[BoardRow]) -> pd.DataFrame:
    """The confirmed gain of each agent by category of change: `agent category gain_bpb`."""
    return pd.DataFrame(
        [
            {
                "agent": row.agent,
                "category": name.replace("_", " "),
                "gain_bpb": row.gains_by_category.get(name, 0.0),
            }
            for row in rows
            for name in CATEGORIES
        ]
    )


def gain_curves(rows: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    """Best gain so far of each study of a group, starting at 0: `study_id agent kind seed number gain_bpb`.

    Agents have their names from the leaderboard, and the baselines shown there are included.
    """
    of_group = _named(rows[_is_shown(rows, key)]) if len(rows) else rows
    shown = of_group[["study_id", "agent", "kind", "seed", "number", "gain_bpb"]]
    start = shown.drop_duplicates("study_id").assign(number=0, gain_bpb=0.0)
    return pd.concat([start, shown]).sort_values(["study_id", "number"], ignore_index=True)


def _is_shown(rows: pd.DataFrame, key: tuple[Any, ...]) -> pd.Series[bool]:
    """Which rows belong to the group or to a baseline compared with it."""
    is_beside = (rows[KEYS] == list(with_baselines(key))).all(axis=1) & rows["kind"].isin(BASELINES)
    return (rows[KEYS] == list(key)).all(axis=1) | is_beside


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their agents' names from the leaderboard, where only complete studies make variants."""
    studies = rows.drop_duplicates("study_id")
    settings = {row.study_id: json.loads(str(row.settings)) for row in studies.itertuples()}
    names: dict[Any, str] = {}
    for _, of_agent in studies.groupby("agent"):
        complete = of_agent[of_agent["status"] == "complete"]
        among = [settings[of] for of in (complete if len(complete) else of_agent)["study_id"]]
        names |= {
            row.study_id: label(str(row.agent), settings[row.study_id], among)
            for row in of_agent.itertuples()
        }
    return rows.assign(agent=rows["study_id"].map(names))


def gain_bands(curves: pd.DataFrame) -> pd.DataFrame:
    """The range of gains over all seeds of random search and of TPE: `agent number low high n_seeds`."""
    of_bands = curves[curves["agent"].isin(BANDS)]
    found = of_bands.groupby(["agent", "number"])["gain_bpb"].agg(["min", "max", "size"]).reset_index()
    return found.rename(columns={"min": "low", "max": "high", "size": "n_seeds"})


def shown_agents(curves: pd.DataFrame, *, most: int) -> list[str]:
    """The agents to draw: random search and TPE, then up to `most` agents with the largest gains."""
    best = curves.groupby("agent")["gain_bpb"].max().sort_values(ascending=False, kind="stable")
    others = [agent for agent in best.index if agent not in BANDS]
    return [agent for agent in BANDS if agent in best.index] + others[:most]


def trial_frame(trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All trials of a study as a table, in order."""
    rows = [
        {
            "slot": trial["slot"],
            "verdict": trial_verdict(trial),
            "what": safe_text.visible(change_phrase(trial)),
            "claimed_gain_bpb": trial["claimed_gain_bpb"],
            "confirmed_gain_bpb": trial["confirmed_gain_bpb"],
            "p_better": trial["p_better"],
            "pairs": f"{trial['n_pairs']} + {trial['n_confirmations']}",
            "val_bpb": trial["val_bpb"],
            "why": safe_text.visible(trial["detail"] or trial["reason"] or ""),
            "proposer": trial["proposer"],
            "categories": ", ".join(name.replace("_", " ") for name in trial["categories"]),
        }
        for trial in trials
    ]
    return pd.DataFrame(rows)


def trial_verdict(trial: Mapping[str, Any]) -> str:
    """The outcome of a trial in a word or two; for a placebo, whether the gate wrongly kept it."""
    if not trial["is_placebo"]:
        return "kept" if trial["verdict"] == "accepted" else str(trial["verdict"])
    return "placebo, wrongly kept" if trial["verdict"] == "accepted" else "placebo, not kept"


def change_phrase(trial: Mapping[str, Any]) -> str:
    """The change of a trial on one line: numbers, the start of its diff, or the problem with it."""
    if trial["is_placebo"]:
        return "no change: the incumbent against itself"
    numbers = changed_numbers(trial["parent"].get("params", {}), trial["params"] or {})
    diff = re.sub(r"\s+", " ", (trial["diff"] or "")[:DIFF_PREVIEW_CHARS])
    return numbers or diff or trial["problem"] or "no change"


def pair_frame(trainings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The trainings behind a verdict as a table."""
    names = ["seed", "val_bpb", "select_bpb", "test_bpb", "status", "detail", "train_s"]
    return pd.DataFrame(
        [
            {"phase": PHASES[row["phase"]], "pair": row["place"] + 1, "role": ROLES[row["role"]]}
            | {name: row[name] for name in names}
            for row in trainings
        ]
    )


def loss_curves(trainings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Training loss by tokens seen, a line per training: `line role phase seed tokens loss`."""
    return pd.DataFrame(
        [
            {
                "line": f"{row['phase']} {row['place']} {row['role']}",
                "role": ROLES[row["role"]],
                "phase": PHASES[row["phase"]],
                "seed": row["seed"],
                "tokens": tokens,
                "loss": loss,
            }
            for row in trainings
            for tokens, loss in row["curve"]
        ],
        columns=["line", "role", "phase", "seed", "tokens", "loss"],
    )


def false_accepts(row: BoardRow) -> str:
    """How often a no-op change was kept, with its 95% interval: `1 of 20 (0.1–24.9%)`."""
    if not row.n_placebos:
        return safe_text.NOTHING
    ends = safe_text.interval(row.false_accept_ci_low, row.false_accept_ci_high)
    return f"{row.n_false_accepts} of {row.n_placebos} ({ends})"


def attacks_line(suite: Mapping[str, Any]) -> str:
    """The last result of the scripted attacks: `0 of 38 scripted attacks succeeded, …`."""
    result = f"{suite['n_passed']} of {suite['n_attacks']} scripted attacks succeeded"
    return f"{result} (last run {suite['started_at']:%Y-%m-%d}, sandbox: {suite['sandbox']})"


def has_one_seed(row: BoardRow) -> bool:
    """Whether the interval rests on the studies of a single seed, or on one study's own pairs."""
    return row.interval_over != SEEDS
