"""One study and one of its trials: the proposal, the numbers that decided, the exchange with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.data import queries, study_rows
from app.pages.research import charts, columns, rows
from app.widgets import cached_chart, downloads, safe_text, url_select
from app.widgets.columns import STUDY_COLUMNS, filled_columns, with_gain_interval
from app.widgets.facts import show_facts, show_text

TALL_PX = 360
FINAL_SLOT = -1  # of query `trial_trainings`: the comparison on `test`
RESUMABLE = ("paused", "interrupted")
PUBLIC_SEEDS = "A study of an earlier version: an agent could compute the seeds of its trainings."
LOSS_NOTE = "Solid: candidate. Dashed: incumbent with the same seed."


def choose_study(studies: Sequence[Mapping[str, Any]], live: Sequence[str]) -> Mapping[str, Any]:
    """The study that the reader picks, by row or by ID."""
    frame = study_rows.study_frame(studies, live)
    by_id = {study["study_id"]: study for study in studies}

    def take_clicked() -> None:
        if picked := st.session_state["study_rows"].selection.rows:
            st.session_state["study"] = frame["study_id"].iloc[picked[0]]

    st.dataframe(
        filled_columns(with_gain_interval(frame), STUDY_COLUMNS),
        column_config=STUDY_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select=take_clicked,
        selection_mode="single-row",
        key="study_rows",
        alt="All studies, newest first",
    )
    downloads.download_buttons(frame, what="Studies", name="studies")
    return by_id[url_select.select_one("Study", list(by_id), key="study")]


def show_study(study: Mapping[str, Any], live: Sequence[str]) -> None:
    """Show a study's status, results, how to resume it, and the instructions of its agent."""
    status = study_rows.study_status(study, live)
    why = safe_text.escaped(study["detail"] or study["reason"] or "")
    if status in RESUMABLE:
        st.warning(why or "Finished trials are kept.", title=f"This study is {status}. To resume it:")
        st.code(f"tracker research resume {study['study_id']}", language="shell")
    elif status == "failed":
        st.error(why, title="This study failed")
    for warning in study["warnings"]:
        st.warning(safe_text.escaped(warning))
    show_facts(
        {
            "Agent": study["agent_name"],
            "Status": status,
            "Trials": f"{study['n_done']} of {study['n_trials']}",
            "Kept": str(study["n_accepted"]),
            "Confirmed gain": safe_text.bpb(study["gain_bpb"]),
            "95% interval": safe_text.bpb_ends(study["gain_ci_low"], study["gain_ci_high"]),
            "Claimed gain": safe_text.bpb(study["claimed_gain_bpb"]),
            "Gain at 4× the size": safe_text.bpb(study["transfer_gain_bpb"]),
            "Placebos kept": f"{study['n_false_accepts']} of {study['n_placebos']}",
            "Invalid / repeated": f"{study['n_invalid']} / {study['n_duplicates']}",
            "Crashed / caught cheating": f"{study['n_failed']} / {study['n_caught']}",
            "Trainings": f"{study['n_trainings']}, {safe_text.duration(study['train_s'])}",
            "Tokens in / out": f"{study['prompt_tokens']:,} / {study['output_tokens']:,}",
            "Sandbox": study["sandbox"],
            "Trained on": study["executor"] or "local",
            "Seed": str(study["seed"]),
        }
    )
    if study["transfer_detail"]:
        st.caption(f"At 4× the size: {safe_text.escaped(study['transfer_detail'])}")
    if study["secret_hash"] is None:
        st.caption(PUBLIC_SEEDS)
    _show_final(study)
    with st.expander("Agent instructions: program.md"):
        show_text("program.md", study["program"], key="program")


def _show_final(study: Mapping[str, Any]) -> None:
    """Show the trainings behind the confirmed gain, the only ones evaluated on `test`."""
    trainings = queries.trainings(study["study_id"], FINAL_SLOT)
    if trainings:
        with st.expander("Trainings behind the confirmed gain: final candidate vs. defaults on test"):
            _show_pairs(trainings, what="Final trainings", name=f"final-{study['study_id']}")


