"""Measurements of speed as rows, rebuilt from their files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.speeds import read_speed, speed_paths
from tracker.records.speed import SpeedLevel, SpeedRun, Spread
from tracker.redaction import masked
from tracker.serialization import dump
from tracker.store.ingests import utc

TIMES = ("ttft", "tpot", "itl", "e2el")


def write_speed(connection: duckdb.DuckDBPyConnection, run: SpeedRun) -> None:
    """Replace the measurement and its levels; the caller holds the transaction."""
    key = {"speed_id": run.speed_id}
    connection.execute("delete from speeds where speed_id = $speed_id", key)
    connection.execute("delete from speed_levels where speed_id = $speed_id", key)
    connection.execute("insert into speeds by name select unnest($row)", {"row": speed_row(run)})
    for place, level in enumerate(run.levels):
        row = key | {"place": place} | level_row(level)
        connection.execute("insert into speed_levels by name select unnest($row)", {"row": row})


def speed_row(run: SpeedRun) -> dict[str, Any]:
    """The measurement as a row of `speeds`."""
    engine = run.engine
    return {
        "speed_id": run.speed_id,
        "model_id": run.model.model_id,
        "revision": run.model.revision,
        "path": run.model.path,
        "model_quantization": run.model.quantization,
        "n_params": run.model.n_params,
        "license": run.model.license,
        "needs_remote_code": run.model.needs_remote_code,
        "status": run.status.value,
        "reason": run.reason,
        "detail": masked(run.detail) if run.detail else run.detail,
        "started_at": utc(run.started_at),
        "ended_at": utc(run.ended_at) if run.ended_at else None,
        "engine": run.settings.engine,
        "engine_version": engine.engine_version if engine else None,
        "dtype": engine.dtype if engine else None,
        "device": engine.device if engine else None,
        "max_model_len": engine.max_model_len if engine else None,
        "settings": json.dumps(dump(run.settings), sort_keys=True),
        "generator": run.generator,
        "generator_version": run.generator_version,
        "endpoint": run.endpoint,
        "input_tokens": run.load.input_tokens,
        "asked_output_tokens": run.load.output_tokens,
        "prompt_tokens": run.prompt_tokens,
        "ignores_end": run.ignores_end,
        "counts_from": run.counts_from,
        "bound": json.dumps(dump(run.load.bound), sort_keys=True),
        "load_s": run.load_s,
        "peak_memory_bytes": run.peak_memory_bytes,
        "n_cards": run.n_cards,
        "hardware": json.dumps(dict(run.hardware), sort_keys=True),
        "warnings": json.dumps([masked(one) for one in run.warnings]),
    }


def level_row(level: SpeedLevel) -> dict[str, Any]:
    """The level as a row of `speed_levels`, without its key."""
    names = (
        "concurrency", "n_requests", "n_answered", "n_good", "duration_s", "prompt_tokens", "output_tokens",
        "output_tokens_per_s", "requests_per_s", "goodput_per_s", "energy_j", "joules_per_token",
    )  # fmt: skip
    row: dict[str, Any] = {name: getattr(level, name) for name in names} | {"error": masked(level.error)}
    for name in TIMES:
        spread: Spread | None = getattr(level, name)
        row[f"{name}_s"] = spread.median if spread else None
        row[f"{name}_p90_s"] = spread.p90 if spread else None
        row[f"{name}_p99_s"] = spread.p99 if spread else None
        if name != "itl":  # gaps of one answer depend on each other
            row[f"{name}_ci_low"] = spread.ci_low if spread else None
            row[f"{name}_ci_high"] = spread.ci_high if spread else None
    return row


def rebuild_speeds(connection: duckdb.DuckDBPyConnection, speeds_path: Path) -> list[str]:
    """Write every measurement; return the problems of skipped files, inside a transaction."""
    skipped = []
    for found in read_speeds(speeds_path):
        if isinstance(found, NewerFormatError):
            raise found
        if isinstance(found, TrackerError):
            skipped.append(str(found))
        else:
            write_speed(connection, found)
    return skipped


def read_speeds(speeds_path: Path) -> Iterator[SpeedRun | TrackerError]:
    """Yield every measurement, or why its file cannot be read."""
    for path in speed_paths(speeds_path):
        try:
            yield read_speed(path)
        except TrackerError as error:
            yield error
