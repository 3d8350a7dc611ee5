"""Epoch AI's Benchmarking Hub: one ZIP of CSV files, in either of its two layouts.

The newer one says in `benchmark_metadata.csv` which column of which file is the score; for the older one
that is written down in `COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tracker.ingested import Access, Batch, SourceFacts, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import MAX_BYTES
from tracker.sources.fields import built, day, moment, number, require_columns, required, text
from tracker.sources.one_answer import OneAnswer, address

URL = "https://epoch.ai/data/benchmark_data.zip"
INDEX = "Epoch Capabilities Index"
RUN_BY_EPOCH = "Log viewer"  # a column of the files that Epoch ran itself
VERSION = "Model version"
STDERR = ("stderr", "Accuracy Standard Error", "Accuracy SE")
MAX_FILES = 500
ROUNDING = 0.005  # of a fraction: what averages and rounded percent leave outside 0..1


@dataclass(frozen=True, slots=True)
class Column:
    """Where the scores of one benchmark stand: file, column, and what a 1 in it is worth."""

    benchmark: str
    file: str
    column: str
    scale: float = 1.0


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


FACTS = SourceFacts(
    name="epoch",
    title="Epoch AI Benchmarking Hub",
    url="https://epoch.ai/benchmarks",
    license="CC BY 4.0; rows of external boards keep their own terms",
    attribution="Epoch AI, AI Benchmarking Hub and Capabilities Index, epoch.ai, CC BY 4.0, modified",
    is_whole=True,
)


def source(settings: Settings) -> OneAnswer:
    """Scores that Epoch ran or collected, its index, and what it knows of each model."""
    return OneAnswer(FACTS, address(FACTS, URL, settings), lambda answer: parse(answer.body))


def parse(body: bytes) -> Iterator[Batch]:
    """What the ZIP holds, one batch per file.

    Raises:
        LayoutError: it is no ZIP, too large, or a named column is missing.
    """
    files = _unpack(body)
    if not any(name.endswith(".csv") for name in files):
        raise LayoutError("Epoch: there is no CSV in the ZIP, so its layout has changed")
    models = _newer_models(files) if "model_metadata.csv" in files else _older_models(files)
    yield models
    columns = _newer_columns(files) if "benchmark_metadata.csv" in files else COLUMNS
    for column in columns:
        if column.file not in files:
            yield Batch(missing=(f"Epoch: {column.file} for {column.benchmark} is not in the ZIP",))
            continue
        yield _scores(column, _rows(files, column.file))
    yield _index(files)


def _unpack(body: bytes) -> dict[str, str]:
    """The CSV files by their path, without the folder that all may lie in."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".csv")]
            if len(infos) > MAX_FILES or sum(info.file_size for info in infos) > MAX_BYTES:
                raise LayoutError("Epoch: the ZIP is far larger than it ever was")
            found = {info.filename: archive.read(info).decode("utf-8-sig") for info in infos}
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, EOFError, OSError, RuntimeError) as error:
        raise LayoutError("Epoch: the answer is no whole ZIP of CSV files") from error
    shared = {name.partition("/")[0] for name in found}
    if len(shared) == 1 and all("/" in name for name in found):
        return {name.partition("/")[2]: content for name, content in found.items()}
    return found


def _rows(files: Mapping[str, str], name: str) -> list[dict[str, str]]:
    """The rows that say something; a cell that a short row lacks is empty."""
    reader = csv.DictReader(io.StringIO(files[name]), restkey="", restval="")
    try:
        return [row for row in reader if any(value for key, value in row.items() if key)]
    except csv.Error as error:
        raise LayoutError(f"Epoch: {name}: line {reader.line_num} is no CSV") from error


