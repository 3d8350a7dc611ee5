"""How the tokens of written answers are chosen: as the task says, greedily, or as the model's makers say.

The makers' settings are those of `generation_config.json` beside the weights. Vendors of thinking models warn
against greedy decoding, which many tasks of lm-eval ask for: it ends in loops.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from runners.engines import Engine, GenerationRequest
from runners.harness.questions import Request, TaskQuestion
from tracker.errors import EngineError
from tracker.records import Model

GENERATION_CONFIG = "generation_config.json"
# Settings that a checkpoint may state, with the values that change nothing.
NEUTRAL_VALUES: Mapping[str, tuple[float, ...]] = {
    "temperature": (), "top_p": (1.0,), "top_k": (0, -1), "min_p": (0.0,), "repetition_penalty": (1.0,),
    "presence_penalty": (0.0,), "frequency_penalty": (0.0,),
}  # fmt: skip
MOST_TOKENS = 2**31 - 1  # of a vocabulary, as every engine counts them
LEAST_TEMPERATURE = 1e-9  # below it logits overflow: the most probable token in any case
# What all engines take of each, beside `NEUTRAL_VALUES`: the least and the most.
RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 1_000), "top_p": (0, 1), "top_k": (-1, MOST_TOKENS), "min_p": (0, 1),
    "repetition_penalty": (0.001, 1_000), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2),
}  # fmt: skip
FIELDS = ("temperature", "top_p")  # of a `GenerationRequest`; the rest is in its `sampling`
SHOWN_LENGTH = 40  # of a stranger's value
SEED_BYTES = 4  # of which 31 bits are used: what every server takes
UNKNOWN_HINT = "use `--sampling task` or `--sampling greedy`"


def stated_sampling(config: Mapping[str, Any]) -> dict[str, float]:
    """The sampling settings in a generation config; empty if it states none.

    `do_sample: false` is greedy; settings without a temperature sample at temperature 1.

    Raises:
        ValueError: a value is no number, or one that no engine takes.
    """
    do_sample = config.get("do_sample")
    if not isinstance(do_sample, bool | None):
        raise ValueError(f"`do_sample` must be true or false, not {_shown(do_sample)}")
    if do_sample is False:
        return {"temperature": 0.0}
    found = {name: _checked(name, value) for name in RANGES if (value := config.get(name)) is not None}
    stated = {name: value for name, value in found.items() if value not in NEUTRAL_VALUES[name]}
    return {"temperature": 1.0} | stated if stated or do_sample else {}


def _checked(name: str, value: object) -> float:
    """A sampling value that every engine takes.

    Raises:
        ValueError: it is none.
    """
    least, most = RANGES[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= cast(float, value) <= most or (name == "top_p" and value == 0):
        span = f"above 0 and at most {most}" if name == "top_p" else f"from {least:,} to {most:,}"
        raise ValueError(f"`{name}` must be {span}, not {_shown(value)}")
    number = cast(float, value)
    if name == "top_k" and number != int(number):
        raise ValueError(f"`{name}` must be a whole number, not {_shown(value)}")
    if name == "temperature" and number < LEAST_TEMPERATURE:
        return 0.0
    return int(number) if name == "top_k" else number


def _shown(value: object) -> str:
    """The value as its file has it, shortened."""
    try:
        text = json.dumps(value)
    except ValueError:  # a number of thousands of digits
        return "a number that is too long"
    return f"`{text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + '…'}`"


def model_sampling(model: Model, engine: Engine) -> dict[str, float]:
    """The sampling settings of the model's own generation config; for a server, of the one on the Hub.

    Raises:
        EngineError: they cannot be known, or are invalid (reason `unsupported`).
    """
    ask = getattr(engine, "generation_config", None)
    config = ask() if ask is not None else _stored_config(model)
    try:
        values = stated_sampling(config) if config is not None else {}
    except ValueError as error:
        message = f"`{model.model_id}` states sampling that cannot be used: `{GENERATION_CONFIG}`: {error}"
        raise EngineError(message, reason="unsupported", hint=UNKNOWN_HINT) from error
    if not values:
        message = f"`{model.model_id}` states no sampling: `{GENERATION_CONFIG}` is missing or has none"
        raise EngineError(message, reason="unsupported", hint=UNKNOWN_HINT)
    return values


def _stored_config(model: Model) -> Mapping[str, Any] | None:
    path = Path(model.path or ".") / GENERATION_CONFIG
    if model.path is None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        message = f"`{model.model_id}`: `{GENERATION_CONFIG}` is not valid JSON: {error}"
        raise EngineError(message, reason="unsupported", hint=UNKNOWN_HINT) from error
    return config if isinstance(config, dict) else None


def is_sampled(questions: Sequence[TaskQuestion]) -> bool:
    """Whether any answer to these questions is sampled, so that asking again gives another one."""
    return any(
        isinstance(request, GenerationRequest) and request.temperature > 0
        for question in questions
        for request in question.requests
    )


def resampled(
    questions: Sequence[TaskQuestion], values: Mapping[str, float] | None, *, seed: int, repeat: int
) -> list[TaskQuestion]:
    """The questions with these settings for their written answers, and with seeds of this repeat.

    `values` None: the settings of the task. A seed depends on the question, not on what is asked beside it.
    """
    if values is None and not repeat:
        return list(questions)
    return [
        replace(
            question,
            requests=tuple(
                _resampled(request, values, seed=_seed(question, seed, repeat, place))
                for place, request in enumerate(question.requests)
            ),
        )
        for question in questions
    ]


def _resampled(request: Request, values: Mapping[str, float] | None, *, seed: int) -> Request:
    if not isinstance(request, GenerationRequest):
        return request
    if values is not None:
        own = {name: value for name, value in request.sampling.items() if name not in NEUTRAL_VALUES}
        request = replace(
            request,
            temperature=float(values.get("temperature", 0.0)),
            top_p=float(values.get("top_p", 1.0)),
            sampling=own | {name: value for name, value in values.items() if name not in FIELDS},
        )
    return replace(request, seed=seed if request.temperature > 0 else None)


def _seed(question: TaskQuestion, seed: int, repeat: int, place: int) -> int:
    text = f"{seed}\0{question.leaf.base_name}\0{question.doc_id}\0{repeat}\0{place}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:SEED_BYTES], "big") >> 1
