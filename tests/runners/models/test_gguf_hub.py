"""`org/name:FILE-OR-QUANT` as MODEL: the real client of the Hub against the stand-in."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import stamina
from huggingface_hub import constants

from runners.models import gguf_hub, gguf_parent
from runners.models.demo import N_PARAMS, gguf_path
from runners.models.gguf_facts import read_facts
from runners.models.gguf_hub import gguf_header, hub_header
from runners.models.gguf_names import gguf_models, gguf_name, quant_label
from runners.models.resolve import (
    bytes_to_download,
    fetch_model,
    resolve_model,
    stored_model_id,
    weights_format,
)
from tests.builders.gguf_builder import LLAMA, GgufBytes, write_split
from tests.doubles.hub_double import Hub, running_hub
from tracker.errors import ModelError, TrackerError, UnknownNameError, UnreachableError
from tracker.records import EngineSettings
from tracker.records.quantizers import Maker, maker_of
from tracker.settings import Settings

REPOSITORY = "acme/Tiny-GGUF"
ANY = EngineSettings(engine="tests.doubles.engines:Any")


@pytest.fixture
def hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one repository of GGUF files, and an empty cache."""
    folder = tmp_path / "served"
    for quant, file_type in (("Q4_K_M", 15), ("Q8_0", 7), ("Q3_K_S", 11)):
        GgufBytes(values=LLAMA | {"general.file_type": file_type}).write(folder / f"Tiny-{quant}.gguf")
    GgufBytes().write(folder / "mmproj-Tiny-F16.gguf")
    GgufBytes().write(folder / "imatrix_unsloth.gguf")
    write_split(folder, "Tiny-BF16", 2)
    gguf_hub._header.cache_clear()
    with running_hub() as running, stamina.set_testing(True, attempts=2):
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home.parent / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
        running.serve(REPOSITORY, folder, cardData={"license": "mit", "base_model": "acme/Tiny"})
        yield running
        huggingface_hub.close_session()


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("Q8_0", "Q8_0"),
        ("q8_0", "Q8_0"),
        ("Tiny-Q3_K_S.gguf", "Q3_K_S"),
        ("Tiny-Q3_K_S", "Q3_K_S"),
        ("Tiny-BF16-00002-of-00002.gguf", "BF16"),
    ],
)
def test_gguf_on_the_hub_is_found_by_quantization_or_file(
    asked: str, label: str, hub: Hub, settings: Settings
) -> None:
    model = resolve_model(f"{REPOSITORY}:{asked}", ANY, settings)
    assert (model.model_id, model.quantization) == (f"{REPOSITORY}:{label}", label)
    assert (model.revision, model.repository) == (hub.infos[REPOSITORY]["sha"], REPOSITORY)
    assert (model.license, model.path) == ("mit", None)


