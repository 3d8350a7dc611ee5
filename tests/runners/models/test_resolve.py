"""MODEL to something loadable: the real Hub client against a small Hub, and folders on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import stamina
from huggingface_hub import constants

from runners.models.checkpoint import HASHES_FILE
from runners.models.hub import download_model
from runners.models.resolve import resolve_model
from tests.conftest import ROOT
from tests.doubles.hub_double import (
    GOOD_TOKEN,
    Hub,
    fixture,
    running_hub,
)
from tracker.errors import ModelError, TrackerError, TransientError, UnknownNameError, UnreachableError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

QWEN = Model(
    model_id="Qwen/Qwen3-8B",
    revision="b968826d9c46dd6066d109eabc6255188de91218",
    n_params=8_190_735_360,
    license="apache-2.0",
)
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
ATTEMPTS = 3
HERE = EngineSettings()


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the library talks to, with an empty cache, and no waiting between attempts."""
    with running_hub() as running, stamina.set_testing(True, attempts=ATTEMPTS):
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home.parent / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
        yield running
        huggingface_hub.close_session()


def refused(name: str, settings: Settings) -> ModelError:
    with pytest.raises(ModelError) as caught:
        resolve_model(name, HERE, settings)
    assert caught.value.exit_code == 3
    return caught.value


# --- on the Hub ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@main", f"@{QWEN.revision}"], ids=["none", "branch", "commit"])
def test_resolve_a_hub_model_is_pinned_to_its_commit(revision: str, hub: Hub, settings: Settings) -> None:
    assert resolve_model(QWEN.model_id + revision, HERE, settings) == QWEN


def test_resolving_downloads_nothing(hub: Hub, settings: Settings) -> None:
    resolve_model(QWEN.model_id, HERE, settings)
    assert [line for line in hub.requests if "/resolve/" in line] == []


@pytest.mark.parametrize(
    ("model_id", "quantization"),
    [("deepseek-ai/DeepSeek-V3", "fp8"), ("openai/gpt-oss-20b", "mxfp4"), (QWEN.model_id, None)],
)
def test_resolve_published_quantization_is_known_before_loading(
    model_id: str, quantization: str | None, hub: Hub, settings: Settings
) -> None:
    assert resolve_model(model_id, HERE, settings).quantization == quantization


def test_resolve_remote_code_that_transformers_does_not_need_is_no_reason_to_refuse(
    hub: Hub, settings: Settings
) -> None:
    assert hub.infos["deepseek-ai/DeepSeek-V3"]["config"]["auto_map"]
    assert not resolve_model("deepseek-ai/DeepSeek-V3", HERE, settings).needs_remote_code


def test_resolve_remote_code_is_refused_unless_asked_for(hub: Hub, settings: Settings) -> None:
    hub.infos["deepseek-ai/DeepSeek-V3"]["config"]["model_type"] = "of_their_own"
    error = refused("deepseek-ai/DeepSeek-V3", settings)
    assert error.reason == "needs_remote_code"
    assert "--trust-remote-code" in error.hint
    assert resolve_model(
        "deepseek-ai/DeepSeek-V3", EngineSettings(trust_remote_code=True), settings
    ).needs_remote_code


@pytest.mark.parametrize(
    ("model_id", "reason", "hint"),
    [
        ("facebook/opt-125m", "pickle_weights", "safetensors"),
        ("fblgit/pancho-v1-qw25-3B-UNAMGS", "unsupported", "Qwen/Qwen2.5-3B-Instruct"),
        ("acme/only-gguf", "broken_weights", "download it again"),  # a GGUF is read now; this one is empty
        ("acme/empty", "missing_weights", "safetensors"),
        ("acme/no-config", "unsupported", "transformers format"),
        ("example/disabled", "missing_weights", "another copy"),
        (LLAMA, "gated", f"/{LLAMA}, then log in with `hf auth login`"),
        ("google/gemma-3-27b-it", "gated", "hf auth login"),
    ],
)
def test_resolve_what_cannot_be_loaded_is_refused_with_reason_and_hint(
    model_id: str, reason: str, hint: str, hub: Hub, settings: Settings
) -> None:
    for name, files in {
        "acme/only-gguf": ["model-Q4_K_M.gguf"],
        "acme/empty": ["README.md", "config.json"],
        "acme/no-config": ["model.safetensors"],
    }.items():
        hub.infos[name] = {"id": name, "sha": "0" * 40, "gated": False}
        hub.infos[name]["siblings"] = [{"rfilename": file} for file in files]
    hub.infos["acme/only-gguf"]["cardData"] = {"base_model": "acme/base"}
    error = refused(model_id, settings)
    assert error.reason == reason
    assert hint in error.hint


