"""Which model runs on a card: memory by context length, beside what was measured of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from app import board, rows
from tracker.frontier.pareto import undominated

CONTEXTS = (4096, 8192, 32_768, 131_072)  # tokens
GB = 1e9
MEASURED, KNOWN = "measured here", "known from the Hub"
# `local/NAME` is a folder. Of other models with files of their own only the embedded one has no commit.
LOCAL, HASHED, DEMO = "local/", "sha256:", "demo"
AUTO = "auto"  # the precision that nobody has to ask for
THINKING = {True: " --thinking", False: " --no-thinking"}  # `vllm serve` leaves it to each request
FRONTIER_NAMES = 8  # more names than that run into each other


def candidates(scores: pd.DataFrame, known: pd.DataFrame, task: str) -> pd.DataFrame:
    """One row per model and settings measured on `task`, then the models that the Hub lists besides.

    `scores`: rows of `queries.board`; `known`: rows of `queries.hub_sizes`.
    """
    here = rows.with_labels(scores[scores["task"] == task])
    lengths = known.set_index("model_id")["max_context"] if len(known) else pd.Series(dtype=float)
    here = here.assign(basis=MEASURED, max_context=here["model_id"].map(lengths))
    others = known[~known["model_id"].isin(here["model_id"])]
    others = others.assign(basis=KNOWN, label=others["model_id"])
    together = pd.concat([here, others], ignore_index=True) if len(others) else here
    return with_memory(together.reset_index(drop=True))


def with_memory(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `needs 4096` and so on: bytes for one sequence of so many tokens, where that is known."""
    needs = {f"needs {context}": board.needed(frame, context=context) for context in CONTEXTS}
    longest = board.number(frame, "max_context").fillna(np.inf)
    return frame.assign(**{f"needs {c}": needs[f"needs {c}"].where(longest >= c) for c in CONTEXTS})


def fitting(frame: pd.DataFrame, *, memory_gb: float, context: int) -> pd.DataFrame:
    """Of each model that fits the best settings that do: those with a score first, then the larger ones."""
    fits = frame[frame[f"needs {context}"] <= memory_gb * GB]
    keys = fits.assign(size=board.number(fits, "n_params"), of=board.number(fits, "score"))
    order = keys.sort_values(
        ["of", "size", "model_id"], ascending=[False, False, True], na_position="last"
    ).index
    return fits.loc[order].drop_duplicates("model_id").reset_index(drop=True)


def offers(frame: pd.DataFrame, *, cost: Sequence[float], context: int) -> pd.DataFrame:
    """The measured models with `on_frontier`: nothing that costs less scores as much; and a `name` for some.

    `cost` has one number per row of `frame`, of which less is better; a row without one is left out.
    """
    spent = pd.Series(np.asarray(cost, dtype=float), index=frame.index)
    known = frame[(frame["basis"] == MEASURED) & spent.notna() & frame["score"].notna()]
    if known.empty:
        return known.assign(on_frontier=False, name="")
    on_frontier = undominated(spent[known.index].to_numpy(), known["score"].to_numpy(dtype=float))
    found = known.assign(on_frontier=on_frontier, needed_gb=known[f"needs {context}"] / GB)
    named = found[found["on_frontier"]].nlargest(FRONTIER_NAMES, "score").index
    short = (
        found["model_id"].str.partition("/")[2].where(found["model_id"].str.contains("/"), found["model_id"])
    )
    return found.assign(name=short.where(found.index.isin(named), ""))


def commands(fits: pd.DataFrame, model_id: str, *, memory_gb: float, context: int) -> str:
    """What to type to check, measure and serve a model of `fits` with that context and its row's settings."""
    row = fits[fits["model_id"] == model_id].iloc[0]
    here, served = _names(row)
    # `tracker fit` takes no settings: it lists those that fit
    settings = f"--max-model-len {context}" + _flags(row)
    return "\n".join(
        (
            f"tracker fit {here} --vram {memory_gb:g} --context {context}",
            f"tracker bench {here} {settings}{THINKING.get(row.get('thinking'), '')}",
            f"vllm serve {served} {settings}",
        )
    )


def _names(row: pd.Series[Any]) -> tuple[str, str]:
    """What `tracker` and `vllm` call the model of a row, quoted for a shell."""
    path, name = _text(row, "path"), shlex.quote(row["model_id"])
    if path is None:
        return name, name
    if not row["model_id"].startswith(LOCAL) and row["revision"].startswith(HASHED):
        return DEMO, shlex.quote(path)
    return shlex.quote(path), shlex.quote(path)


def _flags(row: pd.Series[Any]) -> str:
    """The settings that were asked for, as flags that `tracker bench` and `vllm serve` both take."""
    asked = {"--dtype": _text(row, "asked_dtype"), "--quantization": _text(row, "asked_quantization")}
    return "".join(f" {flag} {value}" for flag, value in asked.items() if value not in (None, AUTO))


def _text(row: pd.Series[Any], name: str) -> str | None:
    """A text of the row, None where it has none or no such column."""
    value = row.get(name)
    return value if isinstance(value, str) and value else None


def speed(frame: pd.DataFrame) -> pd.Series[float]:
    """Output tokens per second as measured, nothing where it was not."""
    return board.number(frame, "tokens_per_s")
