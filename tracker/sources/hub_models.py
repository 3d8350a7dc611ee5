"""Models on the Hugging Face Hub: trending, most downloaded, and changed since the last ingest.

Changed models are read from the newest back to the watermark, the time at which the last complete ingest
started reading: the next ingest sees whatever changed meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tracker.memory_estimate import stored_bits
from tracker.records.parameter_counts import count_parameters, read_quantization
from tracker.records.published import (
    Access,
    Batch,
    ModelKind,
    SourceFacts,
    SourceModel,
    WeightsAt,
)
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import MAX_BYTES, Fetcher, SourceResponse
from tracker.sources.fields import entries, listed, mapping, moment, repository, text, whole
from tracker.sources.lineage import model_kind, parents
from tracker.sources.pages import pages

MAX_ENTRY_BYTES = 1 << 20  # an ordinary entry has 2 to 10 KB
ABSENT = (401, 404, 410)  # without a token, the Hub answers 401 for a missing repository
TOO_LARGE = f"an entry is larger than {MAX_BYTES >> 20} MiB and was left out"
OVERLAP = timedelta(hours=1)  # read again: the Hub's list may lag behind its repositories
FIRST_DAYS = 7  # of changes, without a watermark: a first ingest takes minutes, not hours
PIPELINES = ("text-generation", "image-text-to-text")  # many chat models also accept images
EXPAND = (
    "author", "baseModels", "cardData", "createdAt", "disabled", "downloads", "gated", "gguf", "lastModified",
    "likes", "pipeline_tag", "private", "safetensors", "sha", "tags", "trendingScore",
)  # fmt: skip
N_TRENDING, N_DOWNLOADED = 500, 1000  # beyond this rank, the order is noise
N_GGUF = 500  # repositories of GGUF files, the most downloaded: one page


@dataclass(frozen=True, slots=True)
class Listing:
    """One pass over the list: its sort order and its end."""

    pipeline_tag: str
    sort: str
    n_models: int | None = None  # None: down to the watermark
    weights: str = "safetensors"  # the format that the repositories must have

    @property
    def is_moved(self) -> bool:
        """Whether this pass reads changed models."""
        return self.n_models is None


LISTINGS = (
    *(
        Listing(pipeline, sort, n)
        for pipeline in PIPELINES
        for sort, n in (("trendingScore", N_TRENDING), ("downloads", N_DOWNLOADED), ("lastModified", None))
    ),
    Listing(PIPELINES[0], "downloads", N_GGUF, "gguf"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Position of an ingest in its passes, stored with every page."""

    listing: int = 0
    next_url: str | None = None
    n_seen: int = 0  # in this pass
    n_listed: int = 0  # in all passes so far
    since: datetime | None = None  # changes since then are read
    watermark: datetime | None = None  # of an earlier pass over changed models: its start

    @classmethod
    def parse(cls, raw: str | None, *, hub_url: str) -> Place:
        """The stored position; the beginning if it is from another version or another Hub."""
        try:
            kept = json.loads(raw or "{}")
            times = {name: moment(kept.get(name)) for name in ("since", "watermark")}
            place = cls(**kept | times)
        except (ValueError, TypeError, AttributeError):
            return cls()
        elsewhere = place.next_url is not None and not place.next_url.startswith(hub_url)
        return cls(since=place.since) if elsewhere else place

    def dump(self) -> str:
        """The position as text."""
        times = {name: mark.isoformat() for name in ("since", "watermark") if (mark := getattr(self, name))}
        return json.dumps(asdict(self) | times)


