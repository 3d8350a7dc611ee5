"""Epoch's ZIP in the layout of October 2026, built from the shipped scores and real rows of that month.

`tests/fixtures/ingest/epoch_october` has 57 real rows of the index and all of the list of benchmarks. The
scores behind the index are those of the shipped vintage, and for newer models those that the shipped
difficulties expect.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from tests.conftest import ROOT
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub
from tracker.frontier.dataset import select
from tracker.frontier.index import IndexFit, fit_index, predicted
from tracker.frontier.tables import Tables, load_tables
from tracker.ingest.run import ingest
from tracker.records.published import IngestOutcome
from tracker.settings import Settings

FIXTURE = ROOT / "tests" / "fixtures" / "ingest" / "epoch_october"
FOLDER = "epoch_capabilities_index/"
LABELS = {
    "open": ("Open weights (unrestricted)", "Open weights"),
    "closed": ("API access", "Closed weights"),
    "unknown": ("Unknown", "Other"),
}
INDEX_COLUMNS = (
    "Model", "Display name", "eci", "eci_ci_low", "eci_ci_high", "date", "Organization",
    "Country (of organization)", "Model accessibility", "Accessibility group", "model_versions",
)  # fmt: skip
FITTED_COLUMNS = (
    "model_id", "benchmark_id", "performance", "benchmark", "benchmark_release_date", "model",
    "model_version", "Model", "date", "source",
)  # fmt: skip
GPQA_COLUMNS = (
    "Model version", "mean_score", "Best score (across scorers)", "Release date", "Organization", "Country",
    "Training compute (FLOP)", "Training compute notes", "stderr", "Log viewer", "Logs", "Started at", "id",
)  # fmt: skip
METADATA_COLUMNS = (
    "model_version", "model_group", "date", "display_name", "organization", "country", "accessibility",
    "training_compute_flop",
)  # fmt: skip
N_DRAWS = 500
NEW_SCORES = 12  # benchmarks per model that the shipped scores do not have
Row = dict[str, str]


@dataclass(frozen=True)
class October:
    """The contents of the ZIP; `without` names files to leave out."""

    index: tuple[Row, ...]
    fitted: tuple[Row, ...]
    gpqa: tuple[Row, ...]
    without: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)

    def zip(self) -> bytes:
        """The ZIP."""
        gpqa_only = [
            row for row in read_csv(FIXTURE / "benchmark_metadata.csv") if row["benchmark"] == "GPQA diamond"
        ]
        contents = {
            f"{FOLDER}eci_scores.csv": as_csv(INDEX_COLUMNS, self.index),
            f"{FOLDER}processed_data_for_eci.csv": as_csv(FITTED_COLUMNS, self.fitted),
            f"{FOLDER}edi_scores.csv": _difficulties(),
            f"{FOLDER}eci_bootstraps.json": _draws(self.index),
            "model_metadata.csv": as_csv(METADATA_COLUMNS, [_metadata(row) for row in self.index]),
            "benchmark_metadata.csv": as_csv(tuple(gpqa_only[0]), gpqa_only),
            "gpqa_diamond.csv": as_csv(GPQA_COLUMNS, self.gpqa),
            **self.more,
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in contents.items():
                if name not in self.without:
                    archive.writestr(name, text)
        return packed.getvalue()

    def only(self, models: Iterable[str]) -> October:
        """The same with these models alone."""
        kept = set(models)
        return replace(
            self,
            index=tuple(row for row in self.index if row["Model"] in kept),
            fitted=tuple(row for row in self.fitted if row["Model"] in kept),
            gpqa=tuple(row for row in self.gpqa if row["id"] in kept),
        )

    def edited(self, edit: Callable[[Row], Row]) -> October:
        """The same with each row of the index changed."""
        return replace(self, index=tuple(edit(dict(row)) for row in self.index))


def october() -> October:
    """Every model of the shipped vintage, and the newer ones of October."""
    tables, fit = _shipped()
    real = {row["Model"]: row for row in read_csv(FIXTURE / "eci_scores_sample.csv")}
    index = [real.get(model) or _index_row(tables, fit, model) for model in fit.data.models]
    newer = [row for model, row in real.items() if model not in fit.data.models]
    fitted = [
        _fitted_row(row.model, row.benchmark, row.score, row.model_version or "", row.source or "")
        for row in tables.scores
        if row.vintage == fit.data.vintage and row.model in fit.data.models
    ]
    fitted += [row for model in newer for row in _expected(fit, model)]
    rows = (*index, *newer)
    return October(tuple(rows), tuple(fitted), tuple(_gpqa_row(fit, row) for row in rows if row["eci"]))


def small_october() -> October:
    """Twenty models with the anchors and the newest ones, on fifteen benchmarks: fitted in a moment."""
    whole = october()
    per_model = Counter(row["Model"] for row in whole.fitted)
    newest = ("Claude Opus 5.5", "GPT-6 Astra", "Kimi K3", "DeepSeek V4.1 Flash")
    winogrande = [row["Model"] for row in whole.fitted if row["benchmark"] == "Winogrande"]
    linked = sorted(winogrande, key=lambda model: -per_model[model])[:4]
    most = [model for model, _ in per_model.most_common(10)]
    found = whole.only({*most, *newest, *linked, "Claude 3.5 Sonnet", "GPT-5"})
    per_benchmark = Counter(row["benchmark"] for row in found.fitted)
    kept = {name for name, _ in per_benchmark.most_common(15)} | {"Winogrande", "MMLU"}
    kept |= {row["benchmark"] for row in found.fitted if row["Model"] in newest}
    return replace(found, fitted=tuple(row for row in found.fitted if row["benchmark"] in kept))


def ingest_october(settings: Settings, body: October) -> IngestOutcome:
    """Ingest the ZIP from a stand-in for Epoch, as `tracker ingest epoch` does."""
    with running_hub(SourcesHub()) as hub:
        assert isinstance(hub, SourcesHub)
        hub.documents["/epoch.zip"] = body.zip()
        (outcome,) = ingest(["epoch"], settings.model_copy(update={"source_urls": hub.source_urls}))
    return outcome


def read_csv(path: Path) -> list[Row]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> str:
    """The rows as CSV text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@cache
