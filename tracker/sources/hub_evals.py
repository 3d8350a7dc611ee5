"""Scores on the Hugging Face Hub: claims in model repositories, and leaderboards of benchmark datasets.

The unit of a value is not declared: most are percent, some are fractions. On a leaderboard with values
above 1, a value of 1 or less is left out rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from huggingface_hub import get_token

from tracker.records.published import Batch, SourceFacts, SourceScore
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import day, entries, listed, mapping, number, text
from tracker.sources.pages import pages

MAX_PAGES = 200


class HubEvals:
    """Claims in model repositories and on the leaderboards of official benchmarks."""

    facts = SourceFacts(
        name="hub-evals",
        title="Hugging Face Hub, evaluation results",
        url="https://huggingface.co/docs/hub/eval-results",
        license="Hub terms; each repository has its own license",
        attribution="Evaluation results: Hugging Face Hub, as reported by the authors named with each",
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._page = settings.hub_page

    def missing_credential(self) -> str | None:
        """None: leaderboards that need a token are left out and reported."""
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield one batch per leaderboard, then one per page of model repositories with results."""
        del request  # the boards change in place, so the whole is read each time
        listed = fetch.hub("/api/datasets", params=[("filter", "benchmark:official")])
        boards = entries(listed.json(), "the Hub's list of benchmarks")
        if not boards:
            raise LayoutError("the Hub lists no benchmarks")
        for board in boards:
            name = text(mapping(board).get("id"))
            if name is None:
                raise LayoutError("a benchmark in the Hub's list has no `id`")
            try:
                answer = fetch.hub(f"/api/datasets/{name}/leaderboard", params=[("base_model", "false")])
            except AbsentError as error:
                if error.status in (401, 403) and get_token() is None:
                    why = f"the leaderboard of {name} needs a token: run `hf auth login`"
                    yield Batch(problems=(why,), unread=(name,))
                    continue
                yield Batch(missing=(f"the leaderboard of {name} is not available: {error}",))
                continue
            yield parse_board(name, answer.json())
        yield from self._repositories(fetch)

    def _repositories(self, fetch: Fetcher) -> Iterator[Batch]:
        words = [("filter", "eval-results"), ("sort", "lastModified"), ("limit", str(self._page))]
        first = fetch.hub_url(f"/api/models?{urlencode([*words, ('expand', 'evalResults')])}")
        for n_pages, page in enumerate(pages(fetch, first)):
            if n_pages == MAX_PAGES:
                yield Batch(missing=(f"the Hub lists more than {MAX_PAGES} pages of models with results",))
                return
            if page.answer is None:
                yield Batch(missing=("the entry of a model with results is too large",))
                continue
            rows = entries(page.answer.json(), "the Hub's list of models")
            found = [parse_repository(mapping(row)) for row in rows]
            scores = tuple(score for batch in found for score in batch.scores)
            yield Batch(scores=scores, problems=tuple(p for batch in found for p in batch.problems))


def parse_board(dataset: str, document: Any) -> Batch:
    """The scores of one leaderboard."""
    rows = [mapping(row) for row in entries(document, f"the leaderboard of {dataset}")]
    values = [value for row in rows if (value := number(row.get("value"))) is not None]
    is_percent = max(values, default=0.0) > 1.0
    scores: list[SourceScore] = []
    problems: list[str] = []
    for row in rows:
        name, value = text(row.get("modelId")), number(row.get("value"))
        if name is None or value is None:
            problems.append(f"{dataset}: an entry lacks its model or value")
            continue
        if is_percent and 0.0 < value <= 1.0:
            problems.append(f"{dataset}: {name}: {value} may be a fraction or percent")
            continue
        source, author = mapping(row.get("source")), mapping(row.get("author"))
        entry = {
            "name": name,
            "benchmark": dataset,
            "value": value / 100 if is_percent else value,
            "variant": _variant(row),
            "reported_by": _reported_by(row, name, text(author.get("name"))),
            "reporter": text(author.get("name")),
            "source_url": text(source.get("url")),
            "is_verified": row.get("verified") is True,
        }
        _add(scores, problems, entry)
    return Batch(scores=tuple(scores), problems=tuple(problems))


def parse_repository(repository: Mapping[str, Any]) -> Batch:
    """The scores that one repository claims."""
    name = text(repository.get("id"))
    if name is None:
        return Batch(problems=("a model with results has no name",))
    scores: list[SourceScore] = []
    problems: list[str] = []
    for result in listed(repository.get("evalResults")):
        row = mapping(result)
        data = mapping(row.get("data"))
        dataset = mapping(data.get("dataset"))
        benchmark, value = text(dataset.get("id")), number(data.get("value"))
        if benchmark is None or value is None:
            why = text(row.get("error")) or "no benchmark or no number"
            problems.append(f"{name}: {text(row.get('filename')) or 'a result'}: {why}")
            continue
        source = mapping(data.get("source"))
        entry = {
            "name": name,
            "benchmark": benchmark,
            "value": value if value <= 1.0 else value / 100,
            "variant": _variant({**row, "notes": data.get("notes"), "task": dataset.get("task_id")}),
            "reported_by": _reported_by(row, name, text(source.get("org")) or text(source.get("user"))),
            "reporter": text(source.get("org")) or text(source.get("user")),
            "source_url": text(source.get("url")),
            "evaluated_on": day(data.get("date")),
            "is_verified": row.get("verified") is True,
        }
        _add(scores, problems, entry)
    return Batch(scores=tuple(scores), problems=tuple(problems))


def _add(scores: list[SourceScore], problems: list[str], entry: dict[str, Any]) -> None:
    try:
        scores.append(SourceScore(**entry))
    except ValueError as error:
        problems.append(str(error))


def _variant(row: Mapping[str, Any]) -> str:
    parts = [text(row.get(key)) for key in ("task", "filename", "notes")]
    pull = row.get("pullRequest")
    return " · ".join([part for part in parts if part] + ([f"pull request {pull}"] if pull else []))


def _reported_by(row: Mapping[str, Any], name: str, author: str | None) -> str:
    """Who reports the score: a verified run counts as third party; an open pull request may be anybody's."""
    if row.get("verified") is True:
        return "third_party"
    owner = name.partition("/")[0].casefold()
    if row.get("pullRequest") or (author is not None and author.casefold() != owner):
        return "unknown"
    return "first_party"
