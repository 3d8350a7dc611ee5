"""What the page of auto-research computes of its rows: groups, the board, best-so-far, trials. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app import text
from tracker.research_board import BASELINES, SEEDS, BoardRow, Group, StudyRow, label, with_baselines
from tracker.research_board import board as ranked
from tracker.studies import CATEGORIES, changed_numbers

KEYS = ["tier", "track", "n_trials", "corpus_hash", "rules"]  # what must be equal for a comparison
BANDS = BASELINES  # whose spread over seeds is drawn
SHOWN_HASH = 8  # characters that tell a corpus from a handful of others
DIFF_PREVIEW_CHARS = 200
PHASES = {"gate": "gate", "confirmation": "confirmation", "test": "final, on test"}
ROLES = {"parent": "incumbent", "child": "the change"}
BOARD_COLUMNS = [
    "rank", "agent", "track", "gain_bpb", "gain_ci_low", "gain_ci_high", "interval_over", "share_of_tpe",
    "claimed_gain_bpb", "valid_share", "duplicate_share", "failed_share", "n_caught", "tokens_per_unit",
    "tokens", "false_accept_rate", "false_accept_ci_low", "false_accept_ci_high", "n_false_accepts",
    "n_placebos", "n_studies", "n_seeds", "train_s", "latency_s",
]  # fmt: skip


def group_key(study: Mapping[str, Any]) -> tuple[Any, ...]:
    """By what a study of query `studies` is compared with others; the same as of `StudyRow`."""
    return tuple(study[name] for name in KEYS)


def group_name(key: tuple[Any, ...]) -> str:
    """`cpu/params, 10 trials, corpus 0a1b2c3d, version 0.1.0 (5e6f7a8b)`."""
    tier, track, n_trials, corpus, rules = key
    script, program, version = rules.split(" ", 2)
    told = f"{script[:4]}{program[:4]}"
    return f"{tier}/{track}, {n_trials} trials, corpus {corpus[:SHOWN_HASH]}, version {version} ({told})"


def group_names(studies: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The groups by their names; first that with results of the most agents, then by the newest study."""
    agents: dict[tuple[Any, ...], set[str]] = {}
    for study in studies:
        of_group = agents.setdefault(group_key(study), set())
        if study["gain_bpb"] is not None:
            of_group.add(study["agent_name"])
    in_order = sorted(agents, key=lambda key: -len(agents[key]))  # stable: the newest first within
    return {group_name(key): key for key in in_order}


def compared(studies: Sequence[StudyRow], key: tuple[Any, ...]) -> Group | None:
    """The board of one group, or None while no study of it is complete."""
    wanted = (key, with_baselines(key))
    groups = ranked([row for row in studies if tuple(getattr(row, name) for name in KEYS) in wanted])
    return next((g for g in groups if tuple(getattr(g, name) for name in KEYS) == key), None)


def board_frame(group: Group) -> pd.DataFrame:
    """One row per agent, best first: the columns of `BOARD_COLUMNS`; `track` where it is not the group's."""
    frame = pd.DataFrame([{name: getattr(row, name) for name in BOARD_COLUMNS} for row in group.rows])
    return frame.assign(track=frame["track"].where(frame["track"] != group.track))


def profile(rows: Sequence[BoardRow]) -> pd.DataFrame:
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


