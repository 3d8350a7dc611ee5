"""Epoch AI's Benchmarking Hub: one ZIP of CSV files, in either of its two layouts.

The newer one lists the score's file and column in `benchmark_metadata.csv`; for the older one they are listed
in `COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from tracker.records.published import Batch, SourceFacts, SourceModel, SourceScore
from tracker.records.vintages import VintageData, VintageModel
from tracker.settings import Settings
from tracker.sources.epoch_index import DRAWS_FILE, OLDER_FILE, IndexFiles, access, read_index
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import MAX_BYTES
from tracker.sources.fields import built, day, moment, number, require_columns, required, text
from tracker.sources.one_answer import OneAnswer, address

URL = "https://epoch.ai/data/benchmark_data.zip"
INDEX = "Epoch Capabilities Index"
RUN_BY_EPOCH = "Log viewer"  # a column in files of benchmarks that Epoch ran itself
VERSION = "Model version"
STDERR = ("stderr", "Accuracy Standard Error", "Accuracy SE")
MAX_FILES = 500
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
ROUNDING = 0.005  # of a fraction: how far averages and rounded percentages may lie outside 0..1


IndexRow = tuple[str, float, float | None, float | None]  # model, index, ends of its interval


@dataclass(frozen=True, slots=True)
class Column:
    """Location of a benchmark's scores: file, column, and the factor that makes them fractions."""

    benchmark: str
    file: str
    column: str
    scale: float = 1.0
    unit: str = "fraction"


BEST = "Best score (across scorers)"
# epoch-research/eci-public `src/eci/dataloader.py` and benchmark_metadata.csv of 2026-10
COLUMNS = (
    Column("Aider polyglot", "aider_polyglot_external.csv", "Percent correct", 0.01),
    Column("GPQA diamond", "gpqa_diamond.csv", BEST),
    Column("HLE", "hle_external.csv", "Accuracy"),
    Column("METR Time Horizons", "metr_time_horizons_external.csv", "average_score"),
    Column("MMLU", "mmlu_external.csv", "EM"),
    Column("OTIS Mock AIME 2024-2025", "otis_mock_aime_2024_2025.csv", BEST),
    Column("SimpleBench", "simplebench_external.csv", "Score (AVG@5)"),
    Column("Terminal Bench", "terminalbench_external.csv", "Accuracy mean"),
    Column("Winogrande", "wino_grande_external.csv", "Accuracy"),
)
METADATA = ("benchmark", "in_eci", "source_file", "score_column", "scale")
# names of a score's column in files that `benchmark_metadata.csv` does not describe, the best first
SCORE_COLUMNS = (BEST, "Score", "Accuracy", "mean_score", "Overall score", "Average", "EM")
DAYS = ("Started at", "Run date", "Date of evaluation")


FACTS = SourceFacts(
    name="epoch",
    title="Epoch AI Benchmarking Hub",
    url="https://epoch.ai/benchmarks",
    license="CC BY 4.0 for its own evaluations and the index; collected scores keep their own terms",
    attribution="Epoch AI, AI Benchmarking Hub and Capabilities Index, epoch.ai, CC BY 4.0, modified; scores "
    "collected from leaderboards, papers and model cards keep their own terms",
    is_whole=True,
)


def source(settings: Settings) -> OneAnswer:
    """Scores that Epoch ran or collected, its index, and its facts about each model."""
    today = settings.now().date()
    return OneAnswer(FACTS, address(FACTS, URL, settings), lambda answer: parse(answer.body, today=today))


def parse(body: bytes, *, today: date | None = None) -> Iterator[Batch]:
    """Parse the ZIP, one batch per file, and the index at the end.

    A file that lacks a column or a value in a known unit costs its own benchmark alone. A date after `today`
    (default: the day of this machine's clock) is a mistake in the data.

    Raises:
        LayoutError: it is not a ZIP, is too large, or its list of models lacks a column.
    """
    parsed_at = datetime.now(UTC)
    today = today or parsed_at.date()
    files = _unpack(body)
    if not any(name.endswith(".csv") for name in files):
        raise LayoutError("Epoch: the ZIP contains no CSV file; its layout may have changed")
    yield _newer_models(files) if "model_metadata.csv" in files else _older_models(files)
    is_newer = "benchmark_metadata.csv" in files
    facts = _table(files, "benchmark_metadata.csv", METADATA) if is_newer else []
    columns = _newer_columns(files, facts) if is_newer else COLUMNS
    days: set[date] = set()
    for column in columns:
        yield _file(files, column, days)
    if not is_newer:
        yield _passed_over(files)
    yield _index(files, facts, days, today)


