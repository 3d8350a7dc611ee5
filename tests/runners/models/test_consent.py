"""`--trust-remote-code` covers one repository at one commit; what it names of others is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runners.engines import runs_remote_code
from runners.models.consent import is_known_to_transformers, needs_remote_code
from runners.models.resolve import resolve_model
from tracker.errors import ModelError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

ELSEWHERE = "evil/code--evil.Model"
OWN = {"AutoConfig": "evil.Conf", "AutoModelForCausalLM": "evil.Model"}

FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "model": ("config.json", {"auto_map": {"AutoModelForCausalLM": ELSEWHERE}}),
    "config": ("config.json", {"auto_map": {"AutoConfig": ELSEWHERE}, "model_type": "own"}),
    "nested": ("config.json", {"text_config": {"auto_map": {"AutoConfig": ELSEWHERE}}}),
    "in a list": ("config.json", {"parts": [{"deeper": {"auto_map": [None, ELSEWHERE]}}]}),
    "tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, ELSEWHERE]}}),
    "old tokenizer": ("tokenizer_config.json", {"auto_map": [ELSEWHERE, None]}),
    "processor": ("processor_config.json", {"auto_map": {"AutoProcessor": ELSEWHERE}}),
    "image processor": ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": ELSEWHERE}}),
    "path": ("config.json", {"auto_map": {"AutoModelForCausalLM": "../evil.Model"}}),
    "absolute": ("config.json", {"auto_map": {"AutoModelForCausalLM": "/tmp/evil.Model"}}),
    "kernel": ("config.json", {"_attn_implementation": "evil/kernel"}),
    "kernel of a commit": ("config.json", {"attn_implementation": "evil/kernel@main:run"}),
    "paged kernel": ("config.json", {"_attn_implementation": "paged|evil/kernel"}),
    "kernel of a part": ("config.json", {"text_config": {"_attn_implementation": {"": "evil/kernel"}}}),
    "unknown attention": ("config.json", {"_attn_implementation": "own"}),
    "experts": ("config.json", {"_experts_implementation": "evil/kernel"}),
    "weights": ("config.json", {"transformers_weights": "other.safetensors"}),
    "draft": ("config.json", {"speculators_config": {"verifier": {"name_or_path": "evil/big"}}}),
    "backbone": ("config.json", {"vision_config": {"use_pretrained_backbone": True, "backbone": "evil/net"}}),
}


def change(folder: Path, name: str, keys: dict[str, Any]) -> None:
    path = folder / name
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(known | keys))


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("allowed", [False, True], ids=["", "--trust-remote-code"])
def test_what_another_repository_gives_is_refused_with_and_without_consent(
    kind: str, allowed: bool, model_folder: Path, settings: Settings
) -> None:
    change(model_folder, *FOREIGN[kind])
    with pytest.raises(ModelError, match=r"^`local/tiny-1b` is refused: ") as caught:
        resolve_model(f"{model_folder}/", EngineSettings(trust_remote_code=allowed), settings)
    assert caught.value.reason == "unsupported"
    assert caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", ["sdpa", "eager", "flash_attention_2", None, {"vision_config": "sdpa"}])
def test_an_attention_of_the_library_is_no_reason_to_refuse(
    value: Any, model_folder: Path, settings: Settings
) -> None:
    change(model_folder, "config.json", {"_attn_implementation": value})
    assert resolve_model(f"{model_folder}/", EngineSettings(), settings).n_params == 128


def test_an_adapter_beside_whole_weights_is_refused(model_folder: Path, settings: Settings) -> None:
    change(model_folder, "adapter_config.json", {"base_model_name_or_path": "evil/base"})
    with pytest.raises(ModelError, match="both whole weights and an adapter"):
        resolve_model(f"{model_folder}/", EngineSettings(), settings)


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("config.json", {"model_type": "own", "auto_map": OWN}),
        ("config.json", {"model_type": "../..", "auto_map": OWN}),
        ("config.json", {"model_type": "auto", "auto_map": OWN}),  # a folder of transformers, no architecture
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.T", None]}},
        ),
    ],
)
def test_own_code_needs_consent_for_this_model(
    file: str, keys: dict[str, Any], model_folder: Path, settings: Settings
) -> None:
    change(model_folder, file, keys)
    with pytest.raises(ModelError) as caught:
        resolve_model(f"{model_folder}/", EngineSettings(), settings)
    assert caught.value.reason == "needs_remote_code"
    agreed = EngineSettings(trust_remote_code=True)
    assert runs_remote_code(resolve_model(f"{model_folder}/", agreed, settings), agreed)


def test_code_that_is_not_needed_is_not_run_even_with_consent(model_folder: Path, settings: Settings) -> None:
    change(model_folder, "config.json", {"auto_map": OWN})
    agreed = EngineSettings(trust_remote_code=True)
    assert not runs_remote_code(resolve_model(f"{model_folder}/", agreed, settings), agreed)
    assert not runs_remote_code(Model("a/b", "c" * 40, needs_remote_code=True), EngineSettings())


def test_known_architectures_are_those_of_the_library() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert all(is_known_to_transformers(name) for name in CONFIG_MAPPING_NAMES)
    for name in ("", "../..", "auto", "deprecated", "LLAMA", "llama/", "nobody"):
        assert not is_known_to_transformers(name)
    assert not needs_remote_code({"model_type": "llama", "auto_map": OWN}, "a/b", allowed=False)
