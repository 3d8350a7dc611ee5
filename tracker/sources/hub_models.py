"""Models on the Hugging Face Hub: what is trending, what is downloaded most, and what moved since last time.

The Hub's own list endpoint is walked page by page through the client of its library: `list_models` would hide
where a list was cut off, and the answers themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tracker.ingested import Access, Batch, SourceFacts, SourceModel
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import Answer, Fetcher
from tracker.sources.fields import entries, mapping, moment, text, whole
from tracker.sources.lineage import model_kind, parents

MAX_ENTRY_BYTES = 1 << 20  # an ordinary entry has 2 to 10 KB
FIRST_DAYS = 7  # of changes, when there is no watermark: a first ingest takes minutes, not hours
PIPELINES = ("text-generation", "image-text-to-text")  # many chat models see pictures too
EXPAND = (
    "author", "baseModels", "cardData", "createdAt", "disabled", "downloads", "gated", "lastModified",
    "likes", "pipeline_tag", "private", "safetensors", "sha", "tags", "trendingScore",
)  # fmt: skip
N_TRENDING, N_DOWNLOADED = 500, 1000  # beyond these the ranking is noise
BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
PACKED = ("I32", "U8", "I8", "U32")  # of quantized checkpoints: several weights in one value


@dataclass(frozen=True, slots=True)
class Listing:
    """One walk through the list: sorted by what, and where it ends."""

    pipeline_tag: str
    sort: str
    n_models: int | None = None  # None: until what is older than the watermark

    @property
    def is_moved(self) -> bool:
        """Whether this is the walk through what moved."""
        return self.n_models is None


LISTINGS = tuple(
    Listing(pipeline, sort, n)
    for pipeline in PIPELINES
    for sort, n in (("trendingScore", N_TRENDING), ("downloads", N_DOWNLOADED), ("lastModified", None))
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the walks an ingest is: kept with every page."""

    listing: int = 0
    next_url: str | None = None
    n_seen: int = 0
    watermark: datetime | None = None  # the newest that was seen

    @classmethod
    def parse(cls, raw: str | None) -> Place:
        """The place that was kept; the beginning if it is of another version."""
        try:
            kept = json.loads(raw or "{}")
            return cls(**kept | {"watermark": moment(kept.get("watermark"))})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def dump(self) -> str:
        """The place as text."""
        mark = self.watermark.isoformat() if self.watermark else None
        return json.dumps(asdict(self) | {"watermark": mark})


class HubModels:
    """The models of the Hub that generate text and have safetensors."""

    facts = SourceFacts(
        name="hub-models",
        title="Hugging Face Hub, models",
        url="https://huggingface.co/models",
        license="Hub terms; each model has its own licence",
        attribution="Model metadata: Hugging Face Hub",
    )

    def __init__(self, settings: Settings) -> None:
        self._page = settings.hub_page

    def missing_credential(self) -> str | None:
        """None: the Hub lists without a token."""
        return None

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """One batch per page, then what became of the watched models."""
        place = Place.parse(question.resume)
        since = question.since or question.now - timedelta(days=FIRST_DAYS)
        for number, listing in enumerate(LISTINGS[place.listing :], place.listing):
            place = replace(place, listing=number)
            for batch, at in self._walk(listing, place, since, fetch, now=question.now):
                place = at
                yield batch
            place = replace(place, listing=number + 1, next_url=None, n_seen=0)
        if place.watermark is None:
            raise LayoutError("the Hub lists no model at all")
        yield from watched_models(question, fetch)
        yield Batch(watermark=min(place.watermark, question.now))

    def _walk(
        self, listing: Listing, place: Place, since: datetime, fetch: Fetcher, *, now: datetime
    ) -> Iterator[tuple[Batch, Place]]:
        """Page by page to the end of this walk; ends at once where a page comes again."""
        url, seen = place.next_url or "/api/models", {place.next_url}
        params = () if place.next_url else _params(listing, self._page)
        pages: set[str] = set()
        is_resumed = place.next_url is not None
        while True:
            try:
                answer = fetch.hub(url, params=params)
            except AbsentError:
                if not is_resumed or pages:
                    raise
                url, params, is_resumed = "/api/models", _params(listing, self._page), False
                continue  # the place that was kept has expired
            if answer.sha256 in pages and answer.body.strip() != b"[]":
                raise LayoutError(f"the Hub's list repeats itself after {place.n_seen} models")
            pages.add(answer.sha256)
            models, problems = parse_page(answer)
            moved = [m.last_modified_at for m in models if m.last_modified_at and m.last_modified_at <= now]
            newest = max([*moved, *([place.watermark] if place.watermark else [])], default=None)
            is_last = answer.next_url is None or _is_enough(listing, place.n_seen + len(models), moved, since)
            place = replace(
                place, next_url=answer.next_url, n_seen=place.n_seen + len(models), watermark=newest
            )
            after = replace(place, listing=place.listing + 1, next_url=None, n_seen=0) if is_last else place
            yield Batch(models=tuple(models), problems=tuple(problems), resume=after.dump()), place
            if is_last or answer.next_url is None:
                return
            if answer.next_url in seen:
                raise LayoutError(f"the Hub's list repeats itself after {place.n_seen} models")
            seen.add(answer.next_url)
            url, params = answer.next_url, ()


