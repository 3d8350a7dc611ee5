"""The parts of the model page: identity, choice of a run, and what became of that run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import choosing, reasons, tables, text

SCORED = ("complete", "partial")


def show_identity(runs: Sequence[Mapping[str, Any]]) -> None:
    """Show which weights these are, from the newest run; ids can be copied."""
    newest = runs[0]
    with st.grid(2, min_column_width=320):
        for label, value in (("Model id", newest["model_id"]), ("Revision", newest["revision"])):
            with st.container(gap="xxsmall"):
                st.caption(label)
                st.code(text.visible(value), language=None, wrap_lines=True)
    facts = {
        "Parameters": text.count(newest["n_params"]),
        "Licence": newest["license"] or "not stated",
        "Quantization": newest["quantization"] or newest["model_quantization"] or "as published",
        "Remote code": "needed" if newest["needs_remote_code"] else "none",
        "Runs": str(len(runs)),
    }
    show_facts(facts | ({"Folder": newest["path"]} if newest["path"] else {}))


def show_facts(facts: Mapping[str, str]) -> None:
    """Show short values under their names, side by side as far as there is room."""
    with st.grid(min_column_width=140):
        for label, value in facts.items():
            with st.container(gap="xxsmall"):
                st.caption(label)
                st.text(text.visible(value))


def show_runs(table: pd.DataFrame, model_id: str) -> None:
    """Show the runs as rows of `tables.runs`; a click on one chooses it."""

    def take_clicked() -> None:
        if picked := st.session_state["run_rows"].selection.rows:
            st.session_state["run"] = table["run_id"].iloc[picked[0]]

    st.dataframe(
        table,
        column_config=tables.RUNS,
        hide_index=True,
        on_select=take_clicked,
        selection_mode="single-row",
        placeholder="–",
        key="run_rows",
        alt=f"Runs of {model_id}, newest first",
    )


def choose_run(runs: Sequence[Mapping[str, Any]], *, key: str = "run") -> Mapping[str, Any]:
    """The run that the reader picks; at first the newest that has scores. `key` is its name in the link."""
    by_id = {run["run_id"]: run for run in runs}
    first = next((run["run_id"] for run in runs if run["status"] in SCORED), None)
    return by_id[choosing.one("Run", list(by_id), key=key, first=first)]


def show_outcome(run: Mapping[str, Any]) -> None:
    """Show how a run ended, with its reason and what helps, and what it cost."""
    why = text.escaped(run["detail"] or run["reason"] or "")
    if run["status"] == "failed":
        st.error(why, title="This run failed")
        st.caption(reasons.hint(run["reason"]))
    elif run["status"] == "interrupted":
        st.warning(why, title="This run was interrupted; repeating the command goes on with it")
    elif why:
        st.info(why, title="A part of the suite was measured")
    for warning in run["warnings"]:
        st.warning(text.escaped(warning))
    show_facts(
        {
            "Suite": f"{run['suite']} v{run['suite_version']}",
            "Status": run["status"],
            "Started": f"{run['started_at']:%d %b %Y, %H:%M} UTC",
            "Duration": text.duration(run["duration_s"]),
            "Items": f"{run['n_items']:,}",
            "Tokens in / out": f"{run['prompt_tokens']:,} / {run['output_tokens']:,}",
            "Tokens/s": text.rate(run["tokens_per_s"]),
            "First token": text.seconds(run["ttft_s"]),
            "Peak memory": peak_memory(run),
            "Energy": text.energy(run["energy_j"]),
        }
    )
    st.caption(f"Answered by {text.escaped(tables.answered_by(run))}")


def peak_memory(run: Mapping[str, Any]) -> str:
    """The measured peak, and beside it what was predicted before loading: `1.2 GB (predicted 1.4 GB)`."""
    peak = text.size(run["peak_memory_bytes"])
    if run["peak_memory_bytes"] is None or run["predicted_memory_bytes"] is None:
        return peak
    return f"{peak} (predicted {text.size(run['predicted_memory_bytes'])})"


def link_to_items(run: Mapping[str, Any]) -> None:
    """A link to every question of a run, with the answers."""
    st.page_link(
        "app_pages/items.py",
        label="Every item of this run: prompt, answer, target",
        query_params={"items_of": run["model_id"], "of_run": run["run_id"]},
    )


def link_to_model(run: Mapping[str, Any]) -> None:
    """A link back to the model of a run."""
    st.page_link(
        "app_pages/model.py",
        label=f"Everything of {text.escaped(run['model_id'])}",
        query_params={"model": run["model_id"], "run": run["run_id"]},
    )


def say_unmeasured(model_id: str, *, is_first: bool, hub_id: str | None) -> None:
    """Say that there is no run, and which command makes one."""
    if is_first:
        st.info("Nothing benchmarked yet: run `tracker bench demo`, then come back")
    elif hub_id:
        st.info("It was not measured here; this command does it:")
        st.code(f"tracker bench {shlex.quote(hub_id)}", language="shell")
    else:
        st.info("It was not measured here, and its weights are not known to be on the Hub")
