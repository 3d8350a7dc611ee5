"""`tracker show MODEL`: all that is known of one model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.tables import cell, console, count, moment, plain, printable
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import load_settings
from tracker.store import open_snapshot

Row = dict[str, Any]


def show(model: str, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Show one model: what it is, and its runs with scores, cost and failures, the newest first.

    Parameters
    ----------
    model
        A model measured here, as `tracker models` lists it, its folder, or `demo`; `@revision` after it picks
        one revision.
    json
        Print one JSON document: `model_id`, `revisions`, `runs`.
    """
    with open_snapshot(load_settings()) as snapshot:
        known = snapshot.query("models")
        # a folder may have an @ in its name
        name, _, revision = (model, "", "") if id_of_folder(model, known) else model.partition("@")
        model_id = known_id(name, known)
        runs = snapshot.query("model_runs", model_id=model_id)
        scores = snapshot.query("model_scores", model_id=model_id)
    revisions = [r for r in known if r["model_id"] == model_id and r["revision"].startswith(revision)]
    if not revisions:
        names = {row["revision"] for row in known if row["model_id"] == model_id}
        raise UnknownNameError(f"revision of {model_id}", revision, known=names)
    chosen = {row["revision"] for row in revisions}
    for run in runs:
        run["scores"] = [score for score in scores if score["run_id"] == run["run_id"]]
    runs = [run for run in runs if run["revision"] in chosen]
    if json:
        print_json(plain({"model_id": model_id, "revisions": revisions, "runs": runs}))
    else:
        _print(console(), model_id, revisions, runs)


def known_id(name: str, models: Sequence[Row]) -> str:
    """The model measured here that is meant; neither case nor a missing `org/` matters if only one fits.

    As for `bench`, `demo` is the embedded model, and a folder the model in it. `models`: rows of that query.

    Raises:
        UnknownNameError: none is called so; near names are offered.
        TrackerError: nothing is measured here, or several models fit.
    """
    known: set[str] = {row["model_id"] for row in models}
    if not known:
        hint = f"`tracker bench {name}` measures it"
        raise TrackerError(f"no model is called `{name}`: nothing has been measured here yet", hint=hint)
    if name == "demo":
        from runners.demo import MODEL_ID

        if MODEL_ID in known:
            return MODEL_ID
    if in_folder := id_of_folder(name, models):
        return in_folder
    if name in known:
        return name
    wanted = name.casefold()
    fits = {k for k in known if wanted in (k.casefold(), k.casefold().rpartition("/")[2])}
    if len(fits) > 1:
        raise TrackerError(
            f"`{name}` may be several models", hint=" or ".join(f"`{k}`" for k in sorted(fits))
        )
    if not fits:
        raise UnknownNameError("model", name, known=known)
    return fits.pop()


def id_of_folder(name: str, models: Sequence[Row]) -> str | None:
    """The model whose weights were read from the folder `name`; None: none was."""
    path = os.path.realpath(os.path.expanduser(name))
    return next((str(row["model_id"]) for row in models if row["path"] == path), None)


def _print(out: Console, model_id: str, revisions: list[Row], runs: list[Row]) -> None:
    out.print(Text(printable(model_id), style="bold"))
    for row in revisions:
        facts = [f"revision {row['revision']}", f"{count(row['n_params'])} parameters"]
        facts.append(f"licence {row['license'] or 'unknown'}")
        if row["quantization"]:
            facts.append(f"published in {row['quantization']}")
        if row["needs_remote_code"]:
            facts.append("runs code of its repository")
        if row["path"]:
            facts.append(row["path"])
        out.print(Text(printable(" · ".join(facts)), style="dim"))
    for run in runs:
        out.print()
        _print_run(out, run)


def _print_run(out: Console, run: Row) -> None:
    title = f"{run['suite']} v{run['suite_version']} · {run['status']} · {moment(run['started_at'])}"
    out.print(Text(printable(title), style="bold"))
    if run["reason"] or run["detail"]:
        reason = ": ".join(part for part in (run["reason"], run["detail"]) if part)
        out.print(Text(printable(reason)))
    scores = [score for score in run["scores"] if score["group"] is None]
    if scores:
        out.print(_score_table(scores))
    out.print(Text(printable(_cost(run)), style="dim"))
    for warning in run["warnings"]:
        out.print(Text(printable(f"warning: {warning}")))


def _score_table(scores: list[Row]) -> Table:
    table = Table(header_style="bold")
    for name in ("task", "metric", "score", "95 % interval", "chance", "items", "cut off"):
        table.add_column(name, justify="left" if name in {"task", "metric"} else "right")
    for score in scores:
        low, high = score["ci_low"], score["ci_high"]
        table.add_row(
            cell(score["task"]),
            cell(score["metric"]),
            f"{score['value']:.1%}",
            "–" if low is None or high is None else f"{low:.1%} – {high:.1%}",
            f"{score['chance']:.1%}",
            f"{score['n_items']:,}",
            f"{score['truncated_fraction']:.0%}",
        )
    return table


def _cost(run: Row) -> str:
    parts = [f"run {run['run_id']}", f"{run['engine']} {run['engine_version'] or ''}".strip()]
    parts += [run[name] for name in ("device", "dtype", "quantization") if run[name]]
    parts.append(f"{run['n_items']:,} items ({run['n_reused_items']:,} reused)")
    parts.append(f"{run['duration_s']:,.1f} s")
    if run["tokens_per_s"]:
        parts.append(f"{run['tokens_per_s']:,.0f} output tokens/s")
    if run["peak_memory_bytes"]:
        predicted = run["predicted_memory_bytes"]
        beside = f" (predicted {predicted / 1e9:.1f} GB)" if predicted is not None else ""
        parts.append(f"peak memory {run['peak_memory_bytes'] / 1e9:.1f} GB{beside}")
    if run["energy_j"]:
        parts.append(f"{run['energy_j'] / 3600:.1f} Wh")
    return " · ".join(parts)
