"""One engine for the whole run: loading takes a minute on two cores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines import Engine
from runners.models.demo import demo_model
from tracker.records import EngineSettings, Model
from tracker.settings import load_settings

FP32 = EngineSettings(engine="vllm", dtype="float32")
# The embedded model does not think; a template that mentions thinking makes the engines look for it.
THINKING_SWITCH = "{%- if enable_thinking is defined and enable_thinking %}{{ '<think></think>' }}{% endif %}"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    demo = demo_model(load_settings())
    folder = tmp_path_factory.mktemp("model") / "demo"
    shutil.copytree(Path(demo.path or ""), folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + THINKING_SWITCH)
    return replace(demo, path=str(folder))


@pytest.fixture(scope="session")
def vllm_engine(model: Model) -> Iterator[Engine]:
    from runners.engines.vllm.engine import VllmEngine

    engine = VllmEngine(model, FP32)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def reference(model: Model) -> Iterator[Engine]:
    from runners.engines.transformers.engine import TransformersEngine

    engine = TransformersEngine(model, replace(FP32, engine="transformers"))
    yield engine
    engine.close()
