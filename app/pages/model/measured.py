"""A model measured here: its identity, its runs, and the outcome of one run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.pages.model.columns import ABILITY_COLUMNS, METRIC_COLUMNS
from app.widgets import columns, downloads, failure_hints, safe_text
from app.widgets.facts import show_facts
from tracker.answers.abilities import Ability, ability_line
from tracker.answers.repeatability import repeatability_line
from tracker.answers.run_lines import (
    by_workers,
    completed_line,
    mean_line,
    paired_line,
    prompt_line,
    replicate_line,
    reuse_lines,
    sampling_line,
    unsafe_lines,
)
from tracker.memory_estimate import is_share_of_card


def show_identity(runs: Sequence[Mapping[str, Any]]) -> None:
    """Show which weights these are, from the newest run; the IDs can be copied."""
    newest = runs[0]
    with st.grid(2, min_column_width=320):
        for label, value in (("Model ID", newest["model_id"]), ("Revision", newest["revision"])):
            with st.container(gap="xxsmall"):
                st.caption(label)
                st.code(safe_text.visible(value), language=None, wrap_lines=True)
    facts = {
        "Parameters": safe_text.count(newest["n_params"]),
        "License": newest["license"] or "not stated",
        "Quantization": newest["quantization"] or newest["model_quantization"] or "as published",
        "Remote code": "required" if newest["needs_remote_code"] else "not required",
        "Runs": str(len(runs)),
    }
    if newest["origin"]:  # nothing here has seen the weights
        facts |= {"Quantization": "not known", "Remote code": "not known"}
    show_facts(facts | ({"Folder": newest["path"]} if newest["path"] else {}))


def show_runs(table: pd.DataFrame, model_id: str) -> None:
    """Show the rows of `columns.run_table`; a click on one selects the run."""

    def take_clicked() -> None:
        if picked := st.session_state["run_rows"].selection.rows:
            st.session_state["run"] = table["run_id"].iloc[picked[0]]

    st.dataframe(
        table,
        column_config=columns.RUN_COLUMNS,
        hide_index=True,
        on_select=take_clicked,
        selection_mode="single-row",
        placeholder="–",
        key="run_rows",
        alt=f"Runs of {model_id}, newest first",
    )


def show_outcome(run: Mapping[str, Any]) -> None:
    """Show how a run ended, why and how to fix it, and what it cost."""
    why = safe_text.escaped(run["detail"] or run["reason"] or "")
    if run["status"] == "failed":
        st.error(why, title="This run failed")
        st.caption(failure_hints.failure_hint(run["reason"]))
    elif run["status"] == "interrupted":
        st.warning(why, title="This run was interrupted; repeat the command to resume it")
    elif why:
        st.info(why, title="Only part of the suite was measured")
    for warning in run["warnings"]:
        st.warning(safe_text.escaped(warning))
    show_facts(
        {
            "Suite": f"{run['suite']} v{run['suite_version']}",
            "Status": run["status"],
            "Started": f"{run['started_at']:%d %b %Y, %H:%M} UTC",
            "Duration": safe_text.duration(columns.stated(run, "duration_s")),
            "Items": f"{run['n_items']:,}",
            "Tokens in / out": " / ".join(
                safe_text.NOTHING if (n := columns.stated(run, name)) is None else f"{n:,}"
                for name in ("prompt_tokens", "output_tokens")
            ),
            "Tokens/s": safe_text.rate(run["tokens_per_s"]) + by_workers(safe_text.known(run["n_workers"])),
            "Device": run["device"] or "not known",
            "Time to first token": safe_text.seconds(run["ttft_s"]),
            "Peak memory": peak_memory(run),
            "Energy": safe_text.energy(run["energy_j"]),
        }
    )
    if line := sampling_line(
        run["sampling"], run["sampling_values"] or {}, run["repeats"], run["max_output_tokens"]
    ):
        st.caption(safe_text.escaped(f"{line[0].upper()}{line[1:]}"))
    if line := replicate_line(run["replicate"]):
        st.caption(f"{line[0].upper()}{line[1:]}")
    st.caption(f"Engine: {safe_text.escaped(columns.engine_phrase(run))}")
    if run["suite_mean"]:
        line = mean_line(run["suite_mean"])
        st.caption(safe_text.escaped(f"{line[0].upper()}{line[1:]}"))
    for outcome in run["against"] or ():
        st.caption(safe_text.escaped(paired_line(outcome)))
    for note in (prompt_line(run["prompts"]), *reuse_lines(run["reused"])):
        st.caption(safe_text.escaped(f"{note[0].upper()}{note[1:]}"))


def show_repeatability(found: Mapping[str, Any] | None) -> None:
    """Show the flip rate beside an earlier run, if there is one to compare with."""
    if found is not None:
        line = repeatability_line(found)
        st.caption(safe_text.escaped(f"{line[0].upper()}{line[1:]}"))


def show_completed(scores: pd.DataFrame) -> None:
    """Show for each task what became of answers that are none, and its score without them."""
    for score in scores.to_dict("records"):
        if score["group"] is None and (line := completed_line(score)):
            st.caption(safe_text.escaped(line))


def show_unsafe(metrics: pd.DataFrame) -> None:
    """Show how many unsafe actions a run of the suite `home` counted."""
    for line in unsafe_lines(metrics.to_dict("records")):
        st.caption(safe_text.escaped(line))


def show_abilities(found: Sequence[Ability]) -> None:
    """Show how jagged the model is, where more than one area was measured."""
    if len(found) < 2:
        return
    st.subheader("Jaggedness: areas measured here", anchor=False)
    table = pd.DataFrame([one.document() | {"tasks": len(one.tasks)} for one in found])
    shares = table[["value", "ci_low", "ci_high"]] * 100
    st.dataframe(
        table.assign(**shares),
        column_config=ABILITY_COLUMNS,
        hide_index=True,
        alt="Mean score of each area, with chance at 0 and 95% interval: "
        + "; ".join(ability_line(one.document()) for one in found),
    )
    st.caption("Mean of the tasks of each area with the same settings; chance is 0, perfect is 100.")


def show_metrics(metrics: pd.DataFrame, run_id: str) -> None:
    """Show the metrics of a run that are not the score of their task, each in its own unit."""
    st.subheader("Other metrics", anchor=False)
    st.caption(
        "Each in its own unit: a perplexity, a BLEU score, another share. The chart shows scores only."
    )
    st.dataframe(
        metrics.rename(columns={"task": "Task", "metric": "Metric", "filter": "Filter"}),
        column_config=METRIC_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="Metrics of this run that are not the score of their task",
    )
    downloads.download_buttons(metrics, what="Metrics", name=f"metrics-{run_id}")


def peak_memory(run: Mapping[str, Any]) -> str:
    """The measured peak beside the prediction made before loading: `1.2 GiB (predicted 1.4 GiB)`."""
    peak = safe_text.memory(run["peak_memory_bytes"])
    if is_share_of_card(run) and run["peak_memory_bytes"] is not None:
        return f"{peak} reserved by vLLM, not what the model needs"
    if run["peak_memory_bytes"] is None or run["predicted_memory_bytes"] is None:
        return peak
    return f"{peak} (predicted {safe_text.memory(run['predicted_memory_bytes'])})"


def show_unmeasured(model_id: str, *, is_first: bool, hub_id: str | None) -> None:
    """Show that there is no run, and the command that makes one."""
    if is_first:
        st.info("No benchmarks yet: run `tracker bench demo`")
    elif hub_id:
        st.info("This model has not been measured here. To measure it:")
        st.code(f"tracker bench {shlex.quote(hub_id)}", language="shell")
    else:
        st.info("This model has not been measured here, and no weights are known on the Hub")
