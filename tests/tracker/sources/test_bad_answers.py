"""Answers that no source should give: each ends in a sentence, and takes nothing else along."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from typing import Any, get_args

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import ExpandModelProperty_T

from tests.conftest import ROOT
from tests.doubles.hub_double import fixture
from tests.doubles.sources_double import (
    HTML,
    SourcesHub,
    entry,
    epoch_zip,
)
from tests.tracker.ingest.test_ingest import (
    EVER,
    LIST,
    hub,
    hub_models,
    only,
    rows,
    sql,
    there,
)
from tracker.errors import TrackerError
from tracker.ingest.run import ingest
from tracker.memory_estimate import stored_bits
from tracker.records.published import OutcomeStatus
from tracker.settings import Settings, load_settings
from tracker.sources import SOURCES
from tracker.sources.fields import moment, number, parsed
from tracker.sources.hub_models import EXPAND, LISTINGS, parse_entry
from tracker.sources.raw import RawStore

__all__ = ["hub", "there"]

MIB = 2**20
FIRST = {  # what each source asks for first
    "hub-models": LIST,
    "hub-evals": "/api/datasets",
    "epoch": "/epoch.zip",
    "lmarena": "/api/datasets/lmarena-ai/leaderboard-dataset/parquet/text/latest",
    "models-dev": "/modelsdev.json",
    "openrouter": "/openrouter.json",
    "openrouter-usage": "/usage.json",
    "every-eval-ever": "/api/datasets/evaleval/EEE_datastore/tree/main/flat/indexes/by_collection",
    "artificial-analysis": "/aa.json",
}


def with_key(there: Settings) -> Settings:
    return there.model_copy(update={"artificial_analysis_key": "aa_0123456789"})


@pytest.mark.clock
@pytest.mark.parametrize(
    "answer",
    [
        HTML,
        (200, {}, b'[{"id": "acme/atl'),
        (200, {}, b""),
        (200, {}, b"[" * 200_000),
        (200, {}, b"\xff\xfe\x00"),
        (200, {}, b"17"),
        (200, {}, b'{"data": {"a": 1}}'),
    ],
    ids=["html", "truncated", "empty", "nested", "binary", "a number", "another shape"],
)
def test_every_source_says_that_such_an_answer_cannot_be_right(
    there: Settings, hub: SourcesHub, answer: Any
) -> None:
    for path in FIRST.values():
        hub.answers[path] = [answer] * 9
    outcomes = ingest([], with_key(there))
    assert {outcome.source for outcome in outcomes} == set(FIRST) == set(SOURCES)
    assert {o.source: o.status.value for o in outcomes} == dict.fromkeys(FIRST, "failed")
    assert all(o.reason for o in outcomes)


STRANGE: dict[str, Any] = {
    "id": "acme/strange",
    "tags": 5,
    "downloads": 10**400,
    "likes": -1,
    "lastModified": "0001-01-01T00:00:00+14:00",
    "createdAt": "9999-12-31T23:59:59-14:00",
    "safetensors": {"parameters": {"F64": 2**62}, "total": 1e400},
    "cardData": [],
    "baseModels": "x",
}


def test_sources_strange_values_are_nothing_and_half_a_character_is_a_question_mark(
    there: Settings, hub: SourcesHub
) -> None:
    hub.entries["acme/strange"] = entry("acme/strange") | STRANGE | {"pipeline_tag": "text-generation"}
    hub.entries["acme/strange"]["tags"] = ["safetensors", "\ud800"]
    hub.entries["acme/half"] = entry("acme/half") | {"id": "acme/\ud800", "author": "\udfff"}
    outcome = hub_models(there, since=EVER)
    assert outcome.status is OutcomeStatus.COMPLETED
    found = {row["name"]: row for row in rows(there, "known_models")}
    assert "acme/?" in found
    strange = found["acme/strange"]
    assert (strange["downloads"], strange["n_params"], strange["weights_bytes"]) == (None, None, None)
    assert (strange["released_at"], strange["last_modified_at"]) == (None, None)


@pytest.mark.parametrize("field", [*STRANGE, "author", "sha", "gated", "disabled", "private", "pipeline_tag"])
@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [5], {"a": 5}])
def test_sources_no_field_of_an_entry_can_end_in_a_traceback(field: str, value: Any) -> None:
    model, problem = parse_entry(entry("acme/a") | {field: value})
    assert (model is None) == bool(problem)


def test_sources_numbers_and_moments_that_no_machine_can_hold_are_none() -> None:
    assert number(10**400) is None
    assert moment("0001-01-01T00:00:00+05:00") is None
    assert parsed(b'{"a": "\\\\ud800", "b": "\\ud83d\\ude00"}', "x") == {"a": "\\ud800", "b": "\U0001f600"}


@pytest.mark.parametrize(
    ("path", "n_seen", "body"),
    [
        ("/openrouter.json", 1, {"data": [{"id": "x" * 400}, {"id": "acme/a", "created": 1e300}]}),
        ("/modelsdev.json", 1, {"p": {"models": {"m": {"cost": 5, "limit": [], "release_date": 7}}}, "q": 5}),
        ("/aa.json", 2, {"data": [{"slug": "a", "evaluations": {"gpqa": 71, "": 0.1}}, {"slug": "b"}, 7]}),
    ],
)
def test_sources_a_row_that_cannot_be_right_is_left_out_and_named(
    there: Settings, hub: SourcesHub, path: str, n_seen: int, body: Any
) -> None:
    hub.documents[path] = json.dumps(body).encode()
    source = next(name for name, first in FIRST.items() if first == path)
    outcome = only(ingest([source], with_key(there)))
    assert (outcome.status, outcome.n_seen) == (OutcomeStatus.COMPLETED, n_seen)


def zipped(**files: str) -> bytes:
    packed = io.BytesIO(epoch_zip("epoch_newer", without=[f"{name}.csv" for name in files]))
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (zipped(mmlu_external=f"Model version,EM\na,{'9' * 200_000}\n"), "partial", "is not valid CSV"),
        (zipped(mmlu_external="Model version,EM\na\n,0.5\nb,55\n"), "partial", "in 0..1, got 55"),
        (zipped(model_metadata="model_version,date,organization,accessibility\na\n"), "partial", None),
        (
            epoch_zip("epoch_newer").replace(b"PK\x03\x04", b"PK\x03\x04", 1)[:40] + b"\xa5" * 900,
            "failed",
            "ZIP",
        ),
    ],
    ids=["a field without end", "another scale", "a short row", "damaged"],
)
def test_sources_a_broken_file_of_epochs_is_named(
    there: Settings, hub: SourcesHub, body: bytes, status: str, says: str | None
) -> None:
    hub.documents["/epoch.zip"] = body
    outcome = only(ingest(["epoch"], there))
    assert outcome.status.value == status
    assert says is None or says in f"{outcome.reason} {outcome.problems}"


MEASURED = """
import json, resource, sys
from tracker.ingest.run import ingest
from tracker.settings import load_settings
(outcome,) = ingest([sys.argv[1]], load_settings())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([outcome.status, outcome.reason, outcome.problems, outcome.n_seen, peak]))
"""


def ingested_apart(source: str, there: Settings, hub: SourcesHub) -> tuple[str, str, list[str], int, int]:
    """What became of a source that another process ingests, and the memory that this took."""
    urls = {"HF_ENDPOINT": hub.url, "TRACKER_SOURCE_URLS": json.dumps(hub.source_urls), "HF_HUB_OFFLINE": "0"}
    environment = os.environ | urls | {"TRACKER_HOME": str(there.home), "TRACKER_HUB_PAGE": "10"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, source],
        capture_output=True, text=True, check=True, env=environment, cwd=ROOT, timeout=200,
    )  # fmt: skip
    status, reason, problems, n_seen, peak_bytes = json.loads(done.stdout)
    return status, reason, problems, n_seen, peak_bytes


def test_sources_a_record_of_50_mb_is_refused_and_costs_no_more_memory_than_itself(
    there: Settings, hub: SourcesHub
) -> None:
    *_, usual = ingested_apart("models-dev", there, hub)
    hub.documents["/openrouter.json"] = b'{"data": [{"id": "' + b"x" * 50_500_000 + b'"}]}'
    status, reason, _, _, peak_bytes = ingested_apart("openrouter", there, hub)
    assert status == "failed"
    assert "is larger than 48 MiB" in reason
    assert peak_bytes - usual < 2 * 48 * MIB


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/b/c",
        "acme/../x",
        "acme/m odel",
        "/x",
        "acme/",
        "https://hf.co/a/b",
        "./a",
        "a\u202e/b",
    ],
)
def test_sources_an_entry_whose_name_no_repository_can_have_is_left_out(name: str) -> None:
    model, problem = parse_entry(entry("acme/a") | {"id": name})
    assert model is None
    assert "is no name of a repository" in problem


@pytest.mark.parametrize("name", ["gpt2", "acme/a", "01-ai/Yi-1.5_9B.v2", "a--b/c"])
def test_sources_an_entry_with_the_name_of_a_repository_is_a_model(name: str) -> None:
    model, _ = parse_entry(entry("acme/a") | {"id": name})
    assert model is not None
    assert model.name == name


def test_sources_an_entry_of_50_mb_in_the_hubs_list_is_left_out_and_all_others_are_read(
    there: Settings, hub: SourcesHub
) -> None:
    hub.put(*(entry(f"acme/m-{n:02}", trendingScore=n) for n in range(12)))
    hub.put(entry("acme/huge", trendingScore=7, tags=["safetensors", "x" * 50_500_000]))
    status, _, problems, n_seen, _ = ingested_apart("hub-models", there, hub)
    assert (status, n_seen) == ("completed", 14)
    assert any("larger than 48 MiB" in problem for problem in problems)


def test_sources_an_answer_that_was_kept_and_is_damaged_is_asked_for_again(
    there: Settings, hub: SourcesHub
) -> None:
    ingest(["openrouter"], there)
    (kept,) = (there.raw_path / "openrouter").glob("*.zst")
    content = kept.read_bytes()
    kept.write_bytes(b"")
    assert only(ingest(["openrouter"], there)).status is OutcomeStatus.COMPLETED
    assert kept.read_bytes() == content


def test_sources_a_line_that_a_kill_cut_off_affects_no_other(there: Settings, hub: SourcesHub) -> None:
    ingest(["openrouter"], there)
    log = there.raw_path / "openrouter" / "log.jsonl"
    log.write_text(log.read_text() + '{"at": "2026')
    hub.documents["/openrouter.json"] += b" "
    ingest(["openrouter"], there)
    newest = RawStore(log.parent).newest(f"{hub.url}/openrouter.json")
    assert newest is not None
    assert newest.n_bytes == len(hub.documents["/openrouter.json"])


def test_sources_the_walk_gives_what_the_library_lists_with_the_same_words(
    there: Settings, hub: SourcesHub
) -> None:
    hub.put(*(entry(f"acme/m-{n:02}", f"2026-11-{n + 1:02}T00:00:00.000Z") for n in range(9)))
    assert set(EXPAND) <= set(get_args(ExpandModelProperty_T))
    api = HfApi(endpoint=hub.url, token=False)
    listed = api.list_models(
        pipeline_tag=LISTINGS[0].pipeline_tag, filter="safetensors", sort="last_modified", expand=list(EXPAND)
    )
    by_library = {info.id: info.sha for info in listed}
    theirs = next(line for line in hub.requests if "sort=lastModified" in line)
    hub_models(there, since=EVER)
    assert {row["name"]: row["revision"] for row in rows(there, "known_models")} == by_library
    ours = next(line for line in hub.requests if "sort=lastModified" in line and "limit" in line)
    words = [sorted(w for w in line.split("?")[1].split("&") if "limit" not in w) for line in (ours, theirs)]
    assert words[0] == words[1]


def test_sources_one_request_lists_the_most_downloaded_gguf_repositories(
    there: Settings, hub: SourcesHub
) -> None:
    total = 8_030_261_312
    hub.put(
        entry("acme/atlas-8b"),
        entry(
            "quant/atlas-8b-GGUF",
            tags=["gguf", "base_model:acme/atlas-8b", "base_model:quantized:acme/atlas-8b"],
            safetensors=None,
            gguf={"total": total, "architecture": "llama", "context_length": 8192},
            baseModels={"relation": "quantized", "models": [{"id": "acme/atlas-8b"}]},
        ),
    )
    hub_models(there, since=EVER)
    asked = [line for line in hub.requests if "filter=gguf" in line]
    assert ["sort=downloads" in line for line in asked] == [True]
    copy = next(row for row in rows(there, "known_models") if row["name"] == "quant/atlas-8b-GGUF")
    assert (copy["kind"], copy["base_models"], copy["has_safetensors"]) == (
        "quantized",
        ["acme/atlas-8b"],
        False,
    )
    assert (copy["n_params"], copy["weights_bytes"]) == (total, round(total * stored_bits(4.0) / 8))


def test_sources_a_wrong_token_stands_in_no_output_and_no_file(there: Settings, hub: SourcesHub) -> None:
    secrets = {
        "HF_TOKEN": "hf_wrongwrongwrongwrong",
        "TRACKER_ARTIFICIAL_ANALYSIS_KEY": "aa_wrong_0123456789",
    }
    urls = hub.source_urls | {
        "openrouter": hub.url.replace("//", "//person:pass_wrong_0123@") + "/openrouter.json"
    }
    echo = json.dumps({"error": "bad " + " ".join(secrets.values())}).encode()
    refused = fixture("error_401_bad_token__api_whoami-v2")
    hub.answers = {
        path: [(401, refused[1], echo)] * 9 for path in FIRST.values() if path != "/openrouter.json"
    }
    environment = os.environ | secrets | {"TRACKER_HOME": str(there.home), "TRACKER_LOG_LEVEL": "debug"}
    environment |= {"HF_ENDPOINT": hub.url, "TRACKER_SOURCE_URLS": json.dumps(urls), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "ingest"],
        capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=100,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stdout.count("failed") == 8, done.stdout
    assert "refuses the access token or key" in done.stderr
    kept = [path.read_bytes() for path in there.home.rglob("*") if path.is_file()]
    for secret in (*secrets.values(), "pass_wrong_0123"):
        assert secret not in done.stdout + done.stderr
        assert all(secret.encode() not in content for content in kept)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TRACKER_SOURCE_URLS", "secret", "`TRACKER_SOURCE_URLS` does not hold valid JSON"),
        ("TRACKER_SOURCE_URLS", '["secret"]', "TRACKER_SOURCE_URLS: input should be a valid dictionary"),
        ("TRACKER_SOURCE_TIMEOUT_S", "secret", "TRACKER_SOURCE_TIMEOUT_S: input should be a valid number"),
        ("TRACKER_HUB_PAGE", "0", "TRACKER_HUB_PAGE: input should be greater than or equal to 1"),
    ],
)
def test_sources_a_variable_that_cannot_be_read_is_named_without_its_value(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TrackerError) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "file:///etc/passwd"])
def test_sources_an_address_that_is_none_is_said(there: Settings, hub: SourcesHub, url: str) -> None:
    odd = there.model_copy(update={"source_urls": {"epoch": url}})
    outcome = only(ingest(["epoch"], odd))
    assert outcome.status is OutcomeStatus.SKIPPED_UNAVAILABLE
    assert "is not a valid address" in (outcome.reason or "")


def test_sources_a_next_page_that_is_no_address_ends_in_a_sentence(there: Settings, hub: SourcesHub) -> None:
    hub.answers[LIST] = [(200, {"Link": '<http://[::1>; rel="next"'}, json.dumps([entry("a/b")]).encode())]
    outcome = hub_models(there)
    assert outcome.status is not OutcomeStatus.COMPLETED
    assert outcome.reason


@pytest.mark.parametrize(
    "place", ["http://localhost:{port}/internal?page=2", "http://169.254.169.254/x", "//10.0.0.1/"]
)
def test_sources_a_next_page_at_another_host_is_not_asked(
    place: str, there: Settings, hub: SourcesHub
) -> None:
    link = f'<{place.format(port=hub.url.rpartition(":")[2])}>; rel="next"'
    hub.answers[LIST] = [(200, {"Link": link}, json.dumps([entry("a/b")]).encode())]
    outcome = hub_models(there)
    assert outcome.status is OutcomeStatus.FAILED
    assert "leads to" in (outcome.reason or "")
    assert not [asked for asked in hub.requests if "internal" in asked]
    assert sql(there, "select count(*) from model_snapshots where name = 'a/b'") == [(1,)]


def test_sources_a_place_on_another_hub_is_not_asked_any_more(
    there: Settings, hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(*(entry(f"acme/m-{n}") for n in range(6)))
    hub.answers[LIST] = []
    answer, calls = hub._list, []

    def cut(query: dict[str, list[str]]) -> Any:
        calls.append(query)
        return (503, {}, b"") if len(calls) > 1 else answer(query)

    hub._list = cut  # type: ignore[method-assign]
    assert hub_models(there).status is OutcomeStatus.PARTIAL
    hub._list = answer  # type: ignore[method-assign]
    monkeypatch.setattr(hub, "url", hub.url.replace("127.0.0.1", "localhost"))
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    assert hub_models(there).status is OutcomeStatus.COMPLETED
    ((n_sources,),) = sql(there, "select count(distinct source) from model_snapshots")
    assert n_sources == 1
