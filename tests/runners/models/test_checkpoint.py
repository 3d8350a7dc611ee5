"""A model that cannot be loaded says why, in one sentence with a reason and a hint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from runners.engines import open_engine
from runners.engines.loading import choose_dtype
from tests.builders.tiny_models import save_random, tiny_tokenizer
from tracker.errors import EngineError, UnknownNameError
from tracker.records import EngineSettings

TOKENIZER = tiny_tokenizer()


def without_a_shard(folder: Path) -> None:
    index = {
        "metadata": {},
        "weight_map": dict.fromkeys(load_file(folder / "model.safetensors"), "lost.safetensors"),
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "other.safetensors")


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def of_another_shape(folder: Path) -> None:
    change_config(folder, intermediate_size=64)


def of_unknown_kind(folder: Path) -> None:
    change_config(folder, model_type="nobody-knows", architectures=["Nobody"])


def with_remote_code(folder: Path) -> None:
    change_config(
        folder, model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    )
    (folder / "own.py").write_text("raise SystemExit('this must never run')")


def change_config(folder: Path, **keys: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without_a_shard, "missing_weights"),
        (without_weights, "missing_weights"),
        (without_a_tensor, "broken_weights"),
        (of_another_shape, "broken_weights"),
        (cut_short, "broken_weights"),
        (as_pickle, "pickle_weights"),
        (of_unknown_kind, "unsupported"),
        (with_remote_code, "needs_remote_code"),
        (without_tokenizer, "missing_weights"),
    ],
)
def test_checkpoint_a_model_that_cannot_be_loaded_has_its_reason(
    tmp_path: Path, damage: Any, reason: str
) -> None:
    model = save_random(tmp_path, TOKENIZER)
    damage(tmp_path)
    with pytest.raises(EngineError) as caught:
        open_engine(model, EngineSettings())
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_checkpoint_a_dtype_that_does_not_exist_is_a_clear_error() -> None:
    with pytest.raises(UnknownNameError, match="no dtype is called `bfloat61`"):
        choose_dtype("bfloat61", torch.device("cpu"))


def test_checkpoint_online_quantization_is_left_to_vllm(tmp_path: Path) -> None:
    model = save_random(tmp_path, TOKENIZER)
    with pytest.raises(EngineError, match="cannot quantize") as caught:
        open_engine(model, EngineSettings(quantization="fp8"))
    assert caught.value.reason == "unsupported"
