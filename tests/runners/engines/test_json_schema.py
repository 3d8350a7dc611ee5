"""Answers of the transformers engine keep to a JSON schema, whatever the model would rather say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines import Generation, GenerationRequest
from runners.engines.transformers.engine import TransformersEngine
from tests.builders.tiny_models import save_random, save_speaker, tiny_tokenizer
from tracker.errors import EngineError
from tracker.records import EngineSettings

SCHEMA = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "minLength": 1, "maxLength": 10},
        "beta": {"type": "number", "minimum": 0.5, "maximum": 0.95},
        "layers": {"type": "integer", "minimum": 2, "maximum": 4},
        "shape": {"enum": ["linear", "cosine"]},
    },
    "required": ["why", "beta", "layers", "shape"],
    "additionalProperties": False,
}


def answers(engine: TransformersEngine, requests: list[GenerationRequest]) -> list[Generation]:
    found = dict(engine.generate(requests))
    return [found[place] for place in range(len(requests))]


def test_json_schema_a_model_that_babbles_still_answers_within_the_schema(tmp_path: Path) -> None:
    engine = TransformersEngine(save_random(tmp_path, tiny_tokenizer()), EngineSettings())
    request = GenerationRequest("Question:", 110, temperature=1.0, json_schema=SCHEMA)
    found = answers(engine, [replace(request, seed=seed) for seed in range(12)])
    ended = [answer for answer in found if answer.finish_reason == "stop"]
    assert len(ended) >= 3  # the others wrote digits until the end of their budget
    for answer in ended:
        document = json.loads(answer.text)
        assert 0.5 <= document["beta"] <= 0.95
        assert document["layers"] in (2, 3, 4)
        assert document["shape"] in ("linear", "cosine")
        assert 1 <= len(document["why"]) <= 10
    assert len({answer.text for answer in ended}) > 1
    engine.close()


def test_json_schema_a_tokenizer_that_cannot_be_kept_to_a_schema_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    engine = TransformersEngine(save_random(tmp_path, tiny_tokenizer(metaspace=True)), EngineSettings())
    with pytest.raises(EngineError, match="Metaspace") as refused:
        answers(engine, [GenerationRequest("Question:", 9, json_schema=SCHEMA)])
    assert refused.value.reason == "unsupported"
    engine.close()


def test_json_schema_a_schema_of_one_request_leaves_the_others_alone(tmp_path: Path) -> None:
    engine = TransformersEngine(save_random(tmp_path, tiny_tokenizer()), EngineSettings())
    free = GenerationRequest("Question: is 7", 12)
    alone = answers(engine, [free])[0].text
    kept, beside = answers(engine, [replace(free, json_schema={"enum": ["yes", "no"]}), free])
    assert json.loads(kept.text) in ("yes", "no")
    assert beside.text == alone
    engine.close()


def test_json_schema_the_schema_begins_behind_the_thinking(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(thinks=True)
    said = tokenizer.encode("<think> fox</think>", add_special_tokens=False)
    prompt = tokenizer.encode("Answer:", add_special_tokens=False)
    model = save_speaker(tmp_path, tokenizer, [prompt[-1], *said])
    request = GenerationRequest("Answer:", 40, json_schema={"enum": ["linear", "cosine"]})
    engine = TransformersEngine(model, EngineSettings())
    answer = answers(engine, [request])[0]
    assert answer.thinking == "fox"
    assert json.loads(answer.text) in ("linear", "cosine")
    engine.close()
    engine = TransformersEngine(model, EngineSettings(thinking=False))
    answer = answers(engine, [request])[0]
    assert answer.thinking is None
    assert json.loads(answer.text) in ("linear", "cosine")
    engine.close()
