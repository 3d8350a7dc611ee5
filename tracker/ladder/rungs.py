"""The rungs of a ladder as a user writes them, and the copies of a model that ingestion knows."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from runners.engines import AUTO
from runners.models.resolve import stored_model_id
from tracker.errors import TrackerError, UnknownNameError, UsageError
from tracker.queue.jobs import readable_here
from tracker.queue.priorities import Candidate, obstacle
from tracker.records import EngineSettings
from tracker.records.ladders import LadderRung, Value
from tracker.records.published import ModelKind
from tracker.settings import Settings
from tracker.store import open_snapshot, snapshot_id

MOST_COPIES = 6  # of those that ingestion knows, the most downloaded first
EXAMPLE = "--rung dtype=bfloat16, --rung org/name-AWQ or --rung org/name-GGUF:Q4_K_M,max-model-len=4096"
SERVER = "server"  # the engine that `auto` means with a URL
WORDS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
NOT_OF_A_RUNG = ("seed", "server_option")  # the draw of the items, and a setting with several values


@dataclass(frozen=True, slots=True)
class RungSpec:
    """A model, None for the parent's, and the settings in which it differs."""

    model: str | None
    changes: Mapping[str, Value]

    def rung(self, parent: str, base: EngineSettings) -> LadderRung:
        """The rung, not measured yet.

        Raises:
            FieldError: a setting is out of range.
        """
        settings = replace(base, **dict(self.changes))  # type: ignore[arg-type]  # checked in `parse_rung`
        model = self.model or parent
        named = [] if self.model is None else [self.model]
        label = ", ".join(
            [*named, *(f"{_flag(name)}={_shown(value)}" for name, value in self.changes.items())]
        )
        engine = settings.engine
        if engine == AUTO:  # a local one stores all models by their names; a server has its own names
            engine = EngineSettings().engine if settings.base_url is None else SERVER
        model_id = stored_model_id(model, engine=engine)
        return LadderRung(label or parent, model, model_id, settings, dict(self.changes))


def parse_rung(text: str) -> RungSpec:
    """The rung in a text such as `org/name-AWQ`, `dtype=bfloat16` or `org/name,dtype=float16`.

    Raises:
        UsageError: it is empty, or a setting has no value or a wrong one.
        UnknownNameError: there is no such setting.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"`--rung {text}` has an empty part", hint=f"for example {EXAMPLE}")
    model = None if "=" in words[0] else words.pop(0)
    changes: dict[str, Value] = {}
    for word in words:
        flag, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"`--rung {text}`: `{word}` has no value", hint=f"for example {EXAMPLE}")
        name = flag.strip().removeprefix("--").replace("-", "_")
        if name not in _KINDS:
            raise UnknownNameError("setting of a rung", flag.strip(), known=[_flag(one) for one in _KINDS])
        changes[name] = _value(name, value.strip(), text)
    return RungSpec(model, changes)


def known_copies(model_id: str, settings: Settings, memory_bytes: int) -> list[str]:
    """The quantized copies of a model that ingestion has seen, that fit and that an engine can read.

    The largest first, so that the ladder goes down.
    """
    if snapshot_id(settings) is None:
        return []
    is_readable = readable_here()
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("known_models", kind=str(ModelKind.QUANTIZED))
    found = [
        one
        for one in map(Candidate.from_row, rows)
        if model_id.casefold() in {parent.casefold() for parent in one.base_models}
        and obstacle(one, memory_bytes) is None
        and is_readable(one.model_id)
    ]
    found = sorted(found, key=lambda one: one.downloads, reverse=True)[:MOST_COPIES]
    return [one.model_id for one in sorted(found, key=lambda one: one.weights_bytes or 0, reverse=True)]


def distinct(rungs: Sequence[LadderRung]) -> tuple[LadderRung, ...]:
    """The rungs as they are, if no two are the same.

    Raises:
        UsageError: two have the same model and settings.
    """
    seen: dict[tuple[str, EngineSettings], LadderRung] = {}
    for rung in rungs:
        other = seen.setdefault(rung_key(rung), rung)
        if other is not rung:
            raise UsageError(
                f"`{rung.label}` and `{other.label}` are the same model with the same settings",
                hint=f"name other copies, or change a setting: {EXAMPLE}",
            )
    return tuple(rungs)


def rung_key(rung: LadderRung) -> tuple[str, EngineSettings]:
    """What makes two rungs the same."""
    return rung.model, rung.settings


def _kind(hint: Any) -> type:
    """The type of a setting's value besides None."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not types.NoneType)
    return cast(type, hint)


def _kinds() -> dict[str, type]:
    hints = get_type_hints(EngineSettings)
    return {
        one.name: _kind(hints[one.name]) for one in fields(EngineSettings) if one.name not in NOT_OF_A_RUNG
    }


_KINDS = _kinds()


def _value(name: str, value: str, text: str) -> Value:
    kind = _KINDS[name]
    if kind is bool:
        if value.lower() not in WORDS:
            raise UsageError(f"`--rung {text}`: `{_flag(name)}` is yes or no, not `{value}`")
        return WORDS[value.lower()]
    try:
        return cast(Value, kind(value))
    except ValueError as error:
        raise UsageError(f"`--rung {text}`: `{_flag(name)}` must be a number, not `{value}`") from error


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def require_copies(rungs: Sequence[LadderRung], model: str) -> None:
    """Refuse a ladder of the parent alone.

    Raises:
        TrackerError: it has no other rung.
    """
    if len(rungs) < 2:
        raise TrackerError(
            f"no copy of `{model}` is known here, so there is nothing to compare it with",
            hint=f"name copies: `tracker ladder {model} org/name-AWQ`; or settings: {EXAMPLE};"
            " `tracker ingest hub-models` lists the copies on the Hub",
        )
