"""Epoch AI's capability index as it lies in the ZIP: published values with their joint draws, and the scores
that the index is fitted to.

The newer layout has a folder of its own for it; the older one has published values only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from tracker.records.published import Access
from tracker.records.vintages import VintageBenchmark, VintageData, VintageModel, VintageScore
from tracker.sources.errors import LayoutError
from tracker.sources.fields import built, day, listed, mapping, number, parsed, require_columns, text
from tracker.wording import counted

FOLDER = "epoch_capabilities_index/"
SCORES_FILE = f"{FOLDER}eci_scores.csv"
BENCHMARKS_FILE = f"{FOLDER}edi_scores.csv"
FITTED_FILE = f"{FOLDER}processed_data_for_eci.csv"
DRAWS_FILE = f"{FOLDER}eci_bootstraps.json"
OLDER_FILE = "epoch_capabilities_index.csv"
OWN_RUN = ("", "epoch evaluations", "epoch ai", "epoch ai evaluations")  # sources that mean Epoch itself
BELOW_CHANCE = 0.5  # how far below chance a rescaled score may lie; it then counts as 0, as published
EARLIEST = date(2010, 1, 1)  # no language model on the index is older; an earlier date is a mistake
MOST_INDEX = 1000.0  # in either direction; the index runs from about 20 to 170
MOST_REFUSED = 0.2  # of the scores behind the index; with more, none of them is used
DRAW_DISTANCE = 5.0  # index points between the median draw and the published value, on average
ACCESS_LABELS = {"open weights": Access.OPEN, "closed weights": Access.CLOSED}
EFFORT = re.compile(r"_(?:none|minimal|low|medium|high|xhigh|max|unknown|thinking|\d+k)$", re.IGNORECASE)

Rows = list[dict[str, str]]
ReadTable = Callable[[str], Rows]


@dataclass(slots=True)
class IndexFiles:
    """The files of the ZIP that make up the index, read row by row."""

    files: Mapping[str, str]
    read: ReadTable
    today: date
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def rows(self, name: str, columns: tuple[str, ...]) -> Rows:
        """The rows of one file, none if it is absent or lacks a column: `missing` then says so."""
        if name not in self.files:
            self.missing.append(f"Epoch: the ZIP lacks `{name}`")
            return []
        try:
            rows = self.read(name)
            if rows:
                require_columns(rows[0], columns, f"Epoch: {name}")
        except LayoutError as error:
            self.missing.append(str(error))
            return []
        if not rows:
            self.missing.append(f"Epoch: `{name}` has no rows")
        return rows


def access(accessibility: str, group: str = "") -> Access:
    """Epoch's labels: "Open weights (unrestricted)", "API access", "Hosted access (no API)", "Unreleased"."""
    if known := ACCESS_LABELS.get(group.strip().casefold()):
        return known
    label = accessibility.casefold()
    if label.startswith("open weights"):
        return Access.OPEN
    return Access.CLOSED if label.startswith(("api", "hosted", "unreleased", "closed")) else Access.UNKNOWN


def read_index(
    found: IndexFiles, facts: Iterable[Mapping[str, str]], days: Iterable[date]
) -> VintageData | None:
    """The index in the ZIP; None if it has none, and `found.missing` then says why.

    `facts` are the rows of `benchmark_metadata.csv`, `days` the dates of evaluations elsewhere in the ZIP.
    """
    is_older = SCORES_FILE not in found.files and OLDER_FILE in found.files
    models = _older_models(found) if is_older else _models(found)
    if not models:
        return None
    scores = () if is_older else _scores(found, {row.model for row in models})
    released = [row.released for row in models]
    newest = max((one for one in (*released, *days) if one <= found.today), default=found.today)
    benchmarks = () if is_older else _benchmarks(found, facts, {row.benchmark for row in scores})
    if not is_older:
        models, benchmarks = _with_draws(found, models, benchmarks)
    return VintageData(day=newest, models=models, benchmarks=benchmarks, scores=scores)


def _models(found: IndexFiles) -> tuple[VintageModel, ...]:
    columns = ("Model", "eci", "date")
    rows = found.rows(SCORES_FILE, columns)
    named = list({row["Model"].strip(): row for row in rows if row["Model"].strip()}.values())
    if twice := sum(bool(row["Model"].strip()) for row in rows) - len(named):
        found.problems.append(
            f"Epoch: `{SCORES_FILE}` lists {counted(twice, 'model')} twice; the last row counts"
        )
    if named and not any(number(row["eci"]) is not None for row in named):
        found.missing.append(f"Epoch: `{SCORES_FILE}` has no values in the column `eci`")
        return ()
    models, refused = built(named, lambda row: _model(row, found.today))
    if refused:
        found.missing.append(f"{refused[0]} ({len(refused)} of {len(named)} models are unusable)")
    return tuple(models)