def watched_models(question: Question, fetch: Fetcher) -> Iterator[Batch]:
    """What became of models that are measured or queued here: deleted, renamed, or their commit is gone."""
    for model_id, revision in question.watched:
        try:
            answer = fetch.hub(f"/api/models/{model_id}", params=[("expand[]", name) for name in EXPAND])
        except AbsentError:
            yield Batch(gone=(model_id,))
            continue
        model, problem = parse_entry(answer.json())
        if model is None:
            yield Batch(problems=(problem,))
            continue
        renamed = ((model_id, model.name),) if model.key != model_id.casefold() else ()
        problems: tuple[str, ...] = ()
        if revision and revision != model.revision:
            try:
                fetch.hub(f"/api/models/{model.name}/revision/{revision}", params=[("expand[]", "sha")])
            except AbsentError:
                problems = (f"{model.name}: commit {revision[:12]} is gone, the history was rewritten",)
        yield Batch(models=(model,), renamed=renamed, problems=problems)


def parse_page(answer: Answer) -> tuple[list[SourceModel], list[str]]:
    """The models of one page, and what was left out.

    Raises:
        LayoutError: it is no list of models.
    """
    rows = entries(answer.json(), "the Hub's list of models")
    models, problems = [], []
    large = len(answer.body) > MAX_ENTRY_BYTES
    for row in rows:
        if large and len(json.dumps(row)) > MAX_ENTRY_BYTES:
            name = str(mapping(row).get("id"))[:80]
            problems.append(f"{name}: its entry is larger than {MAX_ENTRY_BYTES >> 20} MiB")
            continue
        model, problem = parse_entry(row)
        if model is None:
            problems.append(problem)
        else:
            models.append(model)
    if rows and not models:
        raise LayoutError(f"none of the Hub's {len(rows)} entries is a model: {problems[0]}")
    return models, problems


def parse_entry(row: Any) -> tuple[SourceModel | None, str]:
    """The model of one entry, or why there is none."""
    entry = mapping(row)
    name = text(entry.get("id")) or text(entry.get("modelId"))
    if name is None:
        return None, f"an entry without a name: {str(row)[:60]}"
    if entry.get("private") is True:
        return None, f"{name}: is private"
    counts = {str(kind): n for kind, raw in _dtypes(entry).items() if (n := whole(raw)) is not None}
    tags = [tag for tag in entry.get("tags") or () if isinstance(tag, str)]
    card = mapping(entry.get("cardData"))
    try:
        return (
            SourceModel(
                name=name,
                hub_id=name,
                organization=text(entry.get("author")) or name.partition("/")[0],
                access=Access.OPEN,
                kind=model_kind(name, entry, tags),
                released_at=moment(entry.get("createdAt")),
                last_modified_at=moment(entry.get("lastModified")),
                revision=text(entry.get("sha")),
                license=_license(card, tags),
                gated=text(entry.get("gated")),
                pipeline_tag=text(entry.get("pipeline_tag")),
                n_params=whole(mapping(entry.get("safetensors")).get("total")),
                weights_bytes=sum(n * BYTES.get(kind, 1) for kind, n in counts.items()) or None,
                is_packed=any(kind in counts for kind in PACKED),
                has_safetensors="safetensors" in tags or bool(counts),
                needs_remote_code="custom_code" in tags,
                is_disabled=entry.get("disabled") is True,
                base_models=parents(entry, card),
                downloads=whole(entry.get("downloads")),
                likes=whole(entry.get("likes")),
                trending=whole(entry.get("trendingScore")),
            ),
            "",
        )
    except ValueError as error:
        return None, str(error)


def _dtypes(entry: Any) -> Any:
    return mapping(mapping(entry.get("safetensors")).get("parameters"))


def _license(card: Any, tags: list[str]) -> str | None:
    declared = card.get("license")
    if text(declared) == "other":
        return text(card.get("license_name")) or "other"
    if text(declared):
        return text(declared)
    return next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)


def _params(listing: Listing, page: int) -> list[tuple[str, str]]:
    n = page if listing.n_models is None else min(page, listing.n_models)
    params = [("pipeline_tag", listing.pipeline_tag), ("filter", "safetensors"), ("sort", listing.sort)]
    return [*params, ("limit", str(n)), *(("expand[]", name) for name in EXPAND)]


def _is_enough(listing: Listing, n_seen: int, moved: list[datetime], since: datetime) -> bool:
    if listing.n_models is not None:
        return n_seen >= listing.n_models
    return bool(moved) and min(moved) < since
