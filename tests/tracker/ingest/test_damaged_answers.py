"""Answers that a source could send and should not be believed: what was known before is known after."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.doubles.sources_double import (
    HTML,
    SourcesHub,
    arena_boards,
    entry,
    epoch_files,
    parquet,
    recorded,
    token_shares,
    zipped,
)
from tests.tracker.ingest.test_ingest import hub, there
from tracker.ingest.run import ingest_source
from tracker.records.published import IngestOutcome
from tracker.settings import Settings
from tracker.sources import get_source
from tracker.store import Store

__all__ = ["hub", "there"]

GPQA = "gpqa_diamond.csv"
SCORE = "Best score (across scorers)"
MODELS = "model_metadata.csv"
N_GPQA = 160  # as in April 2026
Rows = list[dict[str, str]]


def table(content: str) -> Rows:
    return list(csv.DictReader(io.StringIO(content)))


def as_csv(rows: Rows) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def epoch(change: Callable[[Rows], Rows] | None = None, file: str = GPQA) -> bytes:
    """Epoch's ZIP with 160 GPQA rows, complete; `change` damages one file."""
    files = epoch_files("epoch_newer")
    meta = [row for row in table(files["benchmark_metadata.csv"]) if row["source_file"] in files]
    files["benchmark_metadata.csv"] = as_csv(meta)
    gpqa = table(files[GPQA])
    grown = [gpqa[n % len(gpqa)] | {"Model version": f"model-{n}"} for n in range(N_GPQA - len(gpqa))]
    files[GPQA] = as_csv([*gpqa, *grown])
    if change is not None:
        rows = table(files[file])
        kept = change(rows)
        files[file] = as_csv(kept) if kept else files[file].partition("\n")[0] + "\n"
    return zipped(files)


def without(name: str, value: str = "") -> Callable[[Rows], Rows]:
    return lambda rows: [row | {name: value} for row in rows]


def times(name: str, factor: float) -> Callable[[Rows], Rows]:
    return lambda rows: [row | {name: str(float(row[name]) * factor)} for row in rows]


def renamed(old: str, new: str) -> Callable[[Rows], Rows]:
    return lambda rows: [{new if key == old else key: value for key, value in row.items()} for row in rows]


def arena_rows() -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(arena_boards()["text", "latest"])).to_pylist())


def boards() -> list[tuple[str, list[dict[str, Any]]]]:
    newest = {config: body for (config, split), body in arena_boards().items() if split == "latest"}
    return [(config, pq.read_table(io.BytesIO(body)).to_pylist()) for config, body in newest.items()]


def set_arena(hub: SourcesHub, rows: list[dict[str, Any]]) -> None:
    hub.arena["text", "latest"] = parquet(rows)


def models_dev(change: Callable[[dict[str, Any]], object]) -> bytes:
    """models.dev's answer; `change` edits each model in place."""
    document = recorded("modelsdev__api.json")
    for provider in document.values():
        for model in provider["models"].values():
            change(model)
    return json.dumps(document).encode()


def aa_model(n: int) -> dict[str, Any]:
    return {
        "slug": f"model-{n}",
        "name": f"Model {n}",
        "release_date": "2026-05-01",
        "model_creator": {"name": "Acme"},
        "licensing": {"is_open_weights": n % 3 == 0},
        "evaluations": {"artificial_analysis_intelligence_index": 20.0 + n, "gpqa": (30 + n) / 100},
        "pricing": {"price_1m_input_tokens": 0.5, "price_1m_output_tokens": 2.0},
    }


