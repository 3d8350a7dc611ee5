"""Files of strangers: what is impossible is refused in one sentence, in linear time, by every reader."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import stamina
from huggingface_hub import constants

from runners.engines import choose_engine
from runners.hardware import describe_hardware
from runners.memory.fit import plan_fit
from runners.memory.weights import read_subject
from runners.models.checkpoint import folder_revision, read_checkpoint
from runners.models.hub import download_model
from runners.models.repository_files import check_config, parse_header, read_license
from runners.models.resolve import resolve_model
from tests.doubles.hub_double import Hub, running_hub
from tracker.errors import ModelError, TrackerError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

HERE = EngineSettings()
ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "9" * 4000

HEADERS = {  # header → what the message says
    f'{{"a":{DEEP}}}': "levels deep",
    '{"a":' + "[" * 70 + "]" * 70 + "}": "levels deep",
    '{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}': "where an integer belongs",
    '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}': "where an integer belongs",
    '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}': "where an integer belongs",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}': "where an integer belongs",
    f'{{"a":{{"dtype":"F32","shape":[{HUGE}],"data_offsets":[0,4]}}}}': "4,000 digits",
    '{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":[-5],"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":"12","data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"NEW","shape":[99999999999,99999999999],"data_offsets":[0,4]}}': "the shape",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-8,-4]}}': "the offsets",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}': "the offsets",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}': "the offsets",
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":{"0":4}}}': "the offsets",
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}': "has 4 bytes",
    '{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}': "no data type",
    '{"a":[]}': "is no object",
    f'{{"a":{ENTRY},"b":{ENTRY}}}': "overlap",
    f'{{"a":{ENTRY},"a":{ENTRY}}}': "the same name",
    f'{{"\\ud800":{ENTRY}}}': "no valid text",
    "[]": "is not a JSON object",
    "\0" * 10: "no readable safetensors header",
    '{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}': "truncated",
}


def weights(
    folder: Path, header: str | bytes, body: bytes = bytes(4), name: str = "model.safetensors"
) -> None:
    raw = header.encode() if isinstance(header, str) else header
    (folder / name).write_bytes(len(raw).to_bytes(8, "little") + raw + body)


def every_reader(folder: Path, settings: Settings) -> list[TrackerError]:
    """The error of each reader of a local folder."""
    model = Model("acme/odd", "sha256:0", path=str(folder))
    engine = choose_engine(EngineSettings(engine="transformers"), has_gpu=False)
    found = []
    for read in (
        lambda: resolve_model(f"{folder}/", HERE, settings),
        lambda: read_checkpoint(folder, "acme/odd"),
        lambda: read_subject(model),
        lambda: plan_fit(model, engine, describe_hardware()),
    ):
        with pytest.raises(TrackerError) as caught:
            read()
        found.append(caught.value)
    return found


def assert_one_sentence(error: TrackerError, says: str) -> None:
    assert says in str(error)
    assert len(str(error)) < 500
    assert all(character.isprintable() for character in f"{error}{error.hint}")
    assert error.hint


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_an_impossible_header_is_refused_by_every_reader(
    header: str, model_folder: Path, settings: Settings
) -> None:
    weights(model_folder, header)
    for error in every_reader(model_folder, settings):
        assert isinstance(error, ModelError)
        assert error.reason == "broken_weights"
        assert_one_sentence(error, HEADERS[header])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_header_in_another_encoding_is_refused(
    encoding: str, model_folder: Path, settings: Settings
) -> None:
    weights(model_folder, f'{{"a":{ENTRY}}}'.encode(encoding))
    for error in every_reader(model_folder, settings):
        assert_one_sentence(error, "no readable safetensors header")


@pytest.mark.parametrize("length", [0, 10 * 2**30, 2**63, 2**64 - 1])
def test_a_header_longer_than_its_file_is_not_read(
    length: int, model_folder: Path, settings: Settings
) -> None:
    (model_folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
    for error in every_reader(model_folder, settings):
        assert_one_sentence(error, "no complete safetensors header")


def test_possible_headers_are_read() -> None:
    entries = {
        "__metadata__": {"format": "pt"},
        "scalar": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    }
    entries |= {"empty": {"dtype": "F16", "shape": [0, 4], "data_offsets": [8, 8]}}
    entries |= {"four": {"dtype": "F4", "shape": [6], "data_offsets": [8, 11]}}
    entries |= {"new": {"dtype": "X9", "shape": [3], "data_offsets": [11, 15]}}
    raw = json.dumps(entries).encode() + b"  "
    found = {one.name: one.n_values for one in parse_header(raw, 8 + len(raw) + 15, "a/b", where="w")}
    assert found == {"scalar": 1, "empty": 0, "four": 6, "new": 3}


CONFIGS: dict[str, Any] = {
    "deep": "levels deep",
    "digits": "4,000 digits",
    "surrogate": "no valid text",
    "utf-16": "not in UTF-8",
    "list": "is not a JSON object",
    "quantization": "`quantization_config` in `config.json` is `['fp8']`, not an object",
    "nested quantization": "`quantization_config`",
    "layers": "`num_hidden_layers`",
    "many layers": "`config.json` has 9,000 layers, but there are 1 tensors",
    "infinite": "`hidden_size` in `config.json` is `inf`",
    "not a number": "`hidden_size` in `config.json` is `nan`",
    "text": "`hidden_size` in `config.json` is `12`",
    "object in a list": "`num_attention_heads`",
    "model type": "`model_type`",
    "architectures": "`architectures`",
    "layer types": "`layer_types`",
    "large": "more than 16,000,000 bytes",
}


def odd_config(kind: str, config: dict[str, Any]) -> bytes:
    text = json.dumps(config)[:-1]
    changed: dict[str, Any] = {
        "quantization": {"quantization_config": ["fp8"]},
        "nested quantization": {"text_config": {"quantization_config": "fp8"}},
        "layers": {"num_hidden_layers": 10**9},
        "many layers": {"text_config": {"num_hidden_layers": 9000}},
        "text": {"hidden_size": "12"},
        "object in a list": {"num_attention_heads": [8, {}]},
        "model type": {"model_type": ["llama"]},
        "architectures": {"architectures": "LlamaForCausalLM"},
        "layer types": {"layer_types": ["full_attention"] * 20_000},
        "infinite": {"hidden_size": float("inf")},
        "not a number": {"hidden_size": float("nan")},
    }
    raw = {
        "deep": f'{text},"x":{DEEP}}}',
        "digits": f'{text},"hidden_size":{HUGE}}}',
        "surrogate": f'{text},"model_type":"\\ud800"}}',
        "list": "[]",
        "large": f'{text},"x":"{"x" * 16_000_000}"}}',
    }
    if kind == "utf-16":
        return json.dumps(config).encode("utf-16")
    return raw.get(kind, json.dumps(config | changed.get(kind, {}))).encode()


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_impossible_config_is_refused_by_every_reader(
    kind: str, model_folder: Path, settings: Settings
) -> None:
    path = model_folder / "config.json"
    path.write_bytes(odd_config(kind, json.loads(path.read_text())))
    for error in every_reader(model_folder, settings):
        assert isinstance(error, ModelError)
        assert error.reason == "broken_weights"
        assert_one_sentence(error, CONFIGS[kind])


def test_what_real_files_say_is_no_reason_to_refuse() -> None:
    config = {"time_step_limit": [0.0, float("inf")], "num_key_value_heads": [4, None, 8], "head_dim": None}
    config |= {"sliding_window": False, "mamba_d_ssm": None, "dtype": {"text": "bfloat16"}, "n_inner": 4096.0}
    config |= {"mamba_d_head": "auto", "bos_token_id": 10**30, "rope_scaling": {"factor": 8.0}}
    assert check_config(config, "a/b") == config


INDEXED = {
    "../outside.safetensors": "cannot be in its folder",
    "/etc/passwd": "cannot be in its folder",
    "below/model.safetensors": "cannot be in its folder",
    "..": "cannot be in its folder",
    "": "cannot be in its folder",
    "a\0.safetensors": "cannot be in its folder",
    "\x1b]0;pwned\x07.safetensors": "cannot be in its folder",
    "\u202eevil.safetensors": "cannot be in its folder",
    "x" * 5000: "cannot be in its folder",
    "config.json": "no safetensors file",
    "link.safetensors": "a link to a file outside the folder",
    "lost.safetensors": "1 of 1 weight files are missing",
}


@pytest.mark.parametrize("name", INDEXED, ids=range(len(INDEXED)))
def test_an_index_leads_to_no_file_outside_the_folder(
    name: str, model_folder: Path, settings: Settings
) -> None:
    weights(model_folder.parent, f'{{"a":{ENTRY}}}', name="outside.safetensors")
    if name == "link.safetensors":
        (model_folder / name).symlink_to(model_folder.parent / "outside.safetensors")
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    for error in every_reader(model_folder, settings):
        assert isinstance(error, ModelError)
        assert_one_sentence(error, INDEXED[name])


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map":[]}', '{"weight_map":{"a":null}}', '{"weight_map":{"a":{}}}',
              '{"weight_map":{"a":"\\ud800"}}', "{", '{"weight_map":' + DEEP + "}"], ids=range(8),
)  # fmt: skip
def test_an_index_that_is_none_is_refused(index: str, model_folder: Path, settings: Settings) -> None:
    (model_folder / "model.safetensors.index.json").write_text(index)
    for error in every_reader(model_folder, settings):
        assert_one_sentence(error, "model.safetensors.index.json")


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "tokenizer_config.json", "tokenizer.json", "vocab.txt", "README.md"],
)
def test_a_link_out_of_the_folder_is_refused(name: str, model_folder: Path, settings: Settings) -> None:
    elsewhere = model_folder.parent / "elsewhere"
    path = model_folder / name
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_text("{}")
    path.symlink_to(elsewhere)
    with pytest.raises(ModelError, match="is a link to a file outside the folder"):
        resolve_model(f"{model_folder}/", HERE, settings)


def test_a_folder_of_templates_elsewhere_is_refused(model_folder: Path, settings: Settings) -> None:
    elsewhere = model_folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "default.jinja").write_text("x")
    (model_folder / "additional_chat_templates").symlink_to(elsewhere)
    with pytest.raises(ModelError, match="is a link to a file outside the folder"):
        resolve_model(f"{model_folder}/", HERE, settings)


def test_a_link_inside_the_folder_is_no_reason_to_refuse(model_folder: Path, settings: Settings) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "blob")
    (model_folder / "model.safetensors").symlink_to("blob")
    assert resolve_model(f"{model_folder}/", HERE, settings).n_params == 128


def test_every_file_that_is_loaded_counts_for_the_revision(model_folder: Path, settings: Settings) -> None:
    before = folder_revision(model_folder, settings)
    (model_folder / "additional_chat_templates").mkdir()
    (model_folder / "additional_chat_templates" / "default.jinja").write_text("other")
    after = folder_revision(model_folder, settings)
    assert after != before
    (model_folder / "additional_chat_templates" / "default.jinja").write_text("another")
    assert folder_revision(model_folder, settings) != after


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("\ufeff---\r\nlanguage: en\r\nlicense: 'apache-2.0'\r\n---\r\n", "apache-2.0"),
        ("---\nlicense: mit\n", None),
        ("# license: mit\n", None),
        ("---\nx:\n  license: mit\n---\n", None),
        ("---" + " \n" * 200_000, None),
        ("---" + " \n\t" * 100_000 + "x", None),
        ("---\n" + "license:" + " " * 60_000 + "\n---\n", None),
        ("---\n" * 100_000, None),
    ],
)
def test_a_model_card_of_any_kind_takes_no_time(card: str, license_: str | None, model_folder: Path) -> None:
    (model_folder / "README.md").write_bytes(card.encode())
    began_s = time.process_time()
    assert read_license(model_folder, "a/b") == license_
    assert time.process_time() - began_s < 0.5


def test_a_pipe_in_place_of_a_file_is_not_read(model_folder: Path, settings: Settings) -> None:
    os.mkfifo(model_folder / "README.md")
    assert resolve_model(f"{model_folder}/", HERE, settings).license is None


def test_a_file_that_no_tokenizer_needs_is_neither_read_nor_downloaded(
    hub: Hub, model_folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.models.checkpoint.MAX_BESIDE_BYTES", 3_000_000)
    (model_folder / "tokenizer.json").write_text(" " * 4_000_000)
    says = r"`tokenizer.json` has 4 MB, more than 3 MB"
    with pytest.raises(ModelError, match=says):
        resolve_model(f"{model_folder}/", HERE, settings)
    with pytest.raises(ModelError, match=says):
        download_model(Model("acme/large", hub.serve("acme/large", model_folder)))
    assert not [line for line in hub.requests if line.startswith("GET") and "/resolve/" in line]


# --- the same on the Hub ------------------------------------------------------------------------------------


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running, stamina.set_testing(True, attempts=1):
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home.parent / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
        huggingface_hub.close_session()


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_an_impossible_header_on_the_hub_is_refused(header: str, hub: Hub, model_folder: Path) -> None:
    weights(model_folder, header)
    sha = hub.serve("acme/odd", model_folder)
    with pytest.raises(ModelError) as caught:
        read_subject(Model("acme/odd", sha))
    assert_one_sentence(caught.value, HEADERS[header])


@pytest.mark.parametrize("name", [name for name in INDEXED if "link" not in name and "lost" not in name],
                         ids=range(len(INDEXED) - 2))  # fmt: skip
def test_an_index_on_the_hub_asks_for_no_file_elsewhere(name: str, hub: Hub, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "other.safetensors")
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    sha = hub.serve("acme/odd", model_folder)
    with pytest.raises(ModelError) as caught:
        read_subject(Model("acme/odd", sha))
    assert_one_sentence(caught.value, INDEXED[name])
    asked = {line.rpartition("/")[2] for line in hub.requests}
    assert asked <= {"config.json", "model.safetensors", "model.safetensors.index.json"}


def test_headers_of_shards_are_read_from_the_hub_without_downloading_them(
    hub: Hub, model_folder: Path
) -> None:
    entries = {
        f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(3000)
    }
    (model_folder / "model.safetensors").unlink()
    weights(model_folder, json.dumps(entries), bytes(12_000 + 5), name="1.safetensors")
    weights(model_folder, f'{{"a":{ENTRY}}}', name="2.safetensors")
    index = {"weight_map": {"t0": "1.safetensors", "a": "2.safetensors"}}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    subject = read_subject(Model("acme/shards", hub.serve("acme/shards", model_folder)))
    assert sum(one.n_copies for one in subject.tensors) == 3001
    (model_folder / "2.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"`2\.safetensors` is empty"):
        read_subject(Model("acme/shards", hub.serve("acme/shards", model_folder)))
