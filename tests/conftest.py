"""What every test may ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TRACKER_HOME, for this process and for every child."""
    path = tmp_path / "home"
    monkeypatch.setenv("TRACKER_HOME", str(path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return path


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings of that home."""
    return Settings(home=home)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A local model folder that is valid on disk: a config and one small safetensors file."""
    folder = tmp_path / "acme" / "tiny-1b"
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16}
    config |= {"intermediate_size": 16, "max_position_embeddings": 64, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps(
        {"lm_head.weight": {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}}
    ).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(512))
    (folder / "tokenizer.json").write_text("{}")
    return folder