def _model(row: Mapping[str, str], today: date) -> VintageModel:
    name, released, index = row["Model"].strip(), day(row["date"]), number(row["eci"])
    if released is None or not EARLIEST <= released <= today:
        raise ValueError(f"Epoch: {SCORES_FILE}: `{name}` has an impossible date, `{row['date']}`")
    if index is not None and abs(index) > MOST_INDEX:
        raise ValueError(f"Epoch: {SCORES_FILE}: `{name}` has an impossible index, {index:g}")
    low, high = number(row.get("eci_ci_low")), number(row.get("eci_ci_high"))
    if index is None or low is None or high is None or not low <= index <= high:
        low = high = None  # an anchor has no interval; an impossible one is not used
    return VintageModel(
        name,
        organization=text(row.get("Organization")) or "",
        country=text(row.get("Country (of organization)")) or "",
        access=access(row.get("Model accessibility", ""), row.get("Accessibility group", "")),
        released=released,
        index=index,
        ci_low=low,
        ci_high=high,
    )


def _older_models(found: IndexFiles) -> tuple[VintageModel, ...]:
    """One model per group of versions that differ in their effort only; the best of them counts."""
    columns = ("Model version", "ECI Score", "Release date")
    best: dict[str, VintageModel] = {}
    for row in found.rows(OLDER_FILE, columns):
        value, released = number(row["ECI Score"]), day(row["Release date"])
        name = text(row.get("Model name")) or EFFORT.sub("", row["Model version"].strip())
        if not name or value is None or released is None:
            continue
        if not EARLIEST <= released <= found.today or abs(value) > MOST_INDEX:
            found.problems.append(f"Epoch: {OLDER_FILE}: `{name}` has an impossible date or index")
            continue
        known = best.get(name)
        if known is None or (known.index or 0.0) < value:
            best[name] = VintageModel(
                name,
                organization=text(row.get("Organization")) or "",
                country=text(row.get("Country")) or "",
                access=access(row.get("Model accessibility", "")),
                released=released,
                index=value,
            )
    return tuple(best.values())


def _scores(found: IndexFiles, known: set[str]) -> tuple[VintageScore, ...]:
    if FITTED_FILE not in found.files:  # a ZIP may have the published values alone
        return ()
    rows = found.rows(FITTED_FILE, ("performance", "benchmark", "Model"))
    scores = _built(found, FITTED_FILE, rows, _fitted_score)
    if (n_refused := len(rows) - len(scores)) > MOST_REFUSED * len(rows):
        which = f"{n_refused} of {len(rows)} scores are unusable, such as outside 0..1"
        found.missing.append(f"Epoch: {FITTED_FILE}: {which}; none is used")
        return ()
    strangers = {score.model for score in scores} - known
    if strangers:
        one = min(strangers)
        found.problems.append(
            f"Epoch: {FITTED_FILE}: {len(strangers)} models are not in the index, such as `{one}`"
        )
    best: dict[tuple[str, str], VintageScore] = {}
    for score in scores:
        old = best.get((score.model, score.benchmark))
        if score.model in known and (old is None or old.score < score.score):
            best[score.model, score.benchmark] = score
    return tuple(best.values())


def _fitted_score(row: Mapping[str, str]) -> VintageScore:
    name, benchmark, value = row["Model"].strip(), row["benchmark"].strip(), number(row["performance"])
    if not name or not benchmark or value is None:
        raise ValueError(f"Epoch: {FITTED_FILE}: a row lacks its model, benchmark or score")
    value = 0.0 if -BELOW_CHANCE < value < 0.0 else value
    source = (row.get("source") or "").strip()
    return VintageScore(
        name,
        benchmark,
        value,
        model_version=text(row.get("model_version")),
        source=None if source.casefold() in OWN_RUN else source,
    )