def test_resolve_whoever_was_given_access_may_use_a_gated_model(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", GOOD_TOKEN)
    assert resolve_model(LLAMA, HERE, settings).license == "llama3.1"


def test_resolve_a_wrong_token_is_named_as_the_cause_and_never_shown(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    with pytest.raises(TrackerError, match="rejected the access token") as caught:
        resolve_model(QWEN.model_id, HERE, settings)
    assert caught.value.exit_code == 1
    assert "hf_secret" not in f"{caught.value}{caught.value.hint}"


def test_resolve_a_typo_in_the_name_is_answered_with_near_names(hub: Hub, settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="no model is called `Qwen/Qwen3-8`") as caught:
        resolve_model("Qwen/Qwen3-8", HERE, settings)
    assert "did you mean `Qwen/Qwen3-8B`?" in caught.value.hint


def test_resolve_near_names_come_from_what_was_measured_here_too(hub: Hub, settings: Settings) -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve_model("acme/tiny-1", HERE, settings, known=["acme/tiny-1b"])
    assert "`acme/tiny-1b`" in caught.value.hint


def test_resolve_a_name_that_is_no_name_says_what_a_model_is(hub: Hub, settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="no model is called `dem`") as caught:
        resolve_model("dem", HERE, settings)
    assert "did you mean `demo`?" in caught.value.hint
    assert hub.requests == []


@pytest.mark.parametrize("name", ["acme/a b", "a/b/c", "acme/..x"])
def test_resolve_an_impossible_name_is_a_clear_error(name: str, hub: Hub, settings: Settings) -> None:
    with pytest.raises(TrackerError, match="is not a valid model name"):
        resolve_model(name, HERE, settings)


def test_resolve_an_unknown_revision_names_the_known_ones(hub: Hub, settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="no revision of `Qwen/Qwen3-8B` is called `nope`") as caught:
        resolve_model("Qwen/Qwen3-8B@nope", HERE, settings)
    assert "main" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("case", ["error_429__api_models", "error_503_html__api_models"])
def test_resolve_a_busy_hub_is_asked_again(case: str, hub: Hub, settings: Settings) -> None:
    hub.broken = [fixture(case)] * (ATTEMPTS - 1)
    assert resolve_model(QWEN.model_id, HERE, settings) == QWEN


@pytest.mark.parametrize("case", ["error_429__api_models", "error_503_html__api_models"])
def test_resolve_a_hub_that_stays_down_is_not_asked_for_ever(case: str, hub: Hub, settings: Settings) -> None:
    hub.broken = [fixture(case)] * 99
    with pytest.raises(UnreachableError) as caught:
        resolve_model(QWEN.model_id, HERE, settings)
    assert caught.value.exit_code == 4
    assert len(hub.requests) == ATTEMPTS


def test_resolve_a_rate_limit_longer_than_our_patience_is_reported_instead_of_waited_for(
    hub: Hub, settings: Settings
) -> None:
    status, headers, body = fixture("error_429__api_models")
    hub.broken = [(status, headers | {"RateLimit": '"api";r=0;t=290'}, body)] * 9
    with pytest.raises(UnreachableError) as caught:
        resolve_model(QWEN.model_id, HERE, settings)
    assert isinstance(caught.value.__cause__, TransientError)
    assert len(hub.requests) == 1


def test_resolve_a_login_page_instead_of_json_is_a_clear_error(hub: Hub, settings: Settings) -> None:
    hub.broken = [(200, {"Content-Type": "text/html"}, b"<html>log in to this network</html>")]
    with pytest.raises(UnreachableError, match="did not return JSON"):
        resolve_model(QWEN.model_id, HERE, settings)


# --- downloading -----------------------------------------------------------------------------------------


@pytest.fixture
def served(hub: Hub, model_folder: Path) -> str:
    """A tiny repository that the Hub serves whole; its commit."""
    (model_folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    (model_folder / "pytorch_model.bin").write_bytes(b"pickle")
    (model_folder / "modeling_own.py").write_text("raise SystemExit\n")
    card = {"license": "mit"}
    return hub.serve("acme/tiny-1b", model_folder, cardData=card)


def test_resolve_only_what_an_engine_reads_is_downloaded(hub: Hub, served: str, settings: Settings) -> None:
    model = resolve_model("acme/tiny-1b", HERE, settings)
    assert model == Model("acme/tiny-1b", served, license="mit")
    folder = download_model(model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert folder.name == served


def test_resolve_a_downloaded_model_needs_no_hub_any_more(hub: Hub, served: str, settings: Settings) -> None:
    model = resolve_model("acme/tiny-1b", HERE, settings)
    folder = download_model(model)
    hub.requests.clear()
    assert download_model(model) == folder
    assert hub.requests == []


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "Hub down"])
def test_resolve_a_cached_model_is_found_without_the_hub(
    offline: bool, hub: Hub, served: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    download_model(resolve_model("acme/tiny-1b", HERE, settings))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    model = resolve_model("acme/tiny-1b", HERE, settings)
    assert (model.model_id, model.revision, model.n_params) == ("acme/tiny-1b", served, 128)
    assert download_model(model).name == served


def test_resolve_without_network_and_cache_the_error_says_so(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UnreachableError, match="cannot be reached, and `Qwen/Qwen3-8B` is not fully cached"
    ) as caught:
        resolve_model(QWEN.model_id, HERE, settings)
    assert caught.value.exit_code == 4


def test_resolve_a_download_that_cannot_fit_is_not_begun(
    hub: Hub, served: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve_model("acme/tiny-1b", HERE, settings)
    monkeypatch.setattr("runners.models.hub.MARGIN_BYTES", 1 << 60)
    with pytest.raises(TrackerError, match=r"needs .* GB on .*, .* GB are free") as caught:
        download_model(model)
    assert "HF_HOME" in caught.value.hint
    assert not any("model.safetensors" in line for line in hub.requests if line.startswith("GET"))


def test_resolve_access_that_was_withdrawn_before_the_download_is_a_refusal(
    hub: Hub, served: str, settings: Settings
) -> None:
    model = resolve_model("acme/tiny-1b", HERE, settings)
    gated = fixture("error_403_gated__resolve__google__gemma-3-27b-it__config.json")
    hub.broken = [gated] * 9
    with pytest.raises(ModelError) as caught:
        download_model(model)
    assert caught.value.reason == "gated"


def test_resolve_a_cut_off_file_from_the_hub_is_refused(
    hub: Hub, model_folder: Path, settings: Settings
) -> None:
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    hub.serve("acme/cut", model_folder)
    with pytest.raises(ModelError, match=r"`model\.safetensors` is truncated") as caught:
        download_model(resolve_model("acme/cut", HERE, settings))
    assert caught.value.reason == "broken_weights"


def test_resolve_the_librarys_environment_variables_are_respected(hub: Hub, home: Path) -> None:
    code = (
        "from runners.models.resolve import resolve_model; from tracker.records import EngineSettings; "
        "from tracker.settings import load_settings; "
        f"print(resolve_model('{LLAMA}', EngineSettings(), load_settings()).revision)"
    )
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": GOOD_TOKEN, "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_HOME": str(home / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hub.infos[LLAMA]["sha"]


# --- on disk ---------------------------------------------------------------------------------------------


def test_resolve_a_folder_is_identified_by_its_content(model_folder: Path, settings: Settings) -> None:
    model = resolve_model(str(model_folder), HERE, settings)
    assert model.model_id == "local/tiny-1b"
    assert model.revision.startswith("sha256:")
    assert (model.path, model.n_params) == (str(model_folder), 128)
    copy = model_folder.with_name("copy")
    shutil.copytree(model_folder, copy)
    assert resolve_model(str(copy), HERE, settings).revision == model.revision
    (copy / "tokenizer.json").write_text('{"changed": true}')
    assert resolve_model(str(copy), HERE, settings).revision != model.revision


def test_resolve_a_fine_tune_does_not_take_the_name_of_its_base(
    model_folder: Path, settings: Settings
) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"_name_or_path": "acme/base"}))
    assert resolve_model(str(model_folder), HERE, settings).model_id == "local/tiny-1b"


def test_resolve_files_that_no_engine_reads_do_not_change_the_identity(
    model_folder: Path, settings: Settings
) -> None:
    before = resolve_model(str(model_folder), HERE, settings)
    (model_folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (model_folder / "optimizer.pt").write_bytes(b"state")
    after = resolve_model(str(model_folder), HERE, settings)
    assert after.revision == before.revision
    assert after.license == "apache-2.0"


def test_resolve_weights_are_hashed_once(model_folder: Path, settings: Settings) -> None:
    before = resolve_model(str(model_folder), HERE, settings)
    cache = settings.home / HASHES_FILE
    known = json.loads(cache.read_text())
    known[str(model_folder / "model.safetensors")]["sha256"] = "remembered"
    cache.write_text(json.dumps(known))
    assert resolve_model(str(model_folder), HERE, settings).revision != before.revision
    (model_folder / "model.safetensors").touch()
    assert resolve_model(str(model_folder), HERE, settings).revision == before.revision


def test_resolve_a_damaged_hash_cache_costs_only_time(model_folder: Path, settings: Settings) -> None:
    before = resolve_model(str(model_folder), HERE, settings)
    (settings.home / HASHES_FILE).write_text("{damaged")
    assert resolve_model(str(model_folder), HERE, settings) == before


def test_resolve_a_snapshot_in_the_hubs_cache_keeps_its_true_identity(
    model_folder: Path, settings: Settings
) -> None:
    snapshot = model_folder.parent / "models--acme--tiny-1b" / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    model_folder.rename(snapshot)
    model = resolve_model(str(snapshot), HERE, settings)
    assert (model.model_id, model.revision) == ("acme/tiny-1b", "a" * 40)


def break_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])