def choose_trial(trials: Sequence[Mapping[str, Any]], study_id: str) -> Mapping[str, Any]:
    """The trial that the reader picks, by row or by slot."""
    frame = rows.trial_frame(trials)
    by_slot = {str(trial["slot"]): trial for trial in trials}

    def take_clicked() -> None:
        if picked := st.session_state["trial_rows"].selection.rows:
            st.session_state["trial"] = str(frame["slot"].iloc[picked[0]])

    st.dataframe(
        filled_columns(frame, columns.TRIAL_COLUMNS),
        column_config=columns.TRIAL_COLUMNS,
        placeholder="–",
        hide_index=True,
        height=TALL_PX if len(frame) > 10 else "content",
        on_select=take_clicked,
        selection_mode="single-row",
        key="trial_rows",
        alt=f"Trials of {study_id} in order: verdict, change, gains, P(better), pairs, reason",
    )
    downloads.download_buttons(frame, what="Trials", name=f"trials-{study_id}")
    return by_slot[st.selectbox("Trial", list(by_slot), key="trial", bind="query-params")]


def show_trial(trial: Mapping[str, Any]) -> None:
    """Show one trial: its change, the numbers that decided, its trainings, the exchange with the model."""
    with st.container(border=True):
        st.header(f"Trial {trial['slot']}: {rows.trial_verdict(trial)}", anchor=False)
        show_text("Change", rows.change_phrase(trial), key="what")
        if trial["diff"]:
            show_text("Proposed diff", trial["diff"], key="diff")
        why = trial["detail"] or trial["reason"]
        if why:
            show_text("Reason", why, key="why")
        if trial["rationale"]:
            show_text("Agent's rationale", trial["rationale"], key="rationale")
        show_facts(_decision_facts(trial))
        _show_trainings(trial)
        for place, exchange in enumerate(queries.exchanges(trial["study_id"], trial["slot"])):
            _show_exchange(place, exchange)


def _decision_facts(trial: Mapping[str, Any]) -> dict[str, str]:
    p_better = safe_text.known(trial["p_better"])
    return {
        "Claimed gain (val)": safe_text.bpb(trial["claimed_gain_bpb"]),
        "Confirmed gain (select)": safe_text.bpb(trial["confirmed_gain_bpb"]),
        "P(better)": safe_text.NOTHING if p_better is None else f"{p_better:.3f}",
        "Pairs": f"{trial['n_pairs']} + {trial['n_confirmations']} for confirmation",
        "Proposed by": trial["proposer"] or safe_text.NOTHING,
        "Duration": safe_text.duration((trial["ended_at"] - trial["started_at"]).total_seconds()),
    }


def _show_trainings(trial: Mapping[str, Any]) -> None:
    trainings = queries.trainings(trial["study_id"], trial["slot"])
    if not trainings:
        return
    curves = rows.loss_curves(trainings)
    if not curves.empty:
        caption = cached_chart.ChartCaption("Loss during the trainings", trial["ended_at"].date())
        cached_chart.render(charts.loss_chart, curves, alt=charts.loss_alt(curves), caption=caption)
        st.caption(LOSS_NOTE)
    _show_pairs(trainings, what="Trainings", name=f"trainings-{trial['study_id']}-{trial['slot']}")


def _show_pairs(trainings: Sequence[Mapping[str, Any]], *, what: str, name: str) -> None:
    pairs = rows.pair_frame(trainings)
    st.dataframe(
        filled_columns(pairs, columns.PAIR_COLUMNS),
        column_config=columns.PAIR_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="Trainings behind this result, with bits per byte on each split",
    )
    downloads.download_buttons(pairs, what=what, name=name)


def _show_exchange(place: int, exchange: Mapping[str, Any]) -> None:
    st.subheader("Prompt and reply" + (f", turn {place + 1}" if place else ""), anchor=False)
    st.caption(
        safe_text.escaped(
            f"{exchange['prompt_tokens']:,} tokens in, {exchange['output_tokens']:,} out,"
            f" {safe_text.seconds(exchange['latency_s'])}, finish reason: {exchange['finish_reason']}"
        )
    )
    with st.grid(2, min_column_width=380):
        show_text("Prompt", exchange["prompt"], key=f"prompt_{place}")
        with st.container():
            if exchange["thinking"]:
                show_text("Thinking", exchange["thinking"], key=f"thinking_{place}")
            show_text("Reply", exchange["reply"], key=f"reply_{place}")
