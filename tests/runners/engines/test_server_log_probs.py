"""Log-probabilities of an echoed prompt, in the forms in which servers send them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from runners.engines import ContinuationRequest
from runners.engines.server.engine import ServerEngine
from tests.runners.engines.test_server_variants import Reply, Server, serving
from tracker.errors import EngineError
from tracker.records import EngineSettings, Model

JSON = "application/json"
LISTS = ("tokens", "token_logprobs", "top_logprobs")
ASKED = [ContinuationRequest("the sky is", " blue"), ContinuationRequest("the sky is", " very blue")]
Change = Callable[[dict[str, Any], dict[str, Any], str], Any]  # of log_probs, usage, the prompt


class Echo(Server):
    """A word is a token of -1 nat each, and one more token is written."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        words = str(body["prompt"]).split(" ")
        tokens = [words[0], *(f" {word}" for word in words[1:]), " x"]
        values = [-1.0] * (len(tokens) - 1)
        log_probs = {
            "tokens": tokens,
            "token_logprobs": [None, *values],
            "top_logprobs": [None, *({"a": value} for value in values)],
        }
        usage = {"prompt_tokens": len(tokens) - 1, "completion_tokens": 1}
        self.change(log_probs, usage, str(body["prompt"]))
        text = str(body["prompt"]) + " x"
        document = {"choices": [{"text": text, "logprobs": log_probs}], "usage": usage}
        return 200, JSON, json.dumps(document).encode()


def found(change: Change) -> list[float]:
    with serving(Echo(change)) as url:
        engine = ServerEngine(Model("m", "server:1"), EngineSettings(engine="server", base_url=url))
        answers = dict(engine.log_probs(ASKED))
    return [answers[place].log_prob for place in range(len(ASKED))]


def without_the_written(log_probs: dict[str, Any], usage: dict[str, Any], prompt: str) -> None:
    for name in LISTS:
        log_probs[name].pop()


def with_a_first_token(log_probs: dict[str, Any], usage: dict[str, Any], prompt: str) -> None:
    for name, first in zip(LISTS, ("<s>", None, None), strict=True):
        log_probs[name].insert(0, first)
    log_probs["token_logprobs"][1], log_probs["top_logprobs"][1] = -1.0, {}


def in_letters_of_the_vocabulary(log_probs: dict[str, Any], usage: dict[str, Any], prompt: str) -> None:
    log_probs["tokens"] = [token.replace(" ", "Ġ") for token in log_probs["tokens"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda log_probs, usage, prompt: None,
        lambda log_probs, usage, prompt: usage.clear(),
        lambda log_probs, usage, prompt: usage.update(completion_tokens=0),
        lambda log_probs, usage, prompt: usage.update(completion_tokens="many", prompt_tokens=None),
        lambda log_probs, usage, prompt: usage.update(prompt_tokens_details={"cached_tokens": "many"}),
        without_the_written,
        with_a_first_token,
        in_letters_of_the_vocabulary,
    ],
    ids=[
        "as it should be", "no counts", "nothing was written", "odd counts", "an odd cache",
        "the written token is not listed", "a first token is listed", "letters of the vocabulary",
    ],
)  # fmt: skip
def test_server_log_probs_are_those_of_the_continuation_alone(change: Change) -> None:
    assert found(change) == [-1.0, -2.0]


@pytest.mark.parametrize("value", [2.5, math.inf, math.nan])
def test_server_log_probs_a_value_that_none_can_have_is_missing(value: float) -> None:
    def change(log_probs: dict[str, Any], usage: dict[str, Any], prompt: str) -> None:
        log_probs["token_logprobs"][-2] = value

    assert all(map(math.isnan, found(change)))


@pytest.mark.parametrize("counts", [{}, {"prompt_tokens": 8, "completion_tokens": 1}], ids=["none", "wrong"])
def test_server_log_probs_of_a_text_that_is_no_echo_are_not_taken(counts: dict[str, int]) -> None:
    def change(log_probs: dict[str, Any], usage: dict[str, Any], prompt: str) -> None:
        log_probs["tokens"] = [f" w{place}" for place in range(16)]
        log_probs["token_logprobs"], log_probs["top_logprobs"] = [-1.0] * 16, [{"a": -0.5}] * 16
        usage.clear()
        usage.update(counts)

    with pytest.raises(EngineError, match="gives no log-probabilities for a prompt") as caught:
        found(change)
    assert caught.value.reason == "unsupported"