def cut_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:20])


def garble_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((5).to_bytes(8, "little") + b"{nope" + bytes(99))


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")


@pytest.mark.parametrize(
    ("damage", "message", "reason"),
    [
        (break_index, "1 of 2 weight files are missing, such as `model-00002", "broken_weights"),
        (cut, "is truncated: ", "broken_weights"),
        (cut_header, "has no complete safetensors header", "broken_weights"),
        (garble_header, "has no readable safetensors header", "broken_weights"),
        (pointer, "is a Git LFS pointer", "broken_weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "is empty", "broken_weights"),
        (lambda f: (f / "config.json").write_text("{"), "`config.json` cannot be read", "broken_weights"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights", "missing_weights"),
        (
            lambda f: (f / "model.safetensors").rename(f / "model.bin"),
            "only pickled weights",
            "pickle_weights",
        ),
        (lambda f: (f / "model.safetensors").rename(f / "x.gguf"), "only GGUF weights", "unsupported"),
    ],
)
def test_resolve_a_broken_folder_is_refused_before_anything_is_loaded(
    damage: object, message: str, reason: str, model_folder: Path, settings: Settings
) -> None:
    assert callable(damage)
    damage(model_folder)
    error = refused(f"{model_folder}/", settings)
    assert message in str(error)
    assert error.reason == reason
    assert error.hint


def test_resolve_a_folder_without_a_config_is_no_model_and_so_no_refusal(
    model_folder: Path, settings: Settings
) -> None:
    (model_folder / "config.json").unlink()
    with pytest.raises(
        TrackerError, match=r"contains no model: `local/tiny-1b` has no `config.json`"
    ) as caught:
        resolve_model(f"{model_folder}/", HERE, settings)
    assert caught.value.exit_code == 1
    assert caught.value.hint


@pytest.mark.parametrize(("name", "what"), [("./nowhere", "does not exist"), (__file__, "is a file")])
def test_resolve_a_folder_that_is_none_is_a_clear_error(name: str, what: str, settings: Settings) -> None:
    with pytest.raises(TrackerError, match=what) as caught:
        resolve_model(name, HERE, settings)
    assert caught.value.exit_code == 1


def test_resolve_a_cache_that_has_only_the_configuration_is_not_taken_for_the_model(
    hub: Hub, settings: Settings, model_folder: Path
) -> None:
    revision = hub.serve("acme/tiny-1b", model_folder)
    huggingface_hub.hf_hub_download("acme/tiny-1b", "config.json", revision=revision)  # as the fit check does
    folder = download_model(resolve_model("acme/tiny-1b", HERE, settings))
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"sha": None}, "names no commit"),
        ({"sha": "main"}, "names no commit"),
        ({"sha": "../../x"}, "names no commit"),
        ({"siblings": [{"rfilename": None}]}, "in a form that cannot be read"),
        ({"siblings": [{}]}, "in a form that cannot be read"),
        ({"safetensors": {"total": -5}}, "in a form that cannot be read"),
        ({"id": 5}, "in a form that cannot be read"),
    ],
)
def test_resolve_metadata_that_are_not_the_hubs_are_one_sentence(
    said: dict[str, Any], words: str, hub: Hub, settings: Settings
) -> None:
    hub.infos["Qwen/Qwen3-8B"] |= said
    with pytest.raises(UnreachableError, match=words) as caught:
        resolve_model("Qwen/Qwen3-8B", HERE, settings)
    assert caught.value.hint


def test_resolve_a_model_that_the_hub_no_longer_has_is_not_its_own_suggestion(
    hub: Hub, settings: Settings
) -> None:
    with pytest.raises(UnknownNameError, match="no model is called `acme/gone`") as caught:
        resolve_model("acme/gone", HERE, settings, known=["acme/gone", "acme/gone-2"])
    assert "did you mean" not in caught.value.hint
    assert "deleted, renamed, or made private" in caught.value.hint