class HubModels:
    """The models of the Hub that generate text: those with safetensors, and the most popular GGUF."""

    facts = SourceFacts(
        name="hub-models",
        title="Hugging Face Hub, models",
        url="https://huggingface.co/models",
        license="Hub terms; each model has its own license",
        attribution="Model metadata: Hugging Face Hub",
    )

    def __init__(self, settings: Settings) -> None:
        self._page = settings.hub_page

    def missing_credential(self) -> str | None:
        """None: the Hub lists without a token."""
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield one batch per page, then the state of the watched models."""
        place = Place.parse(request.resume, hub_url=fetch.hub_url("/"))
        since = request.since or place.since or request.now - timedelta(days=FIRST_DAYS)
        if request.resume is not None and place.since is not None:
            since = min(since, place.since)
        place = replace(place, since=since)
        for number, listing in enumerate(LISTINGS[place.listing :], place.listing):
            place = replace(place, listing=number)
            for batch, at in self._walk(listing, place, fetch, now=request.now):
                place = at
                yield batch
            place = replace(place, listing=number + 1, next_url=None, n_seen=0)
        if place.n_listed == 0:
            raise LayoutError("the Hub lists no models")
        yield from watched_models(request, fetch)
        yield Batch(watermark=(place.watermark or request.now) - OVERLAP)

    def _walk(
        self, listing: Listing, place: Place, fetch: Fetcher, *, now: datetime
    ) -> Iterator[tuple[Batch, Place]]:
        """Yield the pages of this pass, each with the position to resume from."""
        is_first = place.next_url is None
        for page in pages(fetch, first_url(listing, self._page, fetch), resume_url=place.next_url):
            models, problems = parse_page(page.answer) if page.answer else ([], [TOO_LARGE])
            moved = [m.last_modified_at for m in models if m.last_modified_at and m.last_modified_at <= now]
            if listing.is_moved and is_first and moved:
                # a model that changes during a pass is newer than the start of every pass
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


def watched_models(request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
    """Check the models that are measured or queued here: deleted, renamed, or with new weights."""
    for model_id, revision in request.watched:
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
    """The weights at the commit that was measured here, and at the newest one."""
    found = []
    for revision in (measured, newest):
        try:
            answer = fetch.hub(f"/api/models/{model_id}/tree/{revision}")
        except AbsentError as error:
            if revision == measured and error.status in ABSENT:
                why = f"{model_id}: commit `{revision[:12]}` no longer exists; the history was rewritten"
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


def parse_page(answer: SourceResponse) -> tuple[list[SourceModel], list[str]]:
    """The models of one page, and the problems of omitted entries.

    Raises:
        LayoutError: it is not a list of models.
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
        raise LayoutError(f"none of the Hub's {len(rows)} entries is a valid model: {problems[0]}")
    return models, problems


def parse_entry(row: Any) -> tuple[SourceModel | None, str]:
    """The model of one entry, or why it has none."""
    entry = mapping(row)
    name = text(entry.get("id")) or text(entry.get("modelId"))
    if name is None:
        return None, f"an entry has no name: {str(row)[:60]}"
    if repository(name) is None:
        return None, f"`{name[:80]}` is no name of a repository"
    if entry.get("private") is True:
        return None, f"{name} is private"
    counts = {str(kind): n for kind, raw in _dtypes(entry).items() if (n := whole(raw)) is not None}
    tags = [tag for tag in listed(entry.get("tags")) if isinstance(tag, str)]
    card = mapping(entry.get("cardData"))
    made_from, kind = parents(entry, card), model_kind(name, entry, tags)
    quantization = read_quantization(mapping(entry.get("config")), tags)
    if kind is ModelKind.QUANTIZED:
        quantization = replace(quantization, is_quantized=True)
    in_gguf = whole(mapping(entry.get("gguf")).get("total")) if not counts else None
    size = count_parameters(
        counts,
        total=whole(mapping(entry.get("safetensors")).get("total")),
        quantization=quantization,
        names=(name, *made_from),
    )
    try:
        return (
            SourceModel(
                name=name,
                hub_id=name,
                organization=text(entry.get("author")) or name.partition("/")[0],
                access=Access.OPEN,
                kind=kind,
                released_at=moment(entry.get("createdAt")),
                last_modified_at=moment(entry.get("lastModified")),
                revision=text(entry.get("sha")),
                license=_license(card, tags),
                gated=text(entry.get("gated")),
                pipeline_tag=text(entry.get("pipeline_tag")),
                n_params=whole(size.n_params) or in_gguf,
                weights_bytes=whole(size.weights_bytes) or _gguf_bytes(in_gguf),
                is_packed=size.is_packed,
                has_safetensors="safetensors" in tags or bool(counts),
                needs_remote_code="custom_code" in tags,
                is_disabled=entry.get("disabled") is True,
                base_models=made_from,
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


def _gguf_bytes(n_params: int | None) -> int | None:
    """Bytes of the file that is taken by default, Q4_K_M: the list names no sizes."""
    return None if n_params is None else round(n_params * stored_bits(4.0) / 8)


def _license(card: Any, tags: list[str]) -> str | None:
    declared = card.get("license")
    if text(declared) == "other":
        return text(card.get("license_name")) or "other"
    if text(declared):
        return text(declared)
    return next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), None)


def first_url(listing: Listing, page: int, fetch: Fetcher) -> str:
    """The address of the first page of a pass."""
    n = page if listing.n_models is None else min(page, listing.n_models)
    params = [("pipeline_tag", listing.pipeline_tag), ("filter", listing.weights), ("sort", listing.sort)]
    words = [*params, ("limit", str(n)), *(("expand", name) for name in EXPAND)]
    return fetch.hub_url(f"/api/models?{urlencode(words)}")


def _is_enough(listing: Listing, place: Place, moved: list[datetime]) -> bool:
    if listing.n_models is not None:
        return place.n_seen >= listing.n_models
    return bool(moved) and place.since is not None and min(moved) < place.since
