"""Models on the Hugging Face Hub: what is trending, what is downloaded most, and what moved since last time.

What moved is walked from the newest backwards to the watermark, which is where the walks of the last complete
ingest began: whatever moved while they went on is seen by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tracker.ingested import Access, Batch, SourceFacts, SourceModel, WeightsAt
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import MAX_BYTES, Answer, Fetcher
from tracker.sources.fields import entries, listed, mapping, moment, text, whole
from tracker.sources.lineage import model_kind, parents
from tracker.sources.pages import pages

MAX_ENTRY_BYTES = 1 << 20  # an ordinary entry has 2 to 10 KB
ABSENT = (401, 404, 410)  # to who has no token, the Hub answers 401 for what is not there
TOO_LARGE = f"an entry is larger than {MAX_BYTES >> 20} MiB and was left out"
OVERLAP = timedelta(hours=1)  # read again: the Hub's list may lag behind what it lists
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
    n_seen: int = 0  # in this walk
    n_listed: int = 0  # in all walks so far
    since: datetime | None = None  # how far back what moved is read
    watermark: datetime | None = (
        None  # of the walks through what moved, the newest that the earlier one began at
    )

    @classmethod
    def parse(cls, raw: str | None, *, hub_url: str) -> Place:
        """The place that was kept; the beginning if it is of another version, or on another Hub."""
        try:
            kept = json.loads(raw or "{}")
            times = {name: moment(kept.get(name)) for name in ("since", "watermark")}
            place = cls(**kept | times)
        except (ValueError, TypeError, AttributeError):
            return cls()
        elsewhere = place.next_url is not None and not place.next_url.startswith(hub_url)
        return cls(since=place.since) if elsewhere else place

    def dump(self) -> str:
        """The place as text."""
        times = {name: mark.isoformat() for name in ("since", "watermark") if (mark := getattr(self, name))}
        return json.dumps(asdict(self) | times)


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
        place = Place.parse(question.resume, hub_url=fetch.hub_url("/"))
        since = question.since or place.since or question.now - timedelta(days=FIRST_DAYS)
        if question.resume is not None and place.since is not None:
            since = min(since, place.since)
        place = replace(place, since=since)
        for number, listing in enumerate(LISTINGS[place.listing :], place.listing):
            place = replace(place, listing=number)
            for batch, at in self._walk(listing, place, fetch, now=question.now):
                place = at
                yield batch
            place = replace(place, listing=number + 1, next_url=None, n_seen=0)
        if place.n_listed == 0:
            raise LayoutError("the Hub lists no model at all")
        yield from watched_models(question, fetch)
        yield Batch(watermark=(place.watermark or question.now) - OVERLAP)

    def _walk(
        self, listing: Listing, place: Place, fetch: Fetcher, *, now: datetime
    ) -> Iterator[tuple[Batch, Place]]:
        """Page by page to the end of this walk, each with the place to go on at."""
        is_first = place.next_url is None
        for page in pages(fetch, first_url(listing, self._page, fetch), resume_url=place.next_url):
            models, problems = parse_page(page.answer) if page.answer else ([], [TOO_LARGE])
            moved = [m.last_modified_at for m in models if m.last_modified_at and m.last_modified_at <= now]
            if listing.is_moved and is_first and moved:
                # what moves while the walks go on lies behind none of their beginnings
                place = replace(place, watermark=min(max(moved), place.watermark or now))
            is_first = False
            place = replace(
                place,
                next_url=page.next_url,
                n_seen=place.n_seen + len(models),
                n_listed=place.n_listed + len(models),
            )
            is_last = page.next_url is None or _is_enough(listing, place, moved)
            after = replace(place, listing=place.listing + 1, next_url=None, n_seen=0) if is_last else place
            yield Batch(models=tuple(models), problems=tuple(problems), resume=after.dump()), place
            if is_last:
                return


def watched_models(question: Question, fetch: Fetcher) -> Iterator[Batch]:
    """What became of models that are measured or queued here: deleted, renamed, with other weights."""
    for model_id, revision in question.watched:
        try:
            answer = fetch.hub(f"/api/models/{model_id}", params=[("expand", name) for name in EXPAND])
        except AbsentError as error:
            is_gone = error.status in ABSENT
            yield Batch(gone=(model_id,)) if is_gone else Batch(problems=(str(error),))
            continue
        model, problem = parse_entry(answer.json())
        if model is None:
            yield Batch(problems=(problem,))
            continue
        renamed = ((model_id, model.name),) if model.key != model_id.casefold() else ()
        yield Batch(models=(model,), renamed=renamed)
        if revision and model.revision and revision != model.revision:
            yield _moved(model.name, revision, model.revision, fetch)


def _moved(model_id: str, measured: str, newest: str, fetch: Fetcher) -> Batch:
    """Which weights there are at the commit that was measured here, and at the newest one."""
    found = []
    for revision in (measured, newest):
        try:
            answer = fetch.hub(f"/api/models/{model_id}/tree/{revision}")
        except AbsentError as error:
            if revision == measured and error.status in ABSENT:
                why = f"{model_id}: commit {revision[:12]} is gone, the history was rewritten"
                return Batch(problems=(why,))
            return Batch(problems=(str(error),))
        hashed = weights_hash(answer.json())
        if hashed is not None:
            found.append(WeightsAt(model_id, revision, hashed))
    return Batch(weights=tuple(found))


def weights_hash(tree: Any) -> str | None:
    """One hash over the names and contents of the safetensors files in a tree; None if it has none."""
    rows = [mapping(row) for row in entries(tree, "the Hub's list of files")]
    files = {
        path: text(mapping(row.get("lfs")).get("oid")) or text(row.get("oid"))
        for row in rows
        if (path := text(row.get("path"))) is not None and path.endswith(".safetensors")
    }
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest() if files else None


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
    tags = [tag for tag in listed(entry.get("tags")) if isinstance(tag, str)]
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
                weights_bytes=whole(sum(n * BYTES.get(kind, 1) for kind, n in counts.items())) or None,
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


def first_url(listing: Listing, page: int, fetch: Fetcher) -> str:
    """The address of the first page of a walk."""
    n = page if listing.n_models is None else min(page, listing.n_models)
    params = [("pipeline_tag", listing.pipeline_tag), ("filter", "safetensors"), ("sort", listing.sort)]
    words = [*params, ("limit", str(n)), *(("expand", name) for name in EXPAND)]
    return fetch.hub_url(f"/api/models?{urlencode(words)}")


def _is_enough(listing: Listing, place: Place, moved: list[datetime]) -> bool:
    if listing.n_models is not None:
        return place.n_seen >= listing.n_models
    return bool(moved) and place.since is not None and min(moved) < place.since
