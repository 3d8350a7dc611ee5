"""One study and one of its trials: what was proposed, by which numbers it was judged, what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import choosing, downloads, drawing, queries, research_charts, research_tables, researching, text
from app.item_view import show_text
from app.model_view import show_facts

TALL_PX = 360
FINAL_SLOT = -1  # of query `trial_trainings`: the comparison on `test`
RESUMABLE = ("paused", "interrupted")
LOSS_NOTE = "Solid: with the change. Dashed: the incumbent under the same seed."
SAME_COLUMNS = ["study_id", "status", "n_done", "n_accepted", "gain_bpb", "interval", "started_at"]


def living() -> list[str]:
    """The ids of the studies that a process works on."""
    return [study.study_id for study in queries.studies_under_way()]


def choose_study(studies: Sequence[Mapping[str, Any]], alive: Sequence[str]) -> Mapping[str, Any]:
    """The study that the reader picks, by a row or by its id."""
    frame = researching.study_frame(studies, alive)
    by_id = {study["study_id"]: study for study in studies}

    def take_clicked() -> None:
        if picked := st.session_state["study_rows"].selection.rows:
            st.session_state["study"] = frame["study_id"].iloc[picked[0]]

    st.dataframe(
        research_tables.shown(research_tables.with_interval(frame), research_tables.STUDIES),
        column_config=research_tables.STUDIES,
        placeholder="–",
        hide_index=True,
        on_select=take_clicked,
        selection_mode="single-row",
        key="study_rows",
        alt="All studies, newest first",
    )
    downloads.buttons(frame, what="Studies", name="studies")
    return by_id[choosing.one("Study", list(by_id), key="study")]


def show_study(study: Mapping[str, Any], alive: Sequence[str]) -> None:
    """Show where a study stands, what it is worth, how to go on with it, and what its agent was told."""
    status = researching.status(study, alive)
    why = text.escaped(study["detail"] or study["reason"] or "")
    if status in RESUMABLE:
        st.warning(why or "What is finished is kept.", title=f"This study is {status}; this goes on with it:")
        st.code(f"tracker research resume {study['study_id']}", language="shell")
    elif status == "failed":
        st.error(why, title="This study failed")
    for warning in study["warnings"]:
        st.warning(text.escaped(warning))
    show_facts(
        {
            "Agent": study["agent_name"],
            "Status": status,
            "Trials": f"{study['n_done']} of {study['n_trials']}",
            "Kept": str(study["n_accepted"]),
            "Confirmed gain": text.bpb(study["gain_bpb"]),
            "95 % interval": text.bpb_ends(study["gain_ci_low"], study["gain_ci_high"]),
            "Claimed gain": text.bpb(study["claimed_gain_bpb"]),
            "Placebos kept": f"{study['n_false_accepts']} of {study['n_placebos']}",
            "Invalid / repeated": f"{study['n_invalid']} / {study['n_duplicates']}",
            "Crashed / caught": f"{study['n_failed']} / {study['n_caught']}",
            "Trainings": f"{study['n_trainings']}, {text.duration(study['train_s'])}",
            "Tokens in / out": f"{study['prompt_tokens']:,} / {study['output_tokens']:,}",
            "Sandbox": study["sandbox"],
            "Seed": str(study["seed"]),
        }
    )
    _show_final(study)
    with st.expander("What the agent was told: program.md"):
        show_text("program.md", study["program"], key="program")


def _show_final(study: Mapping[str, Any]) -> None:
    """The trainings behind the confirmed gain, which `test` was touched for."""
    trainings = queries.trainings(study["study_id"], FINAL_SLOT)
    if trainings:
        with st.expander("The pairs behind the confirmed gain: the final pick beside the defaults, on test"):
            _show_pairs(trainings, what="Final trainings", name=f"final-{study['study_id']}")


def choose_trial(trials: Sequence[Mapping[str, Any]], study_id: str) -> Mapping[str, Any]:
    """The trial that the reader picks, by a row or by its slot."""
    frame = researching.trial_frame(trials)
    by_slot = {str(trial["slot"]): trial for trial in trials}

    def take_clicked() -> None:
        if picked := st.session_state["trial_rows"].selection.rows:
            st.session_state["trial"] = str(frame["slot"].iloc[picked[0]])

    st.dataframe(
        research_tables.shown(frame, research_tables.TRIALS),
        column_config=research_tables.TRIALS,
        placeholder="–",
        hide_index=True,
        height=TALL_PX if len(frame) > 10 else "content",
        on_select=take_clicked,
        selection_mode="single-row",
        key="trial_rows",
        alt=f"Trials of {study_id} in their order: verdict, what was changed, gains, P(better), pairs, why",
    )
    downloads.buttons(frame, what="Trials", name=f"trials-{study_id}")
    return by_slot[st.selectbox("Trial", list(by_slot), key="trial", bind="query-params")]


def show_trial(trial: Mapping[str, Any]) -> None:
    """Show one trial: what it changed, how it was judged, its trainings, what was asked and answered."""
    with st.container(border=True):
        st.header(f"Trial {trial['slot']}: {researching.verdict(trial)}", anchor=False)
        show_text("What was changed", researching.what(trial), key="what")
        if trial["diff"]:
            show_text("Diff, as it was proposed", trial["diff"], key="diff")
        why = trial["detail"] or trial["reason"]
        if why:
            show_text("Why", why, key="why")
        if trial["rationale"]:
            show_text("Rationale of the agent", trial["rationale"], key="rationale")
        show_facts(_judgement(trial))
        _show_trainings(trial)
        for place, exchange in enumerate(queries.exchanges(trial["study_id"], trial["slot"])):
            _show_exchange(place, exchange)


def _judgement(trial: Mapping[str, Any]) -> dict[str, str]:
    p_better = text.known(trial["p_better"])
    return {
        "Claimed gain, val": text.bpb(trial["claimed_gain_bpb"]),
        "Confirmed, select": text.bpb(trial["confirmed_gain_bpb"]),
        "P(better)": text.NOTHING if p_better is None else f"{p_better:.3f}",
        "Pairs": f"{trial['n_pairs']} + {trial['n_confirmations']} to confirm",
        "Proposed by": trial["proposer"] or text.NOTHING,
        "Took": text.duration((trial["ended_at"] - trial["started_at"]).total_seconds()),
    }


def _show_trainings(trial: Mapping[str, Any]) -> None:
    trainings = queries.trainings(trial["study_id"], trial["slot"])
    if not trainings:
        return
    curves = researching.loss_curves(trainings)
    if not curves.empty:
        drawing.show(research_charts.loss_chart, curves, alt=research_charts.loss_alt(curves))
        st.caption(LOSS_NOTE)
    _show_pairs(trainings, what="Trainings", name=f"trainings-{trial['study_id']}-{trial['slot']}")


def _show_pairs(trainings: Sequence[Mapping[str, Any]], *, what: str, name: str) -> None:
    pairs = researching.pair_frame(trainings)
    st.dataframe(
        research_tables.shown(pairs, research_tables.PAIRS),
        column_config=research_tables.PAIRS,
        placeholder="–",
        hide_index=True,
        alt="The trainings behind this result, with bits per byte on each split",
    )
    downloads.buttons(pairs, what=what, name=name)


def _show_exchange(place: int, exchange: Mapping[str, Any]) -> None:
    st.subheader("What it was asked and answered" + (f", turn {place + 1}" if place else ""), anchor=False)
    st.caption(
        text.escaped(
            f"{exchange['prompt_tokens']:,} tokens in, {exchange['output_tokens']:,} out,"
            f" {text.seconds(exchange['latency_s'])}, ended by {exchange['finish_reason']}"
        )
    )
    with st.grid(2, min_column_width=380):
        show_text("Prompt", exchange["prompt"], key=f"prompt_{place}")
        with st.container():
            if exchange["thinking"]:
                show_text("Thinking", exchange["thinking"], key=f"thinking_{place}")
            show_text("Reply", exchange["reply"], key=f"reply_{place}")


def show_history(model_id: str) -> None:
    """Show the studies in which a model was the agent; a row opens its study."""
    studies = [row for row in queries.studies() if model_id in (row["agent_name"], row["model_id"])]
    if not studies:
        return
    st.header("As an agent of auto-research", anchor=False)
    studied = researching.study_frame(studies, living())
    frame = research_tables.with_interval(studied)
    chosen = st.dataframe(
        frame[SAME_COLUMNS],
        column_config=research_tables.STUDIES,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="agent_rows",
        alt=f"Studies in which {model_id} was the agent, newest first",
    )
    if chosen.selection.rows:
        picked = frame["study_id"].iloc[chosen.selection.rows[0]]
        st.switch_page("app_pages/research.py", query_params={"study": picked})
    downloads.buttons(studied, what="Studies", name="studies-as-agent")
    st.page_link(
        "app_pages/research.py",
        label="Every trial of its newest study",
        query_params={"study": studies[0]["study_id"]},
    )