def test_gguf_without_a_file_takes_q4_k_m_and_says_so(
    hub: Hub, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = resolve_model(REPOSITORY, ANY, settings)
    assert model.file == "Tiny-Q4_K_M.gguf"
    assert "has 4 GGUF models; taking Q4_K_M (Q4_K_M, else the first" in caplog.text


def test_gguf_revision_before_or_after_the_file(hub: Hub, settings: Settings) -> None:
    commit = hub.infos[REPOSITORY]["sha"]
    for name in (f"{REPOSITORY}@{commit}:Q8_0", f"{REPOSITORY}:Q8_0@{commit}", f"{REPOSITORY}@main:Q8_0"):
        assert resolve_model(name, ANY, settings).revision == commit
    with pytest.raises(TrackerError, match="has two revisions"):
        resolve_model(f"{REPOSITORY}@main:Q8_0@main", ANY, settings)
    with pytest.raises(UnknownNameError, match="revision of"):
        resolve_model(f"{REPOSITORY}:Q8_0@nope", ANY, settings)


def test_gguf_that_the_repository_lacks_has_near_names(hub: Hub, settings: Settings) -> None:
    with pytest.raises(
        UnknownNameError, match="no GGUF file of `acme/Tiny-GGUF` is called `Q4_K_L`"
    ) as caught:
        resolve_model(f"{REPOSITORY}:Q4_K_L", ANY, settings)
    assert "`Q4_K_M`" in caught.value.hint
    with pytest.raises(UnknownNameError) as caught:
        resolve_model(f"{REPOSITORY}:mmproj-Tiny-F16.gguf", ANY, settings)
    assert caught.value.hint


def test_gguf_header_is_read_by_ranges_without_the_weights(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    shutil.copy(gguf_path(), folder / "SmolLM2-Q4_1.gguf")
    hub.serve("acme/SmolLM2-GGUF", folder)
    model = resolve_model("acme/SmolLM2-GGUF:Q4_1", ANY, settings)
    assert (model.n_params, model.quantization, model.license) == (N_PARAMS, "Q4_1", "apache-2.0")
    assert len([line for line in hub.requests if "/resolve/" in line]) == 2
    hub_header(model)
    assert len([line for line in hub.requests if "/resolve/" in line]) == 2


def test_gguf_download_brings_the_tokenizer_of_its_parent_to_compare(
    hub: Hub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, parent = tmp_path / "copy", tmp_path / "parent"
    place = {
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/acme/Tiny",
    }
    GgufBytes(values=LLAMA | place).write(folder / "Tiny-Q8_0.gguf")
    parent.mkdir()
    (parent / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "x": 1, "<s>": 2}}}')
    (parent / "model.safetensors").write_bytes(b"weights")
    hub.serve("acme/Copy-GGUF", folder)
    fetch_model(resolve_model("acme/Copy-GGUF:Q8_0", ANY, settings), ANY)  # its parent is not on this Hub
    hub.serve("acme/Tiny", parent)
    for most, n_files in ((10, 0), (2**20, 1)):
        shutil.rmtree(constants.HF_HUB_CACHE)
        monkeypatch.setattr(gguf_parent, "MAX_BYTES", most)
        fetch_model(resolve_model("acme/Copy-GGUF:Q8_0", ANY, settings), ANY)
        assert len(list(Path(constants.HF_HUB_CACHE).rglob("tokenizer.json"))) == n_files
    fetched = fetch_model(resolve_model("acme/Copy-GGUF:Q8_0", ANY, settings), ANY)
    (said,) = read_facts(str(fetched.path)).parent_differences
    assert said.endswith("1 of 3 tokens differ, the first is 1: `b`, there `x`")
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))


