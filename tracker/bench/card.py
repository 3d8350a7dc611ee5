"""The card to answer for: the one that is named, or this machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.answers.cards import CardAsked, card_with, find_card, named_card
from tracker.errors import UsageError
from tracker.memory_estimate import GB

if TYPE_CHECKING:
    from runners.hardware import Hardware


def card_of(gpu: str | None = None, *, memory_gb: float | None = None) -> CardAsked:
    """The card called `gpu`, one with `memory_gb` GB, or what this machine has.

    Raises:
        UsageError: both are given.
        FieldError: the memory is out of range.
        UnknownNameError: there is no such card; similar names are suggested.
    """
    if gpu is not None and memory_gb is not None:
        raise UsageError("`--gpu` and `--vram-gb` cannot be combined", hint="use one of them")
    if memory_gb is not None:
        return card_with(memory_gb)
    if gpu is not None:
        return find_card(gpu)
    from runners.hardware import describe_hardware  # NVML

    return this_card(describe_hardware())


def this_card(hardware: Hardware) -> CardAsked:
    """The cards of this machine, or its main memory if it has none."""
    if not hardware.gpus:
        return CardAsked(
            "this machine's main memory", hardware.ram_bytes / GB, None, is_here=True, cpu=hardware.cpu
        )
    first = hardware.gpus[0]
    known = named_card(first.name)
    alike = [card for card in hardware.gpus if card.name == first.name]
    return CardAsked(
        first.name if len(alike) == 1 else f"{len(alike)}× {first.name}",
        sum(card.total_bytes for card in alike) / GB,
        known.bandwidth_gb_s if known else None,
        len(alike),
        known,
        is_here=True,
    )
