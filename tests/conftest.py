"""What every test may ask for."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from runners.models.demo import demo_model
from tracker.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("TRACKER_CORPUS_SPLIT", "public")  # equal texts in every run, also for children
# what a child process needs to have the shifted clock of `make test-clock`; nothing in an ordinary run
CLOCK = {
    name: os.environ[name]
    for name in ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC", "TZ")
    if "FAKETIME" in os.environ and name in os.environ
}
IMPORTED_FROM = os.pathsep.join([str(ROOT), *([str(ROOT / "tests" / "shifted_clock")] if CLOCK else [])])


# The files that take longest, the longest first: two workers then end at about the same time.
LONGEST = (
    "test_worker", "test_weekly", "test_parity", "test_model_agent", "test_kinds_of_tasks", "test_replay",
    "test_vintages", "test_bench_cli", "test_place_suite", "test_transformers_engine", "test_docs",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; `make test` keeps this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the embedded model, made once for all workers; nobody writes to its folder."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with FileLock(root / "demo-home.lock"):
        demo_model(Settings(home=root / "demo-home"))
    return root / "demo-home"


def give_demo(demo_home: Path, settings: Settings) -> None:
    """Put the embedded model into another home, without copying its content."""
    source = Settings(home=demo_home).models_path
    shutil.copytree(source, settings.models_path, copy_function=os.link, dirs_exist_ok=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TRACKER_HOME, for this process and for every child."""
    path = tmp_path / "home"
    monkeypatch.setenv("TRACKER_HOME", str(path))
    monkeypatch.setenv("PYTHONPATH", IMPORTED_FROM)
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
