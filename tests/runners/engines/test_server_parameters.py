"""Parameters that a server refuses, in the words of six kinds of servers: left out, and remembered."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from runners.engines import GenerationRequest
from runners.engines.server.api import LONGEST_WAIT_S, BusyServerError, requested_wait_s, wait_before_retry
from runners.engines.server.engine import ServerEngine
from runners.engines.server.parameters import ServerParameters, blamed_parameters
from tests.runners.engines.test_server_variants import JSON, Reply, Server, answers, serving
from tracker.errors import EngineError, FieldError
from tracker.records import EngineSettings, Model

SENT = {"max_tokens", "temperature", "top_p", "seed", "stop", "stream_options", "presence_penalty"}


def openai(message: str, **more: Any) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more
    }


def fastapi(*names: str, kind: str = "extra_forbidden") -> dict[str, Any]:
    rows = [
        {"type": kind, "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}
        for name in names
    ]
    return {"detail": rows}


NEW_NAME = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)
ONE_VALUE = (
    "Unsupported value: 'temperature' does not support 0.0 with this model. "
    "Only the default (1) value is supported."
)
LITELLM = (
    "litellm.UnsupportedParamsError: openai does not support parameters: ['seed', 'top_p'], for model=o1."
)
CONTEXT = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"
TOO_MANY = f"'max_tokens' or 'max_completion_tokens' is too large: 5000. {CONTEXT}"
NOT_POSITIVE = "Input validation error: `temperature` must be strictly positive"


@pytest.mark.parametrize(
    ("body", "blamed"),
    [
        (openai(NEW_NAME, param="max_tokens", code="unsupported_parameter"), {"max_tokens"}),
        (openai(NEW_NAME), {"max_tokens"}),
        (openai(ONE_VALUE, param="temperature", code="unsupported_value"), {"temperature"}),
        (openai("Unrecognized request argument supplied: seed"), {"seed"}),
        (openai("Unrecognized request arguments supplied: seed, top_p"), {"seed", "top_p"}),
        (openai("property 'stream_options' is unsupported, did you mean 'stream'?"), {"stream_options"}),
        (openai("Invalid 'stop': array too long. Expected at most 4", param="stop"), {"stop"}),
        (openai(LITELLM, type="None", code="400"), {"seed", "top_p"}),
        (fastapi("seed"), {"seed"}),
        (fastapi("presence_penalty", "max_tokens"), {"presence_penalty", "max_tokens"}),
        ({"object": "error", "message": fastapi("stop")}, {"stop"}),
        ({"error": NOT_POSITIVE, "error_type": "validation"}, {"temperature"}),
        ({"error": "`top_p` must be > 0.0 and < 1.0", "error_type": "validation"}, {"top_p"}),
        ("unknown field seed", {"seed"}),
        (openai(CONTEXT), set()),
        (openai(TOO_MANY, param="max_tokens"), set()),
        (openai("`max_tokens` must be at most 512", param="max_tokens"), set()),
        (openai("This content is not allowed: stop it, and the seed of it"), set()),
        (openai("unsupported model"), set()),
        (fastapi("messages"), set()),
        ([], set()),
    ],
)  # fmt: skip
def test_server_parameters_are_read_from_each_shape_of_a_refusal(body: Any, blamed: set[str]) -> None:
    assert blamed_parameters(json.dumps(body).encode(), SENT) == blamed


BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
WATER = '"At what temperature does water boil?"'
REPEATED = "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]"


@pytest.mark.parametrize(
    ("body", "blamed"),
    [
        ({"message": "This model doesn't support the temperature field. Remove temperature and try again."},
         {"temperature"}),
        (openai("seed is not supported"), {"seed"}),
        (openai("temperature is deprecated for this model."), {"temperature"}),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": BOTH}},
         {"temperature", "top_p"}),
        (openai(BOTH, param="temperature"), {"temperature", "top_p"}),
        ({"message": "The model returned the following errors: temperature and top_p cannot both be "
          "specified for this model."}, {"temperature", "top_p"}),
        ({"message": "Malformed input request: extraneous key [seed] is not permitted, please reformat."},
         {"seed"}),
        ({"message": "Malformed input request: #: extraneous key [presence_penalty] is not permitted"},
         {"presence_penalty"}),
        ({"error": {"type": "invalid_request_error", "message": "seed: Extra inputs are not permitted"}},
         {"seed"}),
        ({"error": {"type": "x", "message": "`temperature` may only be set to 1 when thinking is enabled."}},
         {"temperature"}),
        ([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
           'Invalid JSON payload received. Unknown name "presence_penalty": Cannot find field.'}}],
         {"presence_penalty"}),
        ({"error": {"code": 400, "message": "Unsupported parameter: presencePenalty"}}, {"presence_penalty"}),
        (openai("This model does not support the presence_penalty, seed and stop parameters."),
         {"seed", "stop", "presence_penalty"}),
        (openai("Unknown parameter: 'seed'. Supported parameters are 'temperature', 'top_p'."), {"seed"}),
        ("Failed to deserialize: unknown field `seed`, expected one of `model`, `temperature`", {"seed"}),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(
            openai("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"))}}},
         {"top_p"}),
        (openai(REPEATED), {"seed"}),
        ({"message": "top_p must be in (0, 1], got 1.5", "type": "BadRequestError", "code": 400}, {"top_p"}),
        ({"error": "unsupported option: seed"}, {"seed"}),
        ({"error": {"message": "Model.chat() got an unexpected keyword argument 'seed'"}}, {"seed"}),
    ],
)  # fmt: skip
def test_server_parameters_are_blamed_in_the_words_of_further_servers(body: Any, blamed: set[str]) -> None:
    assert blamed_parameters(json.dumps(body).encode(), SENT) == blamed


@pytest.mark.parametrize(
    "body",
    [
        openai(f"Your input was rejected by the content filter: {WATER}"),
        openai(f"Invalid input: {WATER} is not allowed"),
        openai(f"Unsupported input {WATER[:-1]}"),  # cut
        openai("Your prompt contains the forbidden word 'temperature'"),
        openai("The content 'stop' is not allowed", code="unsupported_parameter"),
        openai("Invalid prompt: your prompt was flagged: seed is not supported"),
        openai("Invalid 'messages[0].content': 'what is a seed?' is not a supported text"),
        openai("Invalid value in the field 'stop it'", param="messages"),
        openai("The response was filtered by Azure's content management policy", code="content_filter"),
        openai("Unsupported image; at this temperature no seed grows, so stop"),
        {"message": "unknown model `seed-oss`", "type": "temperature", "code": "unsupported `temperature`"},
        {"detail": [{"type": "string_type", "loc": ["body", "messages", 0, "content"],
                     "msg": "Input should be a valid string", "input": "unsupported `seed`"}]},
        {"error": "invalid message: “set the temperature field” is not supported"},
        {"error": {"message": "Failed to parse tool call: unexpected token in 'top_p seed stop'"}},
        "the prompt is not allowed: unknown field of study, the temperature of stars",
        openai("Blocked by safety settings: `temperature` and `top_p` cannot both be specified"),
        openai("Unsupported model. Did you mean `seed`?"),
        openai("Unknown parameter: 'top_k'. Please use 'top_p' or 'temperature'."),
        openai("Unknown parameter: 'messages[0].seed'."),
        openai("Invalid schema for response_format: property 'temperature of water' is not supported"),
    ],
)  # fmt: skip
def test_server_parameters_a_refusal_of_a_prompt_blames_none(body: Any) -> None:
    assert blamed_parameters(json.dumps(body).encode(), SENT) == set()


@pytest.mark.parametrize(
    ("top_p", "options", "left"),
    [
        (1.0, (), {"temperature": 0.0}),
        (0.9, (), {"temperature": 0.0}),
        (1.0, ("top_p=0.5",), None),
    ],
    ids=["neutral", "set", "the user's"],
)
def test_server_parameters_of_two_that_exclude_each_other_the_temperature_stays(
    top_p: float, options: tuple[str, ...], left: dict[str, float] | None
) -> None:
    parameters = ServerParameters(options)
    body = {"temperature": 0.0, "top_p": top_p}
    can_go_on = parameters.learn(json.dumps(openai(BOTH)).encode(), parameters.applied(body))
    assert (parameters.applied(body) if can_go_on else None) == left
    assert len(parameters.differences) == (1 if top_p == 0.9 else 0)


def test_server_parameters_a_body_that_is_no_json_blames_what_it_names() -> None:
    assert blamed_parameters(b"unsupported parameter: seed \xff", SENT) == {"seed"}
    assert blamed_parameters(b"[" * 100_000, SENT) == set()


class Picky(Server):
    """Takes requests only without `without`, and refuses one parameter at a time."""

    def __init__(self, refusals: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.refusals = refusals
        self.taken: list[dict[str, Any]] = []
        self.n_refused = 0
        self.counter = threading.Lock()

    def answer(self, body: dict[str, Any]) -> Reply:
        for name, said in self.refusals.items():
            if name in body:
                with self.counter:
                    self.n_refused += 1
                return 400, JSON, json.dumps(said).encode()
        self.taken.append(body)
        return super().answer(body)


O_SERIES = {
    "max_tokens": openai(NEW_NAME, param="max_tokens", code="unsupported_parameter"),
    "temperature": openai(ONE_VALUE, param="temperature", code="unsupported_value"),
    "top_p": openai("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"),
}


def test_server_parameters_that_are_refused_are_left_out_and_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Picky(O_SERIES)
    with serving(server) as url, caplog.at_level(logging.WARNING):
        engine, found = answers(url, n=6, concurrency=1)
    assert [one.text for one in found] == ["four"] * 6
    assert engine.refusals == []
    assert [sorted(body.keys() & {"max_tokens", "max_completion_tokens", "temperature", "top_p"})
            for body in server.taken] == [["max_completion_tokens"]] * 6  # fmt: skip
    assert {body["max_completion_tokens"] for body in server.taken} == {8}
    assert server.n_refused == 9  # each of three refusals with the three forms of `stream_options`
    said = "the server does not take `temperature`, so its own default applies instead of 0.0"
    assert engine.differences == (said,)  # the `top_p` of 1 is what no `top_p` means
    assert [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()] == [
        said
    ]


def test_server_parameters_are_learned_by_many_requests_at_once() -> None:
    with serving(Picky(O_SERIES)) as url:
        engine, found = answers(url, n=6, concurrency=6)
    assert [one.text for one in found] == ["four"] * 6
    assert len(engine.differences) == 1


def test_server_parameters_stop_strings_are_applied_here_if_the_server_refuses_them() -> None:
    server = Picky({"stop": openai("property 'stop' is unsupported")})
    with serving(server) as url:
        engine = ServerEngine(Model("m", "server:1"), EngineSettings(engine="server", base_url=url))
        ((_, found),) = engine.generate([GenerationRequest("plain", 8, stop=("u",))])
    assert (found.text, found.finish_reason, engine.differences) == ("fo", "stop", ())


def test_server_parameters_the_users_options_are_sent_and_part_of_the_fingerprint() -> None:
    server = Picky({})
    asked = ("top_k=20", "temperature=null", "user=me", 'extra_body={"a": [1]}', "top_p=0.5")
    with serving(server) as url:
        engine, _ = answers(url, n=1, server_option=asked)
        plain, _ = answers(url, n=1)
    first, second = server.taken
    given = {key: first.get(key) for key in ("top_k", "user", "extra_body", "top_p")}
    assert given == {"top_k": 20, "user": "me", "extra_body": {"a": [1]}, "top_p": 0.5}
    assert ("temperature" in first, second["temperature"]) == (False, 0.0)
    assert engine.info.versions["server_option"] == " ".join(sorted(asked))
    assert "server_option" not in plain.info.versions


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("top_k", "must be KEY=VALUE"),
        ("=3", "must be KEY=VALUE"),
        ("top k=3", "must be"),
        ("stop=x", "the task"),
        ("max_tokens=abc", "the task"),
        ("max_tokens=1e400", "the task"),
        ("max_completion_tokens=null", "the task"),
    ],
)
def test_server_parameters_an_option_that_is_none_is_refused(option: str, says: str) -> None:
    with pytest.raises(FieldError, match=says):
        EngineSettings(engine="server", server_option=(option,))


def test_server_parameters_an_option_that_the_server_refuses_is_an_error() -> None:
    refusing = Picky({"seed": openai("Unrecognized request argument supplied: seed")})
    with serving(refusing) as url, pytest.raises(EngineError, match="Unrecognized request argument"):
        answers(url, n=1, server_option=("seed=7",))


def test_server_parameters_a_refusal_that_blames_a_needed_one_is_an_error() -> None:
    with (
        serving(Picky({"messages": fastapi("messages")})) as url,
        pytest.raises(EngineError, match="rejected"),
    ):
        answers(url, n=1)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "61"}, 61.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Sun, 29 Nov 2026 10:02:00 GMT", "date": "Sun, 29 Nov 2026 10:00:00 GMT"}, 120.0),
        ({"retry-after": "Sun, 29 Nov 2026 09:00:00 GMT", "date": "Sun, 29 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 29 Nov 2026 10:02:00 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({}, None),
    ],
)
def test_server_api_reads_how_long_a_server_asks_to_wait(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert requested_wait_s(headers) == wait_s


@pytest.mark.parametrize(
    ("asked_s", "wait"), [(61.0, 61.0), (120.0, 120.0), (LONGEST_WAIT_S + 1, False), (None, True)]
)
def test_server_api_waits_as_long_as_asked_within_a_bound(asked_s: float | None, wait: bool | float) -> None:
    assert wait_before_retry(BusyServerError("busy", wait_s=asked_s)) == wait


def test_server_api_a_longer_wait_is_told() -> None:
    assert BusyServerError("busy", wait_s=3600.0).hint == "try again in 3600 s"
