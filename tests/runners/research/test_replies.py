"""What is read out of a model's answer, and the sentence it is shown where nothing can be."""

from __future__ import annotations

import json

import pytest

from runners.research.agents.parse_json import Reply, read_reply, reply_schema

WANTED = Reply("why", {"beta1": 0.8, "n_layer": 3})
PAIRS = '[{"name": "beta1", "value": 0.8}, {"name": "n_layer", "value": 3}]'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"rationale": "why", "changes": {PAIRS}}}',
        '{"rationale": "why", "changes": {"beta1": 0.8, "n_layer": 3}}',
        f'Sure! Here it is:\n```json\n{{"rationale": "why", "changes": {PAIRS}}}\n```\nGood luck {{:-}}',
        f'<think>{{"changes": [] }} no, better:</think>{{"rationale": "why", "changes": {PAIRS}}}',
        f'First idea: {{"changes": {{"beta2": 0.9}}}}. No: {{"rationale": "why", "changes": {PAIRS}}}',
        f'{{"rationale": " why ", "changes": [{{"name": "beta1", "value": 0.7}}, {PAIRS[1:]}}}',
    ],
    ids=["pairs", "object", "prose around", "thinking before", "the last word counts", "changed its mind"],
)
def test_a_reply_is_found_wherever_it_stands(text: str) -> None:
    assert read_reply(text) == WANTED


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the answer is empty"),
        ("<think>I wonder whether", "the answer is empty"),
        ("I would lower the learning rate.", "no JSON object"),
        ('{"rationale": "why", "changes": [{"name": "bet', 'no complete JSON object with "changes"'),
        ('{"beta1": 0.8}', 'no complete JSON object with "changes"'),
        ('{"changes": 3}', "must be a list"),
        ('{"changes": [{"name": "beta1"}]}', 'must have a "name" and a "value"'),
        ('{"changes": {"beta1": [0.8]}}', "`beta1` must be a number"),
        ('{"changes": {"beta1": NaN}}', "NaN is not a valid value"),
        ('{"changes": {"beta1": 1e999}}', "`beta1` must be a number"),
        ('{"changes": {"beta1": 0.8, "beta1": 0.7}}', 'names "beta1" twice'),
        (f'{{"changes": {json.dumps({str(n): n for n in range(5)})}}}', "has 5 members, more than 4"),
        ('{"rationale": 3, "changes": []}', '"rationale" must be a string'),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"changes": {"n_layer": ' + "9" * 5000 + "}}", "limit"),
    ],
)
def test_replies_what_cannot_be_read_is_reported_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_reply(text)
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 300


def test_replies_the_schema_lists_each_number_with_its_own_values() -> None:
    schema = reply_schema({"beta1": {"type": "number", "minimum": 0.5}, "n_layer": {"enum": [1, 2]}})
    changes = schema["properties"]["changes"]
    assert [item["properties"]["name"]["const"] for item in changes["items"]["anyOf"]] == ["beta1", "n_layer"]
    assert changes["items"]["anyOf"][1]["properties"]["value"] == {"enum": [1, 2]}
    assert (changes["minItems"], changes["maxItems"]) == (1, 4)