def _table(files: Mapping[str, str], name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    rows = _rows(files, name)
    header = files[name].partition("\n")[0]
    require_columns(next(csv.reader([header]), []), columns, f"Epoch: {name}")
    return rows


def _newer_columns(files: Mapping[str, str]) -> tuple[Column, ...]:
    rows = _table(files, "benchmark_metadata.csv", METADATA)
    return tuple(
        Column(row["benchmark"].strip(), row["source_file"], row["score_column"], number(row["scale"]) or 1.0)
        for row in rows
        if row["benchmark"].strip() and row["source_file"] and row["score_column"]
    )


def _newer_models(files: Mapping[str, str]) -> Batch:
    columns = ("model_version", "date", "organization", "accessibility")
    rows = _table(files, "model_metadata.csv", columns)
    return _models((r["model_version"], r["organization"], r["accessibility"], r["date"]) for r in rows)


def _older_models(files: Mapping[str, str]) -> Batch:
    name = "epoch_capabilities_index.csv"
    if name not in files:
        raise LayoutError(f"Epoch: neither model_metadata.csv nor {name} is in the ZIP")
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
            access=_access(item[1][2]),
            released_at=moment(item[1][3]),
        ),
    )
    return Batch(models=tuple(models), problems=tuple(problems))


def _access(accessibility: str) -> Access:
    """Epoch's labels: "Open weights (unrestricted)", "API access", "Hosted access (no API)", "Unreleased"."""
    label = accessibility.casefold()
    if label.startswith("open weights"):
        return Access.OPEN
    return Access.CLOSED if label.startswith(("api", "hosted", "unreleased", "closed")) else Access.UNKNOWN


def _scores(column: Column, rows: list[dict[str, str]]) -> Batch:
    if rows:
        require_columns(rows[0], (VERSION, column.column), f"Epoch: {column.file}")
    found, problems = built(rows, lambda row: _score(column, row))
    best: dict[tuple[str, str], SourceScore] = {}
    for score in found:
        known = best.get((score.name, score.variant))
        if known is None or known.value < score.value:  # of several runs the best counts, as in the index
            best[score.name, score.variant] = score
    return Batch(scores=tuple(best.values()), problems=tuple(problems))


def _score(column: Column, row: Mapping[str, str]) -> SourceScore:
    problem = f"Epoch: {column.file}: a row without a model or score"
    name, value = required(row[VERSION], problem), number(row[column.column])
    if value is None:
        raise ValueError(problem)
    value *= column.scale
    if -ROUNDING <= value <= 1 + ROUNDING:  # what is further outside has another scale, and is left out
        value = min(max(value, 0.0), 1.0)
    stderr = next((n for key in STDERR if (n := number(row.get(key))) is not None), None)
    return SourceScore(
        name,
        column.benchmark,
        value,
        variant=text(row.get("Agent")) or "",
        stderr=stderr * column.scale if stderr is not None else None,
        reporter="Epoch AI" if RUN_BY_EPOCH in row else text(row.get("Source")),
        reported_by="third_party" if RUN_BY_EPOCH in row else "unknown",
        source_url=text(row.get(RUN_BY_EPOCH))
        or text(row.get("Source link"))
        or text(row.get("Source Link")),
        evaluated_on=day(text(row.get("Started at")) or text(row.get("Run date"))),
    )


def _index(files: Mapping[str, str]) -> Batch:
    newer = "epoch_capabilities_index/eci_scores.csv"
    if newer in files:
        rows = _table(files, newer, ("Model", "eci", "eci_ci_low", "eci_ci_high"))
        found = [(r["Model"], r["eci"], r["eci_ci_low"], r["eci_ci_high"]) for r in rows]
    elif "epoch_capabilities_index.csv" in files:
        rows = _table(files, "epoch_capabilities_index.csv", (VERSION, "ECI Score"))
        found = [(r[VERSION], r["ECI Score"], "", "") for r in rows]
    else:
        return Batch(missing=("Epoch: the index is not in the ZIP",))
    valued = [
        (name.strip(), value, number(low), number(high))
        for name, raw, low, high in found
        if name.strip() and (value := number(raw)) is not None
    ]
    scores, problems = built(
        valued,
        lambda row: SourceScore(
            row[0], INDEX, row[1], unit="index", ci_low=row[2], ci_high=row[3], reporter="Epoch AI"
        ),
    )
    return Batch(scores=tuple(scores), problems=tuple(problems))
