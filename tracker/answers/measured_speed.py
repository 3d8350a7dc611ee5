"""The speed that a load generator measured of a model, where other faces would estimate it or rank by it.

A value is that of one level of one measurement, on one device; none is averaged with another. Where several
fit, the newest counts, and of its levels the one with the fewest requests under way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tracker.answers.cards import CardAsked, named_card
from tracker.memory_estimate import BITS, CPU
from tracker.settings import Settings
from tracker.wording import counted

if TYPE_CHECKING:
    from tracker.store import Snapshot

SEVERAL_CARDS = re.compile(r"(.+) × (\d+)")  # as engines write their device
FLOAT_BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "F32": 32.0, "BF16": 16.0, "F16": 16.0}
GGUF_BITS = re.compile(r"(?:^|[-_])(?:I?Q|TQ)(\d)(?:_|$)", re.IGNORECASE)  # Q4_K_M, IQ3_XS, UD-Q4_K_XL
NAMED_BITS = re.compile(r"(?:^|[^a-z0-9])(?:(\d)-?bit|int(\d)|w(\d)a\d+|(?:mx|nv)?fp(\d))", re.IGNORECASE)
LAPTOP = "laptop"
FOUR_BIT_METHODS = ("awq", "gptq")  # unless the name says otherwise


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """Output tokens per second of all requests under way, and what they were measured on."""

    speed_id: str
    model_id: str
    revision: str
    tokens_per_s: float
    concurrency: int  # requests under way at once
    prompt_tokens: int  # of one
    device: str
    cpu: str | None
    engine: str
    engine_version: str | None
    dtype: str | None
    quantization: str | None  # asked of the engine, else of the published weights
    is_published: bool  # whether these are the weights as published, in their own precision
    measured_on: date


def speed_phrase(row: Mapping[str, Any]) -> str:
    """What a speed was measured on: `measured on NVIDIA L4, 1 request at once, 1 Dec 2026`.

    `row` has the `speed_concurrency`, `speed_device` and `speed_measured_on` of a model; without concurrency
    it is the speed of a run, whose requests were as many as its engine took.
    """
    n, day = row["speed_concurrency"], date.fromisoformat(row["speed_measured_on"])
    at = "as many requests at once as its run had" if n is None else f"{counted(int(n), 'request')} at once"
    return f"measured on {row['speed_device']}, {at}, {day.day} {day:%b %Y}"


def measured_text(row: Mapping[str, Any]) -> str | None:
    """`speed_phrase` of a row whose speed a load generator measured; None of any other."""
    return speed_phrase(row) if isinstance(row.get("speed_id"), str) else None


def speed_columns(found: MeasuredSpeed | None) -> dict[str, Any]:
    """The columns of a row that say what its speed was measured on; nulls: it was not."""
    return {
        "speed_concurrency": found.concurrency if found else None,
        "speed_prompt_tokens": found.prompt_tokens if found else None,
        "speed_engine": found.engine if found else None,
        "speed_device": found.device if found else None,
        "speed_measured_on": found.measured_on.isoformat() if found else None,
        "speed_id": found.speed_id if found else None,
    }


def read_measured_speeds(settings: Settings) -> tuple[MeasuredSpeed, ...]:
    """One per measurement with an answer, the newest first."""
    from tracker.store import open_snapshot, snapshot_id

    if snapshot_id(settings) is None:
        return ()
    with open_snapshot(settings) as snapshot:
        return measured_speeds(snapshot)


def measured_speeds(snapshot: Snapshot) -> tuple[MeasuredSpeed, ...]:
    """The same from an open snapshot."""
    levels: dict[str, dict[str, Any]] = {}
    for row in snapshot.query("speeds", model_id=None):
        if row["output_tokens_per_s"] and row["n_answered"]:
            kept = levels.setdefault(row["speed_id"], row)
            if row["concurrency"] < kept["concurrency"]:
                levels[row["speed_id"]] = row
    return tuple(_measured(row) for row in levels.values())


def _measured(row: Mapping[str, Any]) -> MeasuredSpeed:
    asked = (row["settings"] or {}).get("quantization")
    return MeasuredSpeed(
        speed_id=row["speed_id"],
        model_id=row["model_id"],
        revision=row["revision"],
        tokens_per_s=row["output_tokens_per_s"],
        concurrency=row["concurrency"],
        prompt_tokens=row["tokens_per_prompt"],
        device=row["device"] or "an unknown device",
        cpu=(row["hardware"] or {}).get("cpu"),
        engine=row["engine"],
        engine_version=row["engine_version"],
        dtype=row["dtype"],
        quantization=asked or row["model_quantization"],
        is_published=asked is None and FLOAT_BITS.get(row["dtype"] or "", BITS) <= BITS,
        measured_on=row["started_at"].date(),
    )


def by_model(
    speeds: Iterable[MeasuredSpeed], parents: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[MeasuredSpeed, ...]]:
    """The speeds of each repository, in lower case; those of a copy also under its `parents`."""
    found: dict[str, list[MeasuredSpeed]] = {}
    for speed in speeds:
        key = speed.model_id.casefold()
        for name in dict.fromkeys((key, *(parents or {}).get(key, ()))):
            found.setdefault(name.casefold(), []).append(speed)
    return {name: tuple(some) for name, some in found.items()}


def speed_on_card(
    speeds: Iterable[MeasuredSpeed], card: CardAsked, *, model_id: str, bits: float, published_bits: float
) -> MeasuredSpeed | None:
    """The newest of a model's speeds on that card with weights of that many bits; None: there is none."""
    is_whole = bits >= published_bits
    for speed in speeds:
        is_own = speed.model_id.casefold() == model_id.casefold()
        is_at_bits = speed.is_published if is_own and is_whole else weight_bits(speed) == bits
        if is_at_bits and is_on_card(speed.device, speed.cpu, card):
            return speed
    return None


def is_on_card(device: str | None, cpu: str | None, card: CardAsked) -> bool:
    """Whether a device, as engines name theirs, is this card or so many of it."""
    if not device:
        return False
    several = SEVERAL_CARDS.fullmatch(device)
    name, n_cards = (several[1], int(several[2])) if several else (device, 1)
    if device == CPU:
        return card.cpu is not None and cpu == card.cpu
    if n_cards != card.n_cards:
        return False
    if card.card is None:
        return card.is_here and card.cpu is None and card.name.endswith(name)
    is_other_kind = LAPTOP in name.casefold() and not card.is_here  # the table has desktop cards
    return named_card(name) == card.card and not is_other_kind


def weight_bits(speed: MeasuredSpeed) -> float | None:
    """Bits of a weight, by the names of quantization and precision; None: they do not say."""
    name = speed.quantization
    if name is None:
        return FLOAT_BITS.get(speed.dtype or "")
    if name in FLOAT_BITS:
        return FLOAT_BITS[name]
    if found := GGUF_BITS.search(name) or NAMED_BITS.search(name):
        return float(next(filter(None, found.groups())))
    return 4.0 if name.casefold().startswith(FOUR_BIT_METHODS) else None


def speed_of_weights(
    speeds: Iterable[MeasuredSpeed],
    *,
    revision: str | None,
    dtype: str | None,
    quantization: str | None,
) -> MeasuredSpeed | None:
    """The newest of a model's speeds with these weights in this precision, by whichever engine and device."""
    asked = (revision, dtype, quantization)
    return next((one for one in speeds if (one.revision, one.dtype, one.quantization) == asked), None)