def aa_pages(models: list[dict[str, Any]], *, n_pages: int = 3) -> list[dict[str, Any]]:
    """The answers of Artificial Analysis in the shape of its free endpoint."""
    size = -(-len(models) // n_pages)
    return [
        {
            "tier": "free",
            "pagination": {
                "page": page,
                "page_size": size,
                "total_pages": n_pages,
                "has_more": page < n_pages,
            },
            "data": models[(page - 1) * size : page * size],
        }
        for page in range(1, n_pages + 1)
    ]


def openrouter(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = recorded("openrouter__api_v1_models")
    change(document)
    return json.dumps(document).encode()


def cut(document: dict[str, Any], **more: Any) -> None:
    document["data"] = document["data"][:20]
    document.update(more)


@dataclass(frozen=True)
class Damage:
    """A source, what becomes of its answer, and a part of the reason."""

    source: str
    apply: Callable[[SourcesHub], object]
    says: str
    status: str = "partial"


def document(path: str, body: bytes) -> Callable[[SourcesHub], object]:
    return lambda hub: hub.documents.update({path: body})


def damaged_epoch(change: Callable[[Rows], Rows], file: str = GPQA) -> Callable[[SourcesHub], object]:
    return lambda hub: hub.documents.update({"/epoch.zip": epoch(change, file)})


DAMAGES = {
    "epoch: a file cut after 11 rows": Damage(
        "epoch", damaged_epoch(lambda rows: rows[:11]), "GPQA diamond: 149 of 160 scores are missing"
    ),
    "epoch: a file with nothing but its header": Damage(
        "epoch", damaged_epoch(lambda rows: []), "gpqa_diamond.csv: no rows"
    ),
    "epoch: percent instead of fractions": Damage(
        "epoch", damaged_epoch(times(SCORE, 100)), "160 of 160 scores lie outside 0..1"
    ),
    "epoch: a hundredth of a fraction": Damage(
        "epoch", damaged_epoch(times(SCORE, 0.01)), "GPQA diamond: values are 1/100 of what they were"
    ),
    "epoch: no errors any more": Damage(
        "epoch", damaged_epoch(without("stderr")), "160 of 160 rows have lost their `stderr`"
    ),
    "epoch: no dates of models": Damage(
        "epoch", damaged_epoch(without("date"), MODELS), "rows have lost their release date"
    ),
    "epoch: no accessibility of models": Damage(
        "epoch", damaged_epoch(without("accessibility"), MODELS), "lost their open or closed label"
    ),
    "epoch: half of the models": Damage(
        "epoch", damaged_epoch(lambda rows: rows[::2], MODELS), "models are missing"
    ),
    "epoch: half of the bytes": Damage(
        "epoch", document("/epoch.zip", epoch()[: len(epoch()) // 2]), "not a valid ZIP", "failed"
    ),
    "epoch: an error page": Damage("epoch", document("/epoch.zip", HTML[2]), "not a valid ZIP", "failed"),
    "epoch: the column of models renamed": Damage(
        "epoch", damaged_epoch(renamed("Model version", "model_version")), "no column `Model version`", "any"
    ),
    "lmarena: 5 rows": Damage(
        "lmarena", lambda hub: set_arena(hub, arena_rows()[:5]), "LMArena text: 35 of 40 scores are missing"
    ),
    "lmarena: no licenses": Damage(
        "lmarena",
        lambda hub: hub.arena.update(
            {(board, "latest"): parquet([row | {"license": ""} for row in rows]) for board, rows in boards()}
        ),
        "lost their open or closed label",
    ),
    "lmarena: ratings in another unit": Damage(
        "lmarena",
        lambda hub: set_arena(hub, [row | {"rating": row["rating"] / 1000} for row in arena_rows()]),
        "LMArena text: values are 1/1,000 of what they were",
    ),
    "lmarena: the column of ratings renamed": Damage(
        "lmarena",
        lambda hub: set_arena(
            hub, [{"score" if k == "rating" else k: v for k, v in r.items()} for r in arena_rows()]
        ),
        "no column `rating`",
        "failed",
    ),
    "models.dev: no label": Damage(
        "models-dev",
        document("/modelsdev.json", models_dev(lambda model: model.pop("open_weights"))),
        "65 of 65 rows have lost their open or closed label",
    ),
    "models.dev: no dates": Damage(
        "models-dev",
        document("/modelsdev.json", models_dev(lambda model: model.pop("release_date", None))),
        "rows have lost their release date",
    ),
    "models.dev: prices per token": Damage(
        "models-dev",
        document(
            "/modelsdev.json",
            models_dev(
                lambda model: (
                    model["cost"].update(
                        {k: v / 1e6 for k, v in model["cost"].items() if isinstance(v, int | float)}
                    )
                    if "cost" in model
                    else None
                )
            ),
        ),
        "`price_in_usd_per_mtok` is 1/1,000,000 of what it was",
    ),
    "models.dev: wrapped in an object": Damage(
        "models-dev",
        document("/modelsdev.json", json.dumps({"providers": recorded("modelsdev__api.json")}).encode()),
        "no provider has `models`",
        "failed",
    ),
    "openrouter: 20 of 35 models, as it says itself": Damage(
        "openrouter",
        document("/openrouter.json", openrouter(lambda one: cut(one, total_count=35))),
        "the list says that it has 35 entries and sent 20",
    ),
    "openrouter: 20 of 35 models, and a next page that is not there": Damage(
        "openrouter",
        document(
            "/openrouter.json",
            openrouter(lambda one: cut(one, total_count=35, links={"next": "/openrouter.json/2"})),
        ),
        "404",
    ),
    "openrouter: 20 of 35 models": Damage(
        "openrouter",
        document("/openrouter.json", openrouter(cut)),
        "the source: 15 of 35 models are missing",
    ),
    "openrouter: no links to weights": Damage(
        "openrouter",
        document(
            "/openrouter.json",
            openrouter(lambda one: [model.pop("hugging_face_id") for model in one["data"]]),
        ),
        "lost their `hub_id`",
    ),
    "artificial analysis: one page of three": Damage(
        "artificial-analysis", lambda hub: hub.pages["/aa.json"].__delitem__(slice(1, None)), "404"
    ),
    "artificial analysis: a page that comes again": Damage(
        "artificial-analysis",
        lambda hub: hub.pages["/aa.json"].__setitem__(1, hub.pages["/aa.json"][0]),
        "the list repeats itself",
    ),
    "artificial analysis: no label": Damage(
        "artificial-analysis",
        lambda hub: [model.pop("licensing") for page in hub.pages["/aa.json"] for model in page["data"]],
        "60 of 60 rows have lost their open or closed label",
    ),
    "artificial analysis: percent instead of fractions": Damage(
        "artificial-analysis",
        lambda hub: [
            model["evaluations"].update(gpqa=model["evaluations"]["gpqa"] * 100)
            for page in hub.pages["/aa.json"]
            for model in page["data"]
        ],
        "gpqa: 60 values are not in 0..1 but percent",
    ),
    "leaderboards of the hub: one is empty": Damage(
        "hub-evals",
        lambda hub: hub.boards.update({"Idavidrein/gpqa": []}),
        "Idavidrein/gpqa: 12 of 12 scores are missing",
    ),
    "shares of tokens: rows cut off": Damage(
        "openrouter-usage",
        lambda hub: hub.documents.update(
            {"/usage.json": json.dumps(token_shares() | {"rows": token_shares()["rows"][:100]}).encode()}
        ),
        "the export says that it has 180 rows",
    ),
    "shares of tokens: percent instead of fractions": Damage(
        "openrouter-usage",
        lambda hub: hub.documents.update(
            {
                "/usage.json": json.dumps(
                    {
                        "rows": [
                            row | {"share_of_daily_tokens": 100 * row["share_of_daily_tokens"]}
                            for row in token_shares()["rows"]
                        ]
                    }
                ).encode()
            }
        ),
        "no records",
        "failed",
    ),
}


def given(there: Settings, hub: SourcesHub) -> Settings:
    """All sources with whole answers."""
    hub.documents["/epoch.zip"] = epoch()
    hub.pages["/aa.json"] = aa_pages([aa_model(n) for n in range(60)])
    claims = recorded("api_models__llama__evalResults")["evalResults"]
    hub.put(entry("acme/claims", tags=["safetensors", "eval-results"], evalResults=claims))
    return there.model_copy(update={"artificial_analysis_key": "aa_0123456789"})


def once(settings: Settings, source: str, **more: Any) -> IngestOutcome:
    return ingest_source(get_source(source, settings), settings, **more)


def on(settings: Settings, day: int) -> Settings:
    return settings.model_copy(update={"fixed_now": datetime(2026, 11, day, 12, tzinfo=UTC)})


def known(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every current row, and every dated value."""
    queries = {
        "models": "select source, key, fingerprint from current_models where not is_gone order by all",
        "scores": "select source, key, fingerprint from current_scores where not is_withdrawn order by all",
        "dated": "select * exclude (ingest_id) from dated_values order by all",
        "changes": "select count(*) from model_snapshots union all select count(*) from published_scores",
    }
    with Store.open(settings) as store:
        return {name: store._connection.execute(query).fetchall() for name, query in queries.items()}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_answer_takes_nothing_away_and_says_what_is_missing(
    there: Settings, hub: SourcesHub, name: str
) -> None:
    damage = DAMAGES[name]
    settings = given(there, hub)
    whole = once(settings, damage.source)
    before = known(settings)
    damage.apply(hub)
    for _ in range(2):
        outcome = once(settings, damage.source)
        assert outcome.status.value in ("partial", "failed"), (whole, outcome)
        assert damage.status in ("any", outcome.status.value)
        assert outcome.n_gone == 0
        assert damage.says in (outcome.reason or "")
        assert known(settings) == before


def test_the_new_values_of_a_damaged_answer_are_stored(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    once(settings, "models-dev")
    answer = json.loads(models_dev(lambda model: model.pop("open_weights")))
    answer["openai"]["models"]["gpt-7"] = {"id": "gpt-7", "release_date": "2026-11-20"}
    hub.documents["/modelsdev.json"] = json.dumps(answer).encode()
    outcome = once(settings, "models-dev")
    assert (outcome.status.value, outcome.n_new, outcome.n_changed) == ("partial", 1, 0)


@pytest.mark.clock
def test_a_source_that_recovers_is_complete_again(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    once(settings, "epoch")
    before = known(settings)
    hub.documents["/epoch.zip"] = epoch(lambda rows: rows[:11])
    once(settings, "epoch")
    hub.documents["/epoch.zip"] = epoch()
    outcome = once(settings, "epoch")
    assert outcome.status.value == "completed"
    assert (outcome.n_new, outcome.n_changed, outcome.n_gone) == (0, 0, 0)
    assert known(settings) == before


@pytest.mark.clock
def test_the_same_answer_on_another_day_withdraws_what_it_lacks(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    once(on(settings, 20), "epoch")
    hub.documents["/epoch.zip"] = epoch(lambda rows: rows[:11])
    first = once(on(settings, 20), "epoch")
    assert "another day" in (first.reason or "")
    second = once(on(settings, 27), "epoch")
    assert (second.status.value, second.n_gone, second.reason) == ("completed", 149, None)


def test_a_unit_is_never_taken_by_repetition_but_by_a_person(there: Settings, hub: SourcesHub) -> None:
    settings, source = given(there, hub), "artificial-analysis"
    once(on(settings, 20), source)
    DAMAGES["artificial analysis: percent instead of fractions"].apply(hub)
    for day in (20, 27, 28):
        outcome = once(on(settings, day), source)
        assert (outcome.status.value, outcome.n_gone) == ("partial", 0)
        assert "another day" not in (outcome.reason or "")
        assert outcome.n_problems == 60  # all of them; fifty are kept as examples
        assert len(outcome.problems) == 50
    accepted = once(on(settings, 28), source, accept=True)
    assert (accepted.status.value, accepted.n_gone) == ("completed", 60)


def test_a_page_that_is_missing_cannot_be_accepted(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    once(settings, "artificial-analysis")
    del hub.pages["/aa.json"][1:]
    outcome = once(settings, "artificial-analysis", accept=True)
    assert (outcome.status.value, outcome.n_gone) == ("partial", 0)


def test_every_page_of_artificial_analysis_is_read_with_its_labels(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    outcome = once(settings, "artificial-analysis")
    assert (outcome.status.value, outcome.n_seen) == ("completed", 60 + 120)
    asked = [line.partition("?")[2] for line in hub.requests if "/aa.json" in line]
    assert asked == ["", "page=2", "page=3"]
    with Store.open(settings) as store:
        rows = store._connection.execute(
            "select access, count(*) from current_models group by all"
        ).fetchall()
    assert dict(rows) == {"open": 20, "closed": 40}


def test_a_key_is_not_sent_to_another_address(there: Settings, hub: SourcesHub) -> None:
    settings = given(there, hub)
    hub.pages["/aa.json"][0]["links"] = {"next": "http://127.0.0.1:9/elsewhere"}
    outcome = once(settings, "artificial-analysis")
    assert outcome.status.value == "partial"
    assert "continues at another address" in (outcome.reason or "")


def test_a_column_of_the_hub_that_is_empty_keeps_its_values(there: Settings, hub: SourcesHub) -> None:
    settings = there.model_copy(update={"hub_page": 1000})
    ever = datetime(2020, 1, 1, tzinfo=UTC)
    hub.put(*(entry(f"acme/m-{n}") for n in range(40)))
    once(settings, "hub-models", since=ever)
    before = known(settings)
    for name in hub.entries:
        hub.entries[name].pop("safetensors")
    outcome = once(settings, "hub-models", since=ever)
    assert outcome.status.value == "partial"
    assert "have lost their `n_params`" in (outcome.reason or "")
    assert known(settings) == before
