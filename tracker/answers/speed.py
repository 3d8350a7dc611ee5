"""Speeds measured by a load generator: rows for tables, a document for JSON, lines for people.

A speed belongs to a device, an engine, its version and its settings; no answer mixes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from tracker.answers.models import known_id
from tracker.errors import UnknownNameError
from tracker.records import EngineSettings
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.store import Snapshot, open_snapshot
from tracker.wording import counted

Row = dict[str, Any]
OF_LEVEL = (
    "concurrency", "n_requests", "n_answered", "n_good", "duration_s", "prompt_tokens", "output_tokens",
    "output_tokens_per_s", "requests_per_s", "goodput_per_s", "ttft_s", "ttft_ci_low", "ttft_ci_high",
    "ttft_p90_s", "ttft_p99_s", "tpot_s", "tpot_ci_low", "tpot_ci_high", "tpot_p90_s", "tpot_p99_s",
    "itl_s", "itl_p90_s", "itl_p99_s", "e2el_s", "e2el_ci_low", "e2el_ci_high", "e2el_p90_s", "e2el_p99_s",
    "energy_j", "joules_per_token", "error",
)  # fmt: skip
BOUND_WORDS = {
    "ttft_s": "first token within {}",
    "tpot_s": "each further one within {}",
    "e2el_s": "last token within {}",
}
UNNAMED = ("engine", "max_model_len", "seed", "base_url")  # told elsewhere, or of no effect
COUNTED_BY = {"pieces": "output tokens are counted as pieces of the stream"}


def read_speeds(settings: Settings, model: str | None = None) -> list[Row]:
    """Every measurement of a model as people name it, or of all, the newest first; each has `levels`.

    Raises:
        UnknownNameError: nothing measured here is called so.
    """
    with open_snapshot(settings) as snapshot:
        if model is None:
            return speeds_in(snapshot, None)
        known = [*snapshot.query("models"), *timed_models(snapshot)]
        return speeds_in(snapshot, known_id(model, known))


def timed_models(snapshot: Snapshot) -> list[Row]:
    """The models of which a speed was measured, once per revision, as the read `models` has them."""
    names = {"path": "path", "quantization": "model_quantization"} | {
        name: name for name in ("model_id", "revision", "n_params", "license", "needs_remote_code")
    }
    found: dict[tuple[str, str], Row] = {}
    for row in snapshot.query("speeds", model_id=None):
        if row["status"] != "failed":
            named = {ours: row[theirs] for ours, theirs in names.items()}
            found.setdefault((row["model_id"], row["revision"]), named)
    return list(found.values())


def speeds_in(snapshot: Snapshot, model_id: str | None) -> list[Row]:
    """The measurements of one model (None: of all), the newest first; each has `levels`."""
    found: dict[str, Row] = {}
    for row in snapshot.query("speeds", model_id=model_id):
        level = {name: row.pop(name) for name in OF_LEVEL}
        row.pop("place")
        run = found.setdefault(row["speed_id"], row | {"levels": []})
        if level["concurrency"] is not None:
            run["levels"].append(level)
    return list(found.values())


def level_table(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per measurement and concurrency, each with what it was measured on."""
    named = (
        "speed_id", "model_id", "revision", "model_quantization", "started_at", "device", "engine",
        "engine_version", "dtype", "generator", "generator_version", "input_tokens", "asked_output_tokens",
        "status",
    )  # fmt: skip
    return [
        {name: run[name] for name in named} | {"settings": settings_text(run["settings"])} | dict(level)
        for run in runs
        for level in run["levels"]
    ]


def speed_document(run: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement as plain JSON values: times in ISO 8601."""
    found: dict[str, Any] = to_jsonable_python(dict(run), inf_nan_mode="null", fallback=str)
    return found


def speed_title(run: Mapping[str, Any]) -> str:
    """What was measured, on what and when: `speed · 2026-12-01 · vllm 0.32.0 on NVIDIA H100 · bfloat16`."""
    started: datetime = run["started_at"]
    place = f"{run['engine']} {run['engine_version'] or ''}".strip()
    parts = ["speed", f"{started:%Y-%m-%d}", f"{place} on {run['device'] or 'an unknown device'}"]
    parts += [run[name] for name in ("dtype",) if run[name] and run[name] != "unknown"]
    if text := settings_text(run["settings"]):
        parts.append(text)
    if run["status"] != "complete":
        parts.append(run["status"])
    return " · ".join(parts)


def speed_lines(run: Mapping[str, Any]) -> list[str]:
    """How it was measured, and what is missing."""
    lines = []
    if run["generator"]:
        length = "of" if run["ignores_end"] else "of at most"
        method = (
            f"{run['generator']} {run['generator_version']}: prompts of about {run['input_tokens']:,} tokens,"
            f" answers {length} {run['asked_output_tokens']:,}"
        )
        lines.append("; ".join([method, *filter(None, [COUNTED_BY.get(run["counts_from"])])]))
    if bound := bound_text(run["bound"]):
        lines.append(f"good: {bound}")
    if run["reason"]:
        lines.append(f"{run['reason']}: {run['detail'] or ''}".strip(": "))
    for level in run["levels"]:
        if level["n_answered"] < level["n_requests"]:
            n_lost = level["n_requests"] - level["n_answered"]
            why = f": {level['error']}" if level["error"] else ""
            lines.append(
                f"at {level['concurrency']} at once, {counted(n_lost, 'request')} of {level['n_requests']:,}"
                f" got no answer{why}"
            )
    lines += [f"warning: {one}" for one in run["warnings"]]
    return lines


def bound_text(bound: Mapping[str, float | None]) -> str:
    """The bound of goodput in words; empty: there is none."""
    return ", ".join(
        words.format(seconds_text(bound[name]))
        for name, words in BOUND_WORDS.items()
        if bound.get(name) is not None
    )


def seconds_text(seconds: float | None) -> str:
    """A time as people read it: `0.8 ms`, `34 ms`, `1.52 s`, `82 s`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"


def settings_text(given: Mapping[str, Any] | None) -> str:
    """The settings of the engine that are not its defaults: `max_num_seqs=16, quantization=fp8`."""
    default = dump(EngineSettings())
    return ", ".join(
        f"{name}={value}"
        for name, value in (given or {}).items()
        if name not in UNNAMED and value is not None and value != default.get(name)
    )


def speed_of(speed_id: str, settings: Settings) -> Row:
    """One measurement.

    Raises:
        UnknownNameError: there is none with this id.
    """
    runs = read_speeds(settings)
    for run in runs:
        if run["speed_id"] == speed_id:
            return run
    raise UnknownNameError("measurement of speed", speed_id, known=[run["speed_id"] for run in runs])
