"""Sampling settings of a checkpoint, as the engines apply or send them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import LogitsProcessorList

from runners.engines import ChatPrompt, GenerationRequest
from runners.engines.sampling import TokenChoice
from runners.engines.server.engine import ServerEngine
from runners.harness.sampling import model_sampling
from tests.doubles.openai_double import running_server
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model

ALL = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}
SHA = "0" * 40
MODEL = Model("acme/bigram", "server:1")


@pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0.0), (0.0, 0.4), (-0.5, 0.3), (2.0, 2.0)])
def test_model_sampling_penalties_count_the_written_tokens_alone(presence: float, frequency: float) -> None:
    rng = np.random.default_rng(7)
    asked = {"presence_penalty": presence, "frequency_penalty": frequency}
    choice = TokenChoice(GenerationRequest("q", 9, sampling=asked), LogitsProcessorList(), seed=0)
    assert not choice.is_argmax
    for _ in range(200):
        logits = rng.normal(size=12).astype(np.float32)
        prompt, written = rng.integers(0, 12, 5).tolist(), rng.integers(0, 12, 8).tolist()
        expected = [
            logit - presence * (token in written) - frequency * written.count(token)
            for token, logit in enumerate(logits)
        ]
        picked = choice.pick(torch.tensor(logits), [*prompt, *written], n_prompt=len(prompt))
        assert picked == int(np.argmax(expected))


def in_hub_cache(folder: Path, config: dict[str, object]) -> None:
    """Put a generation config where the Hub's client keeps what it has downloaded."""
    repository = folder / "models--acme--bigram"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(SHA)
    (repository / "snapshots" / SHA).mkdir(parents=True)
    (repository / "snapshots" / SHA / "generation_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("places", "more"),
    [
        ({"/version": {"version": "0.32.0"}}, ("top_k", "min_p", "repetition_penalty")),
        ({"/props": {"build_info": "b4711"}}, ("top_k", "min_p")),
        ({}, ("top_k", "min_p", "repetition_penalty")),
    ],
    ids=["vllm", "llama.cpp", "by the owner of the model"],
)
def test_model_sampling_of_a_server_is_that_of_the_hub(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: dict[str, dict[str, object]],
    more: tuple[str, ...],
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    in_hub_cache(tmp_path, ALL)
    with running_server(places=places) as server:
        engine = ServerEngine(MODEL, EngineSettings(engine="server", base_url=server.url))
        assert model_sampling(MODEL, engine) == ALL
        assert engine.more_sampling == more
        sampling = {name: ALL[name] for name in more}
        prompt = ChatPrompt("q", [{"role": "user", "content": "q"}])
        list(engine.generate([GenerationRequest(prompt, 4, (), 0.6, 0.95, 7, sampling=sampling)]))
    sent = server.requests[-1]
    assert {name: sent.get(name) for name in (*more, "temperature", "top_p", "seed")} == {
        **sampling,
        "temperature": 0.6,
        "top_p": 0.95,
        "seed": 7,
    }


def test_model_sampling_of_a_server_that_nothing_is_known_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with running_server(models=[{"id": "acme/bigram", "owned_by": "proxy"}], places={}) as server:
        engine = ServerEngine(MODEL, EngineSettings(engine="server", base_url=server.url))
        assert engine.more_sampling == ()
        with pytest.raises(EngineError, match="`acme/bigram` states no sampling") as caught:
            model_sampling(MODEL, engine)
    assert "--sampling task" in caught.value.hint
