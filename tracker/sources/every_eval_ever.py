"""Every Eval Ever: evaluation records of some 25 collections in one format, from its datastore on the Hub.

A record is a file of its own and never changes, so each is asked for once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracker.ingested import Batch, SourceFacts, SourceScore
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import day, entries, mapping, number, parsed, text, whole

DATASET = "evaleval/EEE_datastore"
INDEXES = "flat/indexes/by_collection"
AT_ONCE = 50  # records in a batch
MAX_RECORDS = 5000  # asked for in one ingest; the next one goes on with the rest
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

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """Batches of records that have not been read before."""
        del question
        listed = fetch.hub(f"/api/datasets/{DATASET}/tree/main/{INDEXES}")
        paths = [text(mapping(entry).get("path")) for entry in entries(listed.json(), DATASET)]
        indexes = sorted(path for path in paths if path and path.endswith(".jsonl"))
        if not indexes:
            raise LayoutError(f"{DATASET}: there is no index in {INDEXES}")
        left = MAX_RECORDS
        for index in indexes:
            objects = parse_index(fetch.hub(_file(index)).body, where=index)
            for start in range(0, len(objects), AT_ONCE):
                batch, n_asked = _records(objects[start : start + AT_ONCE], fetch, left)
                left -= n_asked
                yield batch
            if left <= 0:
                yield Batch(missing=(f"{DATASET}: more than {MAX_RECORDS} new records; the rest next time",))
                return


def parse_index(body: bytes, *, where: str) -> list[str]:
    """The paths of the records that an index names.

    Raises:
        LayoutError: a line is no JSON, or names no record.
    """
    found = []
    for number_, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        path = text(mapping(parsed(line, f"{where}: line {number_}")).get("object_path"))
        if path is None or not path.startswith("flat/objects/") or ".." in path:
            raise LayoutError(f"{where}: line {number_} has no `object_path`, so its layout has changed")
        found.append(path)
    return found


def parse_record(document: Any) -> Batch:
    """The scores of one record."""
    record = mapping(document)
    model, meta = mapping(record.get("model_info")), mapping(record.get("source_metadata"))
    name = text(model.get("id")) or text(model.get("name"))
    results = record.get("evaluation_results")
    if name is None or not isinstance(results, list):
        return Batch(problems=(f"{DATASET}: a record without `model_info` or `evaluation_results`",))
    scores, problems = [], []
    for raw in results:
        try:
            score = _score(name, mapping(raw), meta)
        except ValueError as error:
            problems.append(str(error))
            continue
        if score is not None:
            scores.append(score)
    return Batch(scores=tuple(scores), problems=tuple(problems))


def _score(name: str, result: Any, meta: Any) -> SourceScore | None:
    """One result as a fraction of its own range; None if it names no range or lower is better."""
    config, details = mapping(result.get("metric_config")), mapping(result.get("score_details"))
    value, low, high = (
        number(details.get("score")), number(config.get("min_score")), number(config.get("max_score")),
    )  # fmt: skip
    benchmark = text(mapping(result.get("source_data")).get("dataset_name")) or text(
        result.get("evaluation_name")
    )
    if value is None or low is None or high is None or low >= high or benchmark is None:
        return None
    if config.get("lower_is_better") is True:
        return None
    doubt = mapping(details.get("uncertainty"))
    error = number(mapping(doubt.get("standard_error")).get("value"))
    interval = mapping(doubt.get("confidence_interval"))
    scaled = [
        None if bound is None else (bound - low) / (high - low)
        for bound in (number(interval.get("lower")), number(interval.get("upper")))
    ]
    return SourceScore(
        name,
        benchmark,
        (value - low) / (high - low),
        variant=text(result.get("evaluation_name")) or "",
        stderr=error / (high - low) if error is not None else None,
        ci_low=scaled[0],
        ci_high=scaled[1],
        n_items=whole(doubt.get("num_samples")),
        reported_by=RELATION.get(str(meta.get("evaluator_relationship")), "unknown"),
        reporter=text(meta.get("source_organization_name")),
        source_url=text(meta.get("source_organization_url")),
        evaluated_on=day(result.get("evaluation_timestamp")),
    )


def _records(paths: list[str], fetch: Fetcher, left: int) -> tuple[Batch, int]:
    """The records at these paths, of which at most `left` are asked for; and how many were."""
    scores: list[SourceScore] = []
    problems: list[str] = []
    n_asked = 0
    for path in paths:
        answer = fetch.known(fetch.hub_url(_file(path)))
        if answer is None:
            if n_asked >= left:
                break
            n_asked += 1
            try:
                answer = fetch.hub(_file(path))
            except AbsentError as error:
                problems.append(str(error))
                continue
        batch = parse_record(answer.json())
        scores += batch.scores
        problems += batch.problems
    return Batch(scores=tuple(scores), problems=tuple(problems)), n_asked


def _file(path: str) -> str:
    return f"/datasets/{DATASET}/resolve/main/{path}"