def curves(rows: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    """Best so far of each study of a group, from nothing on: `study_id agent kind seed number gain_bpb`.

    Agents are called as on the board, and the baselines that stand beside them there are here too.
    """
    of_group = _called(rows[_is_shown(rows, key)]) if len(rows) else rows
    shown = of_group[["study_id", "agent", "kind", "seed", "number", "gain_bpb"]]
    start = shown.drop_duplicates("study_id").assign(number=0, gain_bpb=0.0)
    return pd.concat([start, shown]).sort_values(["study_id", "number"], ignore_index=True)


def _is_shown(rows: pd.DataFrame, key: tuple[Any, ...]) -> pd.Series[bool]:
    """Which rows are of the group, or of a baseline that stands beside it."""
    is_beside = (rows[KEYS] == list(with_baselines(key))).all(axis=1) & rows["kind"].isin(BASELINES)
    return (rows[KEYS] == list(key)).all(axis=1) | is_beside


def _called(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their agents' names on the board, where complete studies alone make variants."""
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


def bands(curves: pd.DataFrame) -> pd.DataFrame:
    """Between which gains all seeds of random search and of TPE lie: `agent number low high n_seeds`."""
    of_bands = curves[curves["agent"].isin(BANDS)]
    found = of_bands.groupby(["agent", "number"])["gain_bpb"].agg(["min", "max", "size"]).reset_index()
    return found.rename(columns={"min": "low", "max": "high", "size": "n_seeds"})


def agents_of(curves: pd.DataFrame, *, most: int) -> list[str]:
    """Whose curves are drawn: random search and TPE, then the agents that gained most, at most so many."""
    best = curves.groupby("agent")["gain_bpb"].max().sort_values(ascending=False, kind="stable")
    others = [agent for agent in best.index if agent not in BANDS]
    return [agent for agent in BANDS if agent in best.index] + others[:most]


def study_frame(studies: Sequence[Mapping[str, Any]], living: Sequence[str]) -> pd.DataFrame:
    """The studies as a table; one whose process is gone is not running, whatever its row says."""
    rows = [
        {
            **{name: study[name] for name in STUDY_COLUMNS if name in study},
            "agent": study["agent_name"],
            "status": status(study, living),
            "n_done": f"{study['n_done']} of {study['n_trials']}",
        }
        for study in studies
    ]
    return pd.DataFrame(rows, columns=STUDY_COLUMNS)


STUDY_COLUMNS = [
    "study_id", "agent", "tier", "track", "seed", "status", "n_done", "n_accepted", "gain_bpb", "gain_ci_low",
    "gain_ci_high", "claimed_gain_bpb", "started_at",
]  # fmt: skip


def status(study: Mapping[str, Any], living: Sequence[str]) -> str:
    """Where a study stands: `interrupted` also where it was killed before it could say so."""
    is_dead = study["status"] == "running" and study["study_id"] not in living
    return "interrupted" if is_dead else str(study["status"])


def trial_frame(trials: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The trials of a study as a table, in their order, what was not kept too."""
    rows = [
        {
            "slot": trial["slot"],
            "verdict": verdict(trial),
            "what": text.visible(what(trial)),
            "claimed_gain_bpb": trial["claimed_gain_bpb"],
            "confirmed_gain_bpb": trial["confirmed_gain_bpb"],
            "p_better": trial["p_better"],
            "pairs": f"{trial['n_pairs']} + {trial['n_confirmations']}",
            "val_bpb": trial["val_bpb"],
            "why": text.visible(trial["detail"] or trial["reason"] or ""),
            "proposer": trial["proposer"],
            "categories": ", ".join(name.replace("_", " ") for name in trial["categories"]),
        }
        for trial in trials
    ]
    return pd.DataFrame(rows)


def verdict(trial: Mapping[str, Any]) -> str:
    """What became of a trial in a word or two; of a placebo, whether the gate was fooled."""
    if not trial["is_placebo"]:
        return "kept" if trial["verdict"] == "accepted" else str(trial["verdict"])
    return "placebo, falsely kept" if trial["verdict"] == "accepted" else "placebo, not kept"


def what(trial: Mapping[str, Any]) -> str:
    """What a trial changed, on one line: numbers, the lines of its diff, or why there is nothing."""
    if trial["is_placebo"]:
        return "nothing: the incumbent against itself"
    numbers = changed_numbers(trial["parent"].get("params", {}), trial["params"] or {})
    diff = re.sub(r"\s+", " ", (trial["diff"] or "")[:DIFF_PREVIEW_CHARS])
    return numbers or diff or trial["problem"] or "nothing"


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
    """`1 of 20, 95 % interval 0.1 – 24.9 %`: how often a change that does nothing was kept."""
    if not row.n_placebos:
        return text.NOTHING
    ends = text.interval(row.false_accept_ci_low, row.false_accept_ci_high)
    return f"{row.n_false_accepts} of {row.n_placebos} ({ends})"


def attacks_line(suite: Mapping[str, Any]) -> str:
    """`38 scripted cheats, 0 passed, last run on 2026-11-24 (bubblewrap)`."""
    fared = f"{suite['n_attacks']} scripted cheats, {suite['n_passed']} passed"
    return f"{fared}, last run on {suite['started_at']:%Y-%m-%d} ({suite['sandbox']})"


def is_of_one_seed(row: BoardRow) -> bool:
    """Whether its interval rests on one study's own pairs."""
    return row.interval_over != SEEDS