def _benchmarks(
    found: IndexFiles, facts: Iterable[Mapping[str, str]], used: set[str]
) -> tuple[VintageBenchmark, ...]:
    by_name = {row["benchmark"].strip(): row for row in facts}
    published: dict[str, Mapping[str, str]] = {}
    if BENCHMARKS_FILE in found.files:
        rows = found.rows(BENCHMARKS_FILE, ("benchmark_name", "edi"))
        published = {row["benchmark_name"].strip(): row for row in rows}

    def one(name: str) -> VintageBenchmark:
        row, place = by_name.get(name, {}), published.get(name, {})
        ceiling = number(row.get("score_ceiling"))
        return VintageBenchmark(
            name,
            chance=number(row.get("random_baseline")) or 0.0,
            ceiling=1.0 if ceiling is None else ceiling,
            released=day(row.get("release_date")) or day(place.get("benchmark_release_date")),
            superseded_by=text(row.get("superseded_by")),
            is_anchor=(place.get("is_anchor") or "").strip().casefold() == "true",
            difficulty=number(place.get("edi")),
            slope=number(place.get("estimated_slope_scaled")),
        )

    return _built(found, "benchmark_metadata.csv", sorted(used | set(published)), one)


def _with_draws(
    found: IndexFiles, models: tuple[VintageModel, ...], benchmarks: tuple[VintageBenchmark, ...]
) -> tuple[tuple[VintageModel, ...], tuple[VintageBenchmark, ...]]:
    """The same with the published joint draws, if the ZIP has some that fit the published values."""
    if DRAWS_FILE not in found.files:
        return models, benchmarks
    try:
        document = mapping(parsed(found.files[DRAWS_FILE].encode(), f"Epoch: {DRAWS_FILE}"))
        of_models, of_benchmarks = mapping(document.get("model")), mapping(document.get("benchmark"))
        samples = _Samples(mapping(document.get("scaling")))
        index = samples.columns(of_models, "capability_samples")
        difficulty = samples.columns(of_benchmarks, "difficulty_samples")
        slope = samples.columns(of_benchmarks, "slope_samples")
    except (LayoutError, ValueError) as error:
        found.problems.append(str(error))
        return models, benchmarks
    scale = samples.scale_of(index, {row.model: row.index for row in models if row.index is not None})
    if scale is None:
        found.problems.append(
            f"Epoch: {DRAWS_FILE}: the draws do not lie around the published index; left out"
        )
        return models, benchmarks
    return (
        tuple(replace(row, draws=scale(index.get(row.model, ()))) for row in models),
        tuple(
            replace(
                row,
                difficulty_draws=scale(difficulty.get(row.benchmark, ())),
                slope_draws=slope.get(row.benchmark, ()),
            )
            for row in benchmarks
        ),
    )


class _Samples:
    """Joint draws by name, and the scale that they are on."""

    def __init__(self, scaling: Mapping[str, Any]) -> None:
        self._a = [float(v) for v in listed(scaling.get("per_sample_a")) if number(v) is not None]
        self._b = [float(v) for v in listed(scaling.get("per_sample_b")) if number(v) is not None]

    def columns(self, part: Mapping[str, Any], key: str) -> dict[str, tuple[float, ...]]:
        """The draws of each name.

        Raises:
            ValueError: the table is not of one width, or holds something other than numbers.
        """
        names, rows = [str(name).strip() for name in listed(part.get("names"))], listed(part.get(key))
        if not names or any(not isinstance(row, list) or len(row) != len(names) for row in rows):
            raise ValueError(
                f"Epoch: {DRAWS_FILE}: `{key}` does not have one column per name; draws left out"
            )
        if any(number(value) is None for row in rows for value in row):
            raise ValueError(f"Epoch: {DRAWS_FILE}: `{key}` has a value that is not a number; draws left out")
        columns = zip(*rows, strict=True)
        return dict(zip(names, (tuple(float(v) for v in column) for column in columns), strict=False))

    def scale_of(
        self, drawn: Mapping[str, tuple[float, ...]], published: Mapping[str, float]
    ) -> Callable[[tuple[float, ...]], tuple[float, ...]] | None:
        """The transformation that puts the draws around the published values; None if there is none."""
        n = max((len(column) for column in drawn.values()), default=0)
        a, b = self._a, self._b
        candidates: list[Callable[[tuple[float, ...]], tuple[float, ...]]] = [lambda column: column]
        if len(a) == len(b) == n:
            candidates += [
                lambda column: (
                    tuple(x + y * v for x, y, v in zip(a, b, column, strict=True)) if column else ()
                ),
                lambda column: (
                    tuple(y + x * v for x, y, v in zip(a, b, column, strict=True)) if column else ()
                ),
            ]
        for scale in candidates:
            apart = [
                abs(_median(scale(drawn[name])) - value)
                for name, value in published.items()
                if drawn.get(name)
            ]
            if apart and sum(apart) / len(apart) <= DRAW_DISTANCE:
                return scale
        return None


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


def _built(found: IndexFiles, name: str, rows: Iterable[Any], build: Callable[[Any], Any]) -> tuple[Any, ...]:
    records, problems = built(rows, build)
    found.problems += problems
    return tuple(records)
