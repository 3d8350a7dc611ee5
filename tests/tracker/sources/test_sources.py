"""The sources: what real answers become, and what is said of answers that cannot be right."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.doubles.sources_double import (
    FIXTURES,
    entry,
    epoch_zip,
    parquet,
    recorded,
)
from tracker.ingest.guard import without_future
from tracker.records.published import (
    Access,
    Batch,
    ModelKind,
    SourceModel,
    SourceScore,
)
from tracker.settings import Settings
from tracker.sources import SOURCES, epoch, get_source, lmarena, models_dev, openrouter
from tracker.sources.artificial_analysis import parse as parse_artificial_analysis
from tracker.sources.errors import LayoutError
from tracker.sources.every_eval_ever import parse_index, parse_record
from tracker.sources.fields import moment
from tracker.sources.hub_evals import parse_board, parse_repository
from tracker.sources.hub_models import parse_entry

HUB = FIXTURES.parent / "hub"


def hub_entry(name: str) -> dict[str, Any]:
    body = json.loads((HUB / f"api_models__{name}.response.json").read_text())["response"]["body"]
    assert isinstance(body, dict)
    return body


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_names_its_licence_and_whom_to_credit(name: str) -> None:
    facts = get_source(name, Settings()).facts
    assert facts.name == name
    assert facts.license
    assert facts.attribution
    assert facts.url.startswith("https://")


def test_a_listed_model_becomes_a_record() -> None:
    model, problem = parse_entry(hub_entry("Qwen__Qwen3-8B__expand"))
    assert (model, problem) == (model, "")
    assert model is not None
    assert (model.name, model.access, model.kind) == ("Qwen/Qwen3-8B", Access.OPEN, ModelKind.CHAT)
    assert (model.n_params, model.license, model.gated) == (8_190_735_360, "apache-2.0", None)
    assert model.weights_bytes == 16_381_470_720
    assert model.revision == "b968826d9c46dd6066d109eabc6255188de91218"


def test_a_repository_of_gguf_files_has_the_parameters_that_the_hub_read_in_them() -> None:
    model, problem = parse_entry(hub_entry("case_gguf_no_safetensors__uukuguy__speechless-coder-ds-6.7b"))
    assert (problem, model is not None) == ("", True)
    assert model is not None
    assert (model.n_params, model.has_safetensors) == (6_740_512_768, False)
    assert model.weights_bytes == round(6_740_512_768 * 4.89 / 8)  # of the file that is taken by default


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("case_adapter__fblgit__pancho-v1-qw25-3B-UNAMGS", ModelKind.ADAPTER),
        ("meta-llama__Llama-3.1-8B-Instruct__expand", ModelKind.CHAT),
        ("deepseek-ai__DeepSeek-V3__expand", ModelKind.CHAT),
        ("openai__gpt-oss-20b__expand", ModelKind.CHAT),
    ],
)
def test_copies_and_adapters_are_told_from_models_of_their_own(name: str, kind: ModelKind) -> None:
    model, _ = parse_entry(hub_entry(name))
    assert model is not None
    assert model.kind is kind


@pytest.mark.parametrize(
    ("name", "more", "kind"),
    [
        ("acme/atlas-8b", {"tags": ["safetensors"]}, ModelKind.BASE),
        ("acme/atlas-8b-it", {"tags": ["safetensors"]}, ModelKind.CHAT),
        ("bob/atlas-8b-AWQ", {}, ModelKind.QUANTIZED),
        ("bob/atlas-8b-4bit", {}, ModelKind.QUANTIZED),
        (
            "bob/x",
            {"baseModels": {"relation": "quantized", "models": [{"id": "acme/a"}]}},
            ModelKind.QUANTIZED,
        ),
        ("bob/x", {"baseModels": {"relation": "finetune", "models": [{"id": "acme/a"}]}}, ModelKind.FINETUNE),
        ("acme/a-it", {"baseModels": {"relation": "finetune", "models": [{"id": "acme/a"}]}}, ModelKind.CHAT),
        (
            "acme/x-it",
            {"baseModels": {"relation": "quantized", "models": [{"id": "acme/x-it"}]}},
            ModelKind.CHAT,
        ),
        (
            "acme/x-FP8",
            {"baseModels": {"relation": "quantized", "models": [{"id": "acme/x"}]}},
            ModelKind.QUANTIZED,
        ),
        ("bob/x", {"tags": ["base_model:adapter:acme/a"]}, ModelKind.ADAPTER),
        ("bob/x", {"tags": ["safetensors", "mergekit"]}, ModelKind.MERGE),
    ],
)
def test_the_kind_of_a_repository(name: str, more: dict[str, Any], kind: ModelKind) -> None:
    model, _ = parse_entry(entry(name, **more))
    assert model is not None
    assert model.kind is kind


def test_entries_with_missing_and_strange_fields_become_records_without_guesses() -> None:
    rows = [parse_entry(row)[0] for row in recorded("malformed_schema__api_models")]
    assert [row.name for row in rows if row] == [
        "example/no-optional-fields", "example/only-modelId", "example/nulls", "example/strange",
    ]  # fmt: skip
    strange = rows[3]
    assert strange is not None
    assert (strange.released_at, strange.n_params) == (None, 8_030_261_248)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-11-20T00:00:00.000Z", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T02:00:00+02:00", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T00:00:00", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2025-04", datetime(2025, 4, 1, tzinfo=UTC)),
        ("yesterday", None),
        (20261120, None),
        (None, None),
    ],
)
def test_a_date_without_a_zone_is_utc_and_an_unclear_one_is_none(raw: Any, expected: datetime | None) -> None:
    assert moment(raw) == expected


@pytest.mark.clock
@pytest.mark.parametrize("layout", ["epoch_older", "epoch_newer"])
def test_both_layouts_of_epoch_give_the_same_scores(layout: str) -> None:
    batches = list(epoch.parse(epoch_zip(layout)))
    scores = {(s.name, s.benchmark): s for b in batches for s in b.scores}
    gpqa = scores["gpt-5-2025-08-07_high", "GPQA diamond"]
    assert gpqa.value == pytest.approx(0.8617424242424242)
    assert gpqa.stderr == pytest.approx(0.020787836099851995)
    assert (gpqa.reported_by, gpqa.evaluated_on) == ("third_party", date(2025, 10, 29))
    assert scores["gpt-oss-120b_high", "Aider polyglot"].value == pytest.approx(0.418)
    models = {m.name: m for b in batches for m in b.models}
    assert models["gpt-5-2025-08-07_high"].access is Access.CLOSED
    assert any(s.unit == "index" for s in scores.values())


def test_a_layout_of_epoch_inside_a_folder_is_read_too() -> None:
    assert list(epoch.parse(epoch_zip("epoch_newer", top="data/"))) == list(
        epoch.parse(epoch_zip("epoch_newer"))
    )


def test_files_that_epoch_names_and_does_not_send_are_said_to_be_missing() -> None:
    missing = [why for batch in epoch.parse(epoch_zip("epoch_newer")) for why in batch.missing]
    assert [why.split("`")[1] for why in missing] == ["frontiermath.csv", "simplebench_external.csv"]


def test_a_missing_column_is_named() -> None:
    packed = io.BytesIO(epoch_zip("epoch_newer", without=["gpqa_diamond.csv"]))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("gpqa_diamond.csv", "Model version,score\na,1\n")
    missing = [why for batch in epoch.parse(packed.getvalue()) for why in batch.missing]
    assert any("gpqa_diamond.csv: no column `Best score" in why for why in missing)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", epoch_zip("epoch_newer")[:-200], epoch_zip("epoch_newer")[:2000]],
    ids=["empty", "html", "tail cut off", "truncated"],
)  # fmt: skip
def test_a_broken_zip_is_a_layout_error(body: bytes) -> None:
    with pytest.raises(LayoutError):
        list(epoch.parse(body))


def test_openrouter_gives_prices_and_the_join_to_the_hub() -> None:
    models = {m.name: m for m in openrouter.parse(recorded("openrouter__api_v1_models")).models}
    granite = models["ibm-granite/granite-4.1-8b"]
    assert (granite.hub_id, granite.access) == ("ibm-granite/granite-4.1-8b", Access.OPEN)
    assert (granite.price_in_usd_per_mtok, granite.price_out_usd_per_mtok) == (0.05, 0.1)
    assert models["openai/gpt-5.5"].hub_id is None
    assert models["openai/gpt-5.5"].access is Access.UNKNOWN


def test_models_dev_gives_openness_dates_and_prices() -> None:
    models = {m.name: m for m in models_dev.parse(recorded("modelsdev__api.json")).models}
    assert models["openai/gpt-5"].access is Access.CLOSED
    assert models["openai/gpt-5"].price_out_usd_per_mtok == 10
    assert models["alibaba/qwen3-8b"].released_at == datetime(2025, 4, 1, tzinfo=UTC)
    assert models["huggingface/XiaomiMiMo/MiMo-V2-Flash"].hub_id == "XiaomiMiMo/MiMo-V2-Flash"


def test_lmarena_gives_ratings_with_intervals() -> None:
    batch = lmarena.parse((FIXTURES / "lmarena__text__latest.sample.parquet").read_bytes())
    top = batch.scores[0]
    assert (top.unit, top.value, top.ci_low, top.ci_high) == ("rating", 1505.0, 1494.0, 1516.0)
    assert {m.access for m in batch.models} == {Access.OPEN, Access.CLOSED}


@pytest.mark.parametrize(
    ("parse", "document", "says"),
    [
        (openrouter.parse, {"models": []}, "no `data`"),
        (openrouter.parse, [], "no `data`"),
        (models_dev.parse, {"error": "x"}, "no provider"),
        (parse_artificial_analysis, {"status": 200}, "no `data`"),
        (lmarena.parse, b"PAR1", "not valid Parquet"),
    ],
)
def test_a_changed_layout_is_named(parse: Any, document: Any, says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        parse(document)


def test_a_leaderboard_in_percent_becomes_fractions_and_an_unclear_unit_is_left_out() -> None:
    board = recorded("api_datasets__Idavidrein__gpqa__leaderboard")
    batch = parse_board("Idavidrein/gpqa", [*board, {"modelId": "a/b", "value": 0.4}])
    values = {score.name: score.value for score in batch.scores}
    assert values["deepseek-ai/DeepSeek-R1-0528"] == pytest.approx(0.81)
    assert "a/b" not in values
    assert any("a/b" in problem for problem in batch.problems)


def test_claims_of_a_repository_say_who_made_them() -> None:
    batch = parse_repository(recorded("api_models__llama__evalResults"))
    assert [(s.benchmark, s.value, s.reported_by) for s in batch.scores] == [
        ("openai/gsm8k", pytest.approx(0.845), "first_party"),
        ("TIGER-Lab/MMLU-Pro", pytest.approx(0.483), "unknown"),
    ]
    assert batch.problems == (
        "meta-llama/Llama-3.1-8B-Instruct: .eval_results/broken.yaml: Invalid eval results: "
        '"dataset.task_id" is required',
    )


RECORD = {
    "source_metadata": {"evaluator_relationship": "third_party", "source_organization_name": "Acme Evals"},
    "model_info": {"id": "acme/atlas-8b", "name": "Atlas 8B"},
    "evaluation_results": [
        {
            "evaluation_name": "mmlu_pro",
            "source_data": {"dataset_name": "MMLU-Pro"},
            "metric_config": {"min_score": 0, "max_score": 100, "lower_is_better": False},
            "score_details": {
                "score": 48.3,
                "uncertainty": {"standard_error": {"value": 0.5}, "num_samples": 9},
            },
        },
        {"evaluation_name": "no range", "score_details": {"score": 1}},
    ],
}


def test_a_record_of_every_eval_ever_becomes_a_fraction_of_its_own_range() -> None:
    (score,) = parse_record(RECORD).scores
    assert (score.name, score.benchmark) == ("acme/atlas-8b", "MMLU-Pro")
    assert (score.value, score.stderr) == (pytest.approx(0.483), pytest.approx(0.005))
    assert (score.n_items, score.reported_by, score.reporter) == (9, "third_party", "Acme Evals")


def test_an_index_line_that_leaves_its_folder_is_refused() -> None:
    with pytest.raises(LayoutError, match="layout"):
        parse_index(b'{"object_path": "flat/objects/../../etc/passwd"}', where="sample.jsonl")


def test_artificial_analysis_gives_indices_and_fractions() -> None:
    # the answer of their data API as its documentation shows it
    entry_ = {
        "slug": "atlas-8b",
        "name": "Atlas 8B",
        "model_creator": {"name": "Acme"},
        "release_date": "2026-11-01",
        "evaluations": {"artificial_analysis_intelligence_index": 41.5, "gpqa": 0.71, "hle": None},
        "pricing": {"price_1m_input_tokens": 0.1, "price_1m_output_tokens": 0.3},
    }
    batch = parse_artificial_analysis({"status": 200, "data": [entry_]})
    assert [(s.benchmark, s.value, s.unit) for s in batch.scores] == [
        ("artificial_analysis_intelligence_index", 41.5, "index"), ("gpqa", 0.71, "fraction"),
    ]  # fmt: skip
    assert (batch.models[0].organization, batch.models[0].price_out_usd_per_mtok) == ("Acme", 0.3)


def arena_row(**more: Any) -> bytes:
    return parquet([
        {
            "model_name": "atlas", "organization": "Acme", "license": "MIT", "category": "overall",
            "leaderboard_publish_date": "2026-01-01", "rating": 1400.0, "rating_lower": 1390.0,
            "rating_upper": 1410.0, "vote_count": 10,
        } | more
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("license_", "access"),
    [
        ("Closed source", Access.CLOSED),
        ("Proprietary license", Access.CLOSED),
        ("N/A", Access.UNKNOWN),
        ("-", Access.UNKNOWN),
        ("Unknown", Access.UNKNOWN),
        ("Llama 4", Access.OPEN),
    ],
)
def test_a_license_of_lmarena_that_is_not_stated_makes_no_model_open(license_: str, access: Access) -> None:
    (model,) = lmarena.parse(arena_row(license=license_)).models
    assert model.access is access


def test_an_interval_that_does_not_enclose_its_rating_is_left_out() -> None:
    (score,) = lmarena.parse(arena_row(rating_lower=1500.0)).scores
    assert (score.value, score.ci_low, score.ci_high) == (1400.0, None, None)


def test_one_strange_label_of_models_dev_costs_neither_its_model_nor_the_others() -> None:
    models = {"a": {"open_weights": []}, "b": {"open_weights": True}, "c": {"open_weights": {}}}
    found = models_dev.parse({"p": {"models": models}}).models
    assert [one.access for one in found] == [Access.UNKNOWN, Access.OPEN, Access.UNKNOWN]


@pytest.mark.parametrize("price", [-1, "-0.5", "NaN", "1e308", float("inf")])
def test_an_impossible_price_is_no_price(price: Any) -> None:
    (one,) = openrouter.parse({"data": [{"id": "a/b", "pricing": {"prompt": price}}]}).models
    assert one.price_in_usd_per_mtok is None
    if price != "1e308":  # finite per million tokens
        (two,) = models_dev.parse({"p": {"models": {"m": {"cost": {"output": price}}}}}).models
        document = {"data": [{"slug": "a", "pricing": {"price_1m_input_tokens": price}}]}
        (three,) = parse_artificial_analysis(document).models
        assert (two.price_out_usd_per_mtok, three.price_in_usd_per_mtok) == (None, None)


def evaluated(**more: Any) -> dict[str, Any]:
    result = {
        "evaluation_name": "e",
        "source_data": {"dataset_name": "D"},
        "metric_config": {"min_score": 0, "max_score": 1},
        "score_details": {"score": 0.5},
    }
    return {"model_info": {"id": "acme/atlas"}, "evaluation_results": [result | more]}


@pytest.mark.parametrize(
    "config",
    [
        {"min_score": -1e308, "max_score": 1e308},  # of infinite width
        {"min_score": 0, "max_score": 1, "lower_is_better": "true"},
        {"min_score": 0, "max_score": 1, "lower_is_better": 1},
    ],
)
def test_a_result_without_a_usable_range_gives_no_score(config: dict[str, Any]) -> None:
    assert parse_record(evaluated(metric_config=config)).scores == ()


def test_an_impossible_uncertainty_of_a_record_is_left_out_and_the_score_kept() -> None:
    doubt = {
        "standard_error": {"value": -1},
        "confidence_interval": {"lower": 0.9, "upper": 0.1},
        "num_samples": 0,
    }
    (score,) = parse_record(evaluated(score_details={"score": 0.5, "uncertainty": doubt})).scores
    assert (score.value, score.stderr, score.ci_low, score.ci_high) == (0.5, None, None, None)
    assert score.n_items is None


@pytest.mark.parametrize("stamp", [1700000000, "1700000000", "2023-11-14", "2023-11-15T01:00:00+05:00"])
def test_the_day_of_an_evaluation_may_be_in_seconds(stamp: Any) -> None:
    (score,) = parse_record(evaluated(evaluation_timestamp=stamp)).scores
    assert score.evaluated_on == date(2023, 11, 14)


def test_days_in_the_future_are_left_out_and_their_scores_kept() -> None:
    batch = lmarena.parse(arena_row(leaderboard_publish_date="2099-01-01"))
    kept = without_future(batch, today=date(2026, 1, 1))
    assert (kept.history, kept.scores[0].value, kept.scores[0].evaluated_on) == ((), 1400.0, None)
    assert kept.problems == ("1 value of days in the future, such as 2099-01-01",)
    tomorrow = lmarena.parse(arena_row(leaderboard_publish_date="2026-01-02"))
    assert without_future(tomorrow, today=date(2026, 1, 1)) == tomorrow


def test_a_release_over_a_year_ahead_is_left_out_with_a_note_and_the_model_kept() -> None:
    models = [
        SourceModel(f"a/{year}", released_at=datetime(year, 1, 1, tzinfo=UTC)) for year in (2026, 2027, 2099)
    ]
    kept = without_future(Batch(models=tuple(models)), today=date(2026, 1, 1))
    assert [model.released_at for model in kept.models] == [
        *(model.released_at for model in models[:2]),
        None,
    ]
    assert kept.problems == ("1 release date over a year ahead left out, such as a/2099: 2099-01-01",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acme/Atlas-1B.v2", "acme/Atlas-1B.v2"),
        ("gpt2", "gpt2"),
        ("../../x", None),
        ("a/b/c", None),
        ("acme/b\x1b[31m", None),
        ("acme/\u202eb", None),
        ("https://huggingface.co/acme/b", None),
        ("x" * 200, None),
        (["acme/b"], None),
    ],
)
def test_a_name_of_the_hub_that_no_repository_can_have_is_none_and_opens_no_model(
    name: Any, expected: str | None
) -> None:
    (found,) = openrouter.parse({"data": [{"id": "acme/b", "hugging_face_id": name}]}).models
    assert (found.hub_id, found.access) == (expected, Access.OPEN if expected else Access.UNKNOWN)
    if isinstance(name, str) and "/" in name:
        document = {"huggingface": {"models": {name: {"open_weights": True}}}}
        found_here = [model.hub_id for model in models_dev.parse(document).models]
        assert found_here in ([expected], [])


def test_popularity_makes_no_model_a_changed_one() -> None:
    assert SourceModel("a/b", downloads=1).fingerprint == SourceModel("a/b", downloads=9, likes=3).fingerprint
    assert SourceModel("a/b").fingerprint != SourceModel("a/b", gated="auto").fingerprint


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"must be in|not a number"):
        SourceScore("a/b", "gpqa", value)
