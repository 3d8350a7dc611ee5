"""Every Eval Ever: evaluation records of some 25 collections in one format, from its datastore on the Hub.

Each record is a separate file that never changes, so it is downloaded once. Scores that several evaluators
report for one model and benchmark are kept apart; of two records by the same evaluator, the one that the
collection retrieved later counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from tracker.records.published import Batch, SourceFacts, SourceScore
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import day, ends, entries, mapping, moment, number, parsed, text, whole

DATASET = "evaleval/EEE_datastore"
INDEXES = "flat/indexes/by_collection"
MAX_RECORDS = 5000  # per ingest; the next one continues with the rest
MAX_EPOCH_S = 4e9  # the year 2096
RELATION = {"first_party": "first_party", "third_party": "third_party"}


class EveryEvalEver:
    """The aggregate records of the flat datastore."""

    facts = SourceFacts(
        name="every-eval-ever",
        title="Every Eval Ever",
        url=f"https://huggingface.co/datasets/{DATASET}",
        license="MIT; each record names its own source",
        attribution="Evaluation records: Every Eval Ever (evaleval), MIT",
    )

    def __init__(self, settings: Settings) -> None:
        del settings

    def missing_credential(self) -> str | None:
        """None: the datastore is open."""
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield one batch with the scores of all records, in the order in which they were retrieved."""
        del request
        listed = fetch.hub(f"/api/datasets/{DATASET}/tree/main/{INDEXES}")
        paths = [text(mapping(entry).get("path")) for entry in entries(listed.json(), DATASET)]
        indexes = sorted(path for path in paths if path and path.endswith(".jsonl"))
        if not indexes:
            raise LayoutError(f"{DATASET}: no index in {INDEXES}")
        found: list[tuple[float, Batch]] = []
        try:
            n_asked = 0
            for index in indexes:
                for path in parse_index(fetch.hub(_file(index)).body, where=index):
                    record, is_new = _record(path, fetch, may_ask=n_asked < MAX_RECORDS)
                    n_asked += is_new
                    found.append(record)
        finally:
            yield _together(found)
        if n_asked > MAX_RECORDS:
            why = f"{DATASET}: more than {MAX_RECORDS:,} new records; the next ingest reads the rest"
            yield Batch(missing=(why,))


def parse_index(body: bytes, *, where: str) -> list[str]:
    """The paths of the records that an index names.

    Raises:
        LayoutError: a line is not JSON, or names no record.
    """
    found = []
    for number_, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        path = text(mapping(parsed(line, f"{where}: line {number_}")).get("object_path"))
        if path is None or not path.startswith("flat/objects/") or ".." in path:
            raise LayoutError(f"{where}: line {number_} has no `object_path`; its layout may have changed")
        found.append(path)
    return found


def parse_record(document: Any) -> Batch:
    """The scores of one record."""
    record = mapping(document)
    model, meta = mapping(record.get("model_info")), mapping(record.get("source_metadata"))
    name = text(model.get("id")) or text(model.get("name"))
    results = record.get("evaluation_results")
    if name is None or not isinstance(results, list):
        return Batch(problems=(f"{DATASET}: a record lacks `model_info` or `evaluation_results`",))
    scores, problems = [], []
    for raw in results:
        try:
            score = read_result(name, mapping(raw), meta)
        except ValueError as error:
            problems.append(str(error))
            continue
        if score is not None:
            scores.append(score)
    return Batch(scores=tuple(scores), problems=tuple(problems))


def score_range(result: Any) -> tuple[float, float] | None:
    """The least and the highest score of one result; None if it has none or lower is better."""
    config = mapping(mapping(result).get("metric_config"))
    low, high = number(config.get("min_score")), number(config.get("max_score"))
    if low is None and high is None and config.get("score_type") == "binary":
        low, high = 0.0, 1.0
    if low is None or high is None or low >= high or not math.isfinite(high - low):
        return None
    if config.get("lower_is_better") not in (None, False):  # also "true", which the format does not allow
        return None
    return low, high


def read_result(name: str, result: Any, meta: Any) -> SourceScore | None:
    """One result as a fraction of its range; None if it has no range or lower is better."""
    details, given = mapping(result.get("score_details")), score_range(result)
    value = number(details.get("score"))
    benchmark = text(mapping(result.get("source_data")).get("dataset_name")) or text(
        result.get("evaluation_name")
    )
    if value is None or given is None or benchmark is None:
        return None
    low, high = given
    doubt = mapping(details.get("uncertainty"))
    error = number(mapping(doubt.get("standard_error")).get("value"))
    interval = mapping(doubt.get("confidence_interval"))
    scaled = [
        None if bound is None else (bound - low) / (high - low)
        for bound in ends(interval.get("lower"), value, interval.get("upper"))
    ]
    return SourceScore(
        name,
        benchmark,
        (value - low) / (high - low),
        variant=text(result.get("evaluation_name")) or "",
        stderr=error / (high - low) if error is not None and error >= 0 else None,
        ci_low=scaled[0],
        ci_high=scaled[1],
        n_items=whole(doubt.get("num_samples")) or None,
        reported_by=RELATION.get(str(meta.get("evaluator_relationship")), "unknown"),
        reporter=text(meta.get("source_organization_name")),
        source_url=text(meta.get("source_organization_url")),
        evaluated_on=_evaluated_on(result.get("evaluation_timestamp")),
        is_per_reporter=True,
    )


def _evaluated_on(stamp: Any) -> date | None:
    """The day of an evaluation, which a record may also give in seconds since 1970."""
    seconds_ = number(stamp)
    if day(stamp) is not None or seconds_ is None or not 0 < seconds_ < MAX_EPOCH_S:
        return day(stamp)
    return datetime.fromtimestamp(seconds_, UTC).date()


def _record(path: str, fetch: Fetcher, *, may_ask: bool) -> tuple[tuple[float, Batch], bool]:
    """The record at this path with the time of its retrieval, and whether it was not stored here yet."""
    answer = fetch.known(fetch.hub_url(_file(path)))
    is_new = answer is None
    if answer is None:
        if not may_ask:
            return (0.0, Batch()), True
        try:
            answer = fetch.hub(_file(path))
        except AbsentError as error:
            return (0.0, Batch(problems=(str(error),))), True
    document = answer.json()
    return (_retrieved_s(document), parse_record(document)), is_new


def _retrieved_s(document: Any) -> float:
    """When the collection retrieved the record, in seconds since 1970; 0 if it does not say."""
    return seconds(mapping(document).get("retrieved_timestamp")) or 0.0


def seconds(stamp: Any) -> float | None:
    """A time of a record in seconds since 1970, which it may also give as a date; None if it is neither."""
    at = moment(stamp)
    return number(stamp) or (at.timestamp() if at else None)


def _together(records: list[tuple[float, Batch]]) -> Batch:
    in_order = [batch for _, batch in sorted(records, key=lambda record: record[0])]
    return Batch(
        scores=tuple(score for batch in in_order for score in batch.scores),
        problems=tuple(problem for batch in in_order for problem in batch.problems),
    )


def _file(path: str) -> str:
    return f"/datasets/{DATASET}/resolve/main/{path}"