def test_gguf_download_has_every_part_and_works_offline_afterwards(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve_model(f"{REPOSITORY}:BF16", ANY, settings)
    sizes = [path.stat().st_size for path in sorted(hub.folders[REPOSITORY].glob("*of-00002.gguf"))]
    assert bytes_to_download(model, ANY) == sum(sizes)
    fetched = fetch_model(model, ANY)
    assert Path(str(fetched.path)).name == "Tiny-BF16-00001-of-00002.gguf"
    assert gguf_header(fetched).n_params == model.n_params
    assert bytes_to_download(model, ANY) == 0
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*Q8_0*"))
    hub.broken = [(503, {}, b"")] * 40
    again = resolve_model(f"{REPOSITORY}:BF16", ANY, settings)
    assert (again.model_id, again.revision, again.n_params) == (
        model.model_id,
        model.revision,
        model.n_params,
    )
    with pytest.raises((UnreachableError, UnknownNameError)):
        resolve_model(f"{REPOSITORY}:Q8_0", ANY, settings)


def test_gguf_server_that_sends_no_ranges_is_a_sentence(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    shutil.copy(gguf_path(), folder / "SmolLM2-Q4_1.gguf")
    hub.serve("acme/SmolLM2-GGUF", folder)
    hub.answers_ranges = False
    with pytest.raises(UnreachableError, match=r"sends no parts of `SmolLM2-Q4_1.gguf`"):
        resolve_model("acme/SmolLM2-GGUF", ANY, settings)


def test_gguf_repository_without_models_or_with_a_cut_file(hub: Hub, settings: Settings) -> None:
    hub.infos[REPOSITORY]["siblings"] = [{"rfilename": "mmproj-F16.gguf"}, {"rfilename": "../x.gguf"}]
    with pytest.raises(ModelError, match="has no GGUF file that is a model"):
        resolve_model(REPOSITORY, ANY, settings)
    hub.infos[REPOSITORY]["siblings"] = [{"rfilename": "cut.gguf"}]
    (hub.folders[REPOSITORY] / "cut.gguf").write_bytes(GgufBytes().written()[:-500])
    with pytest.raises(ModelError, match="cut off"):
        resolve_model(REPOSITORY, ANY, settings)


def test_gguf_names_that_mean_a_gguf() -> None:
    assert weights_format("acme/Tiny-GGUF") == weights_format("acme/Tiny:Q4_K_M") == "gguf"
    assert weights_format("acme/Tiny") == weights_format("acme/Tiny@abc") == "safetensors"
    assert gguf_name("http://127.0.0.1:8000/v1") is None
    assert stored_model_id("acme/Tiny-GGUF:q8_0@main", engine="transformers") == "acme/Tiny-GGUF:q8_0"


def test_gguf_that_is_another_model_than_its_name_says_is_told(
    hub: Hub, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folder = hub.folders[REPOSITORY]
    base = {
        "general.base_model.count": 1,
        "general.base_model.0.repo_url": "https://huggingface.co/other/Tiny",
    }
    GgufBytes(values=LLAMA | base).write(folder / "Tiny-Q4_K_M.gguf")
    hub.serve("acme/Huge-70B-GGUF", folder, cardData={"base_model": "acme/Huge-70B"})
    with caplog.at_level(logging.WARNING):
        resolve_model("acme/Huge-70B-GGUF:Q4_K_M", ANY, settings)
    assert "holds 0.000132B parameters, its name says 70B: it may be another model" in caplog.text
    assert "its card names `acme/Huge-70B` as its base model, the file `other/Tiny`" in caplog.text


def test_maker_of_a_copy() -> None:
    assert maker_of("Qwen/Qwen3-8B-GGUF", ["Qwen/Qwen3-8B"]) is Maker.FIRST_PARTY
    assert maker_of("bartowski/Qwen_Qwen3-8B-GGUF", ["Qwen/Qwen3-8B"]) is Maker.KNOWN_QUANTIZER
    assert maker_of("someone/Qwen3-8B-GGUF") is Maker.OTHER


LABELS = {
    "Qwen3-8B-Q4_K_M.gguf": "Q4_K_M",
    "UD-Q4_K_XL/Qwen3-235B-UD-Q4_K_XL-00001-of-00003.gguf": "UD-Q4_K_XL",
    "gpt-oss-20b-mxfp4.gguf": "MXFP4",
    "gpt-oss-20b-MXFP4_MOE.gguf": "MXFP4_MOE",
    "llama-2-7b.Q5_0.gguf": "Q5_0",
    "model-IQ2_XXS.gguf": "IQ2_XXS",
    "ggml-model-f16.gguf": "F16",
    "gemma-3-27b-it-q6_k.gguf": "Q6_K",
    "Qwen3-8B.gguf": None,
}


@pytest.mark.parametrize(("file", "label"), LABELS.items(), ids=LABELS)
def test_gguf_label_in_a_file_name(file: str, label: str | None) -> None:
    assert quant_label(file) == label


def test_gguf_two_files_of_one_quantization_have_their_names_as_labels() -> None:
    found = gguf_models(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "b-Q8_0.gguf"])
    assert [one.label for one in found] == ["a-Q4_K_M", "b-Q4_K_M", "Q8_0"]