def _file(files: Mapping[str, str], column: Column, days: set[date]) -> Batch:
    """The scores of one benchmark; if the file is unreadable, what is known of the benchmark stays."""
    unread = (column.benchmark,)
    if not column.file:
        return Batch(
            problems=(f"Epoch: the ZIP lacks a file with scores for {column.benchmark}",), unread=unread
        )
    if column.file not in files:
        return Batch(missing=(f"Epoch: the ZIP lacks `{column.file}` for {column.benchmark}",), unread=unread)
    try:
        rows = _rows(files, column.file)
        found = _scores(column, rows)
    except LayoutError as error:
        return Batch(missing=(str(error),), unread=unread)
    days |= {known for row in rows for name in DAYS if (known := day(text(row.get(name)))) is not None}
    return found


def _passed_over(files: Mapping[str, str]) -> Batch:
    """A note of the files that the older layout does not describe."""
    known = {column.file for column in COLUMNS} | {OLDER_FILE}
    others = sorted(name for name in files if name.endswith(".csv") and name not in known)
    if not others:
        return Batch()
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return Batch(
        problems=(f"Epoch: not described in this layout, so not read: {', '.join(others[:3])}{more}",)
    )


def _unpack(body: bytes) -> dict[str, str]:
    """The CSV files by path, without a folder that contains all of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            infos = [
                info
                for info in archive.infolist()
                if info.filename.endswith(".csv") or info.filename.endswith(DRAWS_FILE)
            ]
            if len(infos) > MAX_FILES or sum(info.file_size for info in infos) > MAX_BYTES:
                raise LayoutError("Epoch: the ZIP is much larger than expected")
            found = {info.filename: archive.read(info).decode("utf-8-sig") for info in infos}
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        UnicodeDecodeError,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:
        raise LayoutError("Epoch: the download is not a valid ZIP of CSV files") from error
    shared = {name.partition("/")[0] for name in found}
    if len(shared) == 1 and all("/" in name for name in found):
        return {name.partition("/")[2]: content for name, content in found.items()}
    return found


def _rows(files: Mapping[str, str], name: str) -> list[dict[str, str]]:
    """The non-empty rows; missing cells of a short row are empty."""
    reader = csv.DictReader(io.StringIO(files[name]), restkey="", restval="")
    try:
        return [row for row in reader if any(value for key, value in row.items() if key)]
    except csv.Error as error:
        raise LayoutError(f"Epoch: line {reader.line_num} of `{name}` is not valid CSV") from error


def _table(files: Mapping[str, str], name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    rows = _rows(files, name)
    header = files[name].partition("\n")[0]
    require_columns(next(csv.reader([header]), []), columns, f"Epoch: {name}")
    return rows


def _newer_columns(files: Mapping[str, str], facts: list[dict[str, str]]) -> tuple[Column, ...]:
    return tuple(
        Column(row["benchmark"].strip(), row["source_file"], row["score_column"], number(row["scale"]) or 1.0)
        if row["source_file"] and row["score_column"]
        else _undescribed(files, row["benchmark"].strip())
        for row in facts
        if row["benchmark"].strip()
    )


def _undescribed(files: Mapping[str, str], benchmark: str) -> Column:
    """The column of a benchmark whose file and column the ZIP does not name; without a name if none fits.

    Its scale is not known either: unless every value lies in 0..1, they are points of the benchmark's own.
    """
    stem = re.sub(r"[^a-z0-9]+", "_", benchmark.casefold()).strip("_")
    name = next((one for one in (f"{stem}_external.csv", f"{stem}.csv") if one in files), "")
    if not name:
        return Column(benchmark, "", "")
    try:
        rows = _rows(files, name)
    except LayoutError:
        return Column(benchmark, name, SCORE_COLUMNS[0])  # reading it again says what is wrong with it
    header = list(rows[0]) if rows else []
    column = next((one for one in SCORE_COLUMNS if one in header), "")
    column = column or next((one for one in header if one and "score" in one.casefold()), "")
    if not column:
        return Column(benchmark, "", "")
    values = [value for row in rows if (value := number(row.get(column))) is not None]
    is_fraction = all(0.0 <= value <= 1.0 for value in values)
    return Column(benchmark, name, column, unit="fraction" if is_fraction else "points")


def _newer_models(files: Mapping[str, str]) -> Batch:
    columns = ("model_version", "date", "organization", "accessibility")
    rows = _table(files, "model_metadata.csv", columns)
    return _models((r["model_version"], r["organization"], r["accessibility"], r["date"]) for r in rows)


def _older_models(files: Mapping[str, str]) -> Batch:
    name = "epoch_capabilities_index.csv"
    if name not in files:
        raise LayoutError(f"Epoch: the ZIP contains neither `model_metadata.csv` nor `{name}`")
    columns = (VERSION, "Release date", "Organization", "Model accessibility")
    rows = _table(files, name, columns)
    return _models((r[VERSION], r["Organization"], r["Model accessibility"], r["Release date"]) for r in rows)


def _models(rows: Iterator[tuple[str, str, str, str]]) -> Batch:
    named = {name: row for row in rows if (name := text(row[0])) is not None}
    models, problems = built(
        named.items(),
        lambda item: SourceModel(
            item[0],
            organization=text(item[1][1]),
            access=access(item[1][2]),
            released_at=moment(item[1][3]),
        ),
    )
    return Batch(models=tuple(models), problems=tuple(problems))


def _scores(column: Column, rows: list[dict[str, str]]) -> Batch:
    if not rows:
        raise LayoutError(f"Epoch: {column.file}: no rows")
    require_columns(rows[0], (VERSION, column.column), f"Epoch: {column.file}")
    if problem := _wrong_unit(column, rows):
        raise LayoutError(problem)
    found, problems = built(rows, lambda row: _score(column, row))
    best: dict[tuple[str, str], SourceScore] = {}
    for score in found:
        known = best.get((score.name, score.variant))
        if known is None or known.value < score.value:  # the best of several runs counts, as in the index
            best[score.name, score.variant] = score
    return Batch(scores=tuple(best.values()), problems=tuple(problems))


def _wrong_unit(column: Column, rows: list[dict[str, str]]) -> str:
    """Why the scores cannot be fractions, if most of them are not; empty otherwise."""
    values = [value * column.scale for row in rows if (value := number(row[column.column])) is not None]
    if not values:
        return f"Epoch: {column.file}: the column `{column.column}` has no values"
    outside = [value for value in values if not -ROUNDING <= value <= 1 + ROUNDING]
    if column.unit != "fraction" or 2 * len(outside) <= len(values):
        return ""
    said = f"{len(outside)} of {len(values)} scores lie outside 0..1, such as {outside[0]:g}"
    return f"Epoch: {column.file}: {said}; the source may have changed its unit"


def _score(column: Column, row: Mapping[str, str]) -> SourceScore:
    problem = f"Epoch: {column.file}: a row lacks its model or score"
    name, value = required(row[VERSION], problem), number(row[column.column])
    if value is None:
        raise ValueError(problem)
    value *= column.scale
    if (
        column.unit == "fraction" and -ROUNDING <= value <= 1 + ROUNDING
    ):  # a value further outside has another scale and is left out
        value = min(max(value, 0.0), 1.0)
    stderr = next((n for key in STDERR if (n := number(row.get(key))) is not None), None)
    return SourceScore(
        name,
        column.benchmark,
        value,
        variant=text(row.get("Agent")) or "",
        unit=column.unit,
        stderr=stderr * column.scale if stderr is not None else None,
        reporter="Epoch AI" if RUN_BY_EPOCH in row else text(row.get("Source")),
        reported_by="third_party" if RUN_BY_EPOCH in row else "unknown",
        source_url=text(row.get(RUN_BY_EPOCH))
        or text(row.get("Source link"))
        or text(row.get("Source Link")),
        evaluated_on=day(text(row.get("Started at")) or text(row.get("Run date"))),
    )


def _index(files: Mapping[str, str], facts: list[dict[str, str]], days: set[date], today: date) -> Batch:
    """The published index: a score and the facts of each model, and the whole as a vintage."""
    found = IndexFiles(files, lambda name: _rows(files, name), today)
    vintage = read_index(found, facts, days)
    if vintage is None:
        missing = found.missing or ["Epoch: the ZIP lacks the index"]
        return Batch(missing=tuple(missing), problems=tuple(found.problems), unread=(INDEX,))
    is_older = OLDER_FILE in files  # whose models and scores are of versions, not of groups
    models, more = built(() if is_older else vintage.models, _group)
    scores, problems = built(_version_scores(files) if is_older else _group_scores(vintage), _index_score)
    return Batch(
        models=tuple(models),
        scores=tuple(scores),
        problems=(*found.problems, *more, *problems),
        missing=tuple(found.missing),
        vintage=vintage,
    )


def _group(row: VintageModel) -> SourceModel:
    return SourceModel(
        row.model,
        organization=row.organization or None,
        access=row.access,
        released_at=moment(row.released),
    )


def _group_scores(vintage: VintageData) -> list[IndexRow]:
    return [
        (row.model, row.index, row.ci_low, row.ci_high) for row in vintage.models if row.index is not None
    ]


def _version_scores(files: Mapping[str, str]) -> list[IndexRow]:
    return [
        (name, value, None, None)
        for row in _rows(files, OLDER_FILE)
        if (name := row[VERSION].strip()) and (value := number(row["ECI Score"])) is not None
    ]


def _index_score(row: IndexRow) -> SourceScore:
    name, value, low, high = row
    return SourceScore(name, INDEX, value, unit="index", ci_low=low, ci_high=high, reporter="Epoch AI")