def _shipped() -> tuple[Tables, IndexFit]:
    tables = load_tables()
    return tables, fit_index(select(tables))


def _index_row(tables: Tables, fit: IndexFit, model: str) -> Row:
    facts, value = tables.models[model], float(fit.index[fit.data.models.index(model)])
    label, group = LABELS[facts.access.value]
    ends = ("", "") if model in ("Claude 3.5 Sonnet", "GPT-5") else (f"{value - 3:.2f}", f"{value + 3:.2f}")
    cells = (
        model, model, f"{value:.2f}", *ends, facts.released.isoformat(), facts.organization, facts.country,
        label, group, "",
    )  # fmt: skip
    return dict(zip(INDEX_COLUMNS, cells, strict=True))


def _fitted_row(model: str, benchmark: str, score: float, version: str, source: str) -> Row:
    own = "" if source == "Epoch AI evaluations" else source
    cells = ("m", "b", repr(score), benchmark, "", model, version, model, "", own)
    return dict(zip(FITTED_COLUMNS, cells, strict=True))


def _expected(fit: IndexFit, row: Row) -> list[Row]:
    """Scores at the model's published index, on the benchmarks nearest to it."""
    value = float(row["eci"])
    near = np.argsort(np.abs(fit.difficulty - value))[:NEW_SCORES]
    expected = predicted(value, difficulty=fit.difficulty[near], slope=fit.slope[near])
    names = [fit.data.benchmarks[place] for place in near]
    return [
        _fitted_row(row["Model"], name, float(score), f"{row['Model']}_high", "")
        for name, score in zip(names, expected, strict=True)
    ]


def _gpqa_row(fit: IndexFit, row: Row) -> Row:
    place = fit.data.benchmarks.index("GPQA diamond")
    value = float(predicted(float(row["eci"]), difficulty=fit.difficulty[place], slope=fit.slope[place]))
    score = f"{0.25 + 0.75 * value:.4f}"
    cells = (
        _version(row), score, score, row["date"], row["Organization"], row["Country (of organization)"],
        "", "", "0.02", "", "", "2026-10-07T10:00:00.000Z", row["Model"],
    )  # fmt: skip
    return dict(zip(GPQA_COLUMNS, cells, strict=True))


def _metadata(row: Row) -> Row:
    cells = (
        _version(row), row["Model"], row["date"], "", row["Organization"], row["Country (of organization)"],
        row["Model accessibility"], "",
    )  # fmt: skip
    return dict(zip(METADATA_COLUMNS, cells, strict=True))


def _version(row: Row) -> str:
    return f"{row['Model'].casefold().replace(' ', '-')}_high"


def _difficulties() -> str:
    _, fit = _shipped()
    columns = ("benchmark_name", "is_anchor", "benchmark_release_date", "edi", "estimated_slope_scaled")
    rows = zip(fit.data.benchmarks, fit.difficulty, fit.slope, strict=True)
    cells = [(name, str(name == "Winogrande"), "", edi, slope) for name, edi, slope in rows]
    return as_csv(columns, [dict(zip(columns, row, strict=True)) for row in cells])


def _draws(index: Iterable[Row]) -> str:
    rows = [row for row in index if row["eci"]]
    value = np.array([float(row["eci"]) for row in rows])
    width = np.array([0.0 if not row["eci_ci_low"] else 1.5 for row in rows])
    drawn = value + np.random.default_rng(0).normal(size=(N_DRAWS, value.size)) * width
    names = [row["Model"] for row in rows]
    document = {
        "num_samples": N_DRAWS,
        "ci_level": 0.9,
        "model": {"ids": names, "names": names, "capability_samples": drawn.round(3).tolist()},
        "benchmark": {"ids": ["b"], "names": ["Winogrande"], "difficulty_samples": [[90.0]] * N_DRAWS,
                      "slope_samples": [[0.05]] * N_DRAWS},
    }  # fmt: skip
    return json.dumps(document)
