"""The models measured here, those that the Hub has, and which of them a name means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracker.errors import FieldError, TrackerError, UnknownNameError
from tracker.memory_estimate import GB, needed_bytes
from tracker.records import EMBEDDED_MODEL_ID
from tracker.settings import Settings
from tracker.store import Answer, open_snapshot

Row = Mapping[str, Any]
DEMO = "demo"  # as MODEL, the embedded model
MOST_GB = 1e6  # a petabyte, more than any machine has
HUB_COLUMNS = (
    "model_id", "kind", "n_params", "weights_bytes", "needed_bytes", "license", "gated", "released_at",
    "revision", "downloads", "likes", "trending", "base_models", "needs_remote_code", "is_measured",
    "seen_at", "n_params_at_least",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownModels:
    """Models of the Hub as last seen, the trending ones first: `HUB_COLUMNS` and `INDEX_COLUMNS`."""

    answer: Answer
    n_known: int  # before `fits_gb`


def measured_models(
    settings: Settings, *, license_part: str | None = None, max_params: int | None = None
) -> Answer:
    """The models measured here, each with its newest run and its place on the index, the newest first.

    `license_part` is contained in the license of each.
    """
    from tracker.answers.index_places import answer_with_index, index_places  # SciPy

    with open_snapshot(settings) as snapshot:
        found = snapshot.read("models", license=license_part, max_params=max_params)
    return answer_with_index(found, index_places(settings))


def hub_models(
    settings: Settings,
    *,
    license_part: str | None = None,
    max_params: int | None = None,
    fits_gb: float | None = None,
) -> KnownModels:
    """The models that the Hub has, as the last ingest saw them, with the memory for a short context.

    `license_part` is contained in the license of each.

    Raises:
        FieldError: `fits_gb` is out of range.
    """
    from tracker.answers.index_places import answer_with_index, index_places  # SciPy

    if fits_gb is not None:
        check_memory(fits_gb)
    with open_snapshot(settings) as snapshot:
        found = snapshot.read("known_models", license=license_part, max_params=max_params)
        measured = {row["model_id"].casefold() for row in snapshot.query("models")}
    kinds = dict(zip(found.columns, found.kinds, strict=True))
    kinds |= {"model_id": "VARCHAR", "needed_bytes": "BIGINT", "is_measured": "BOOLEAN"}
    rows = []
    for row in found.records():
        needed = needed_bytes(weights_bytes=row["weights_bytes"], n_params=row["n_params"])
        if fits_gb is not None and (needed is None or needed > fits_gb * GB):
            continue
        is_measured = row["name"].casefold() in measured
        facts = row | {"model_id": row["name"], "needed_bytes": needed, "is_measured": is_measured}
        rows.append(tuple(facts[name] for name in HUB_COLUMNS))
    listed = Answer(HUB_COLUMNS, rows, tuple(kinds[name] for name in HUB_COLUMNS))
    return KnownModels(answer_with_index(listed, index_places(settings)), len(found.rows))


def check_memory(fits_gb: float) -> None:
    """Refuse a size of memory that no machine has.

    Raises:
        FieldError: it is out of range.
    """
    if not 0 < fits_gb < MOST_GB:
        raise FieldError("fits_gb", f"must be a number of GB, got {fits_gb:g}", example=24)


def known_id(name: str, models: Sequence[Row]) -> str:
    """The measured model that `name` refers to; case and `org/` may be omitted if only one model matches.

    As for `bench`, `demo` is the embedded model, a folder the model in it. `models`: rows of that read.

    Raises:
        UnknownNameError: no such model; similar names are suggested.
        TrackerError: nothing has been measured here, or several models match.
    """
    known: set[str] = {row["model_id"] for row in models}
    if not known:
        hint = f"`tracker bench {name}` measures it"
        raise TrackerError(f"cannot show `{name}`: nothing has been measured here yet", hint=hint)
    if name == DEMO and EMBEDDED_MODEL_ID in known:
        return EMBEDDED_MODEL_ID
    if in_folder := id_of_folder(name, models):
        return in_folder
    if name in known:
        return name
    wanted = name.casefold()
    fits = {k for k in known if wanted in (k.casefold(), k.casefold().rpartition("/")[2])}
    if len(fits) > 1:
        raise TrackerError(
            f"`{name}` matches several models", hint=" or ".join(f"`{k}`" for k in sorted(fits))
        )
    if not fits:
        raise UnknownNameError("model", name, known=known)
    return fits.pop()


def id_of_folder(name: str, models: Sequence[Row]) -> str | None:
    """The model whose weights were read from the folder `name`; None if there is none."""
    if "\0" in name:  # no path
        return None
    path = os.path.realpath(os.path.expanduser(name))
    return next((str(row["model_id"]) for row in models if row["path"] == path), None)
