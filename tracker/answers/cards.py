"""The graphics card that a user names: found in the shipped table, with near names for a typo."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tracker.errors import FieldError, TrackerError, UnknownNameError
from tracker.frontier.facts import Card
from tracker.frontier.tables import load_cards

MAX_CARDS = 64
MOST_GB = 1e6
SEVERAL = re.compile(r"(\d{1,2})\s*[x×]\s*(.+)", re.IGNORECASE)
MAKERS = re.compile(
    r"\b(?:nvidia|geforce|amd|radeon|intel|apple|instinct|tesla|graphics|gpu|laptop)\b|\(.\)|[\s_/-]+"
)
# The names that drivers give to some cards of data centers, as `_plain` leaves them, and those of the table.
DRIVER_NAMES = (
    (re.compile(r"h100(?:80gb)?hbm3"), "h100sxm"),
    (re.compile(r"a100(?:sxm4|pcie)(?=\d)"), "a100"),
)


@dataclass(frozen=True, slots=True)
class CardAsked:
    """The memory to fit into, and how fast it is."""

    name: str
    memory_gb: float  # that a model may take, over all cards, 10^9 bytes
    bandwidth_gb_s: float | None  # of one card; None: not known
    n_cards: int = 1
    card: Card | None = None  # its row in the table
    is_here: bool = False  # whether it is this machine's
    cpu: str | None = None  # the processor, if it is what runs a model


def find_card(name: str) -> CardAsked:
    """The card that `name` means: `RTX 4090`, `4090`, `M4 Max 64GB`, `2x RTX 3090`.

    Raises:
        UnknownNameError: no such card; similar names are suggested.
        TrackerError: several cards match.
        FieldError: an impossible number of cards.
    """
    several = SEVERAL.fullmatch(name.strip())
    n_cards, one = (int(several[1]), several[2]) if several else (1, name)
    if not 1 <= n_cards <= MAX_CARDS:
        raise FieldError("gpu", f"must be 1 to {MAX_CARDS} cards, got {n_cards}", example="2x RTX 3090")
    return asked(_match(one, load_cards()), n_cards=n_cards)


def card_with(memory_gb: float) -> CardAsked:
    """Some card with that much memory.

    Raises:
        FieldError: the memory is out of range.
    """
    if not 0 < memory_gb < MOST_GB:
        raise FieldError("vram_gb", f"must be a positive number of GB, got {memory_gb:g}", example=24)
    return CardAsked(f"a GPU with {memory_gb:g} GB", memory_gb, None)


def cards_with(memory_gb: float) -> tuple[str, ...]:
    """The names of the cards of which a model may take that much, the newest first."""
    found = [card for card in load_cards() if card.usable_gb == memory_gb]
    return tuple(card.card for card in sorted(found, key=lambda card: -card.released_year))


def asked(card: Card, *, n_cards: int = 1) -> CardAsked:
    """So many of this card."""
    name = card.card if n_cards == 1 else f"{n_cards}× {card.card}"
    return CardAsked(name, card.usable_gb * n_cards, card.bandwidth_gb_s, n_cards, card)


def named_card(device: str, cards: Iterable[Card] | None = None) -> Card | None:
    """The row of the table for a driver's name, such as `NVIDIA GeForce RTX 4090`; None if there is none."""
    wanted = _plain(device)
    for of_driver, of_table in DRIVER_NAMES:
        wanted = of_driver.sub(of_table, wanted)
    found = [card for card in cards or load_cards() if _is_named(_plain(card.card), wanted)]
    return max(found, key=lambda card: len(card.card), default=None)


def _is_named(card: str, device: str) -> bool:
    """Whether the device's name has the card's, with no zero after it: an A100 is no A10."""
    return re.search(rf"{re.escape(card)}(?!0)", device) is not None


def _match(name: str, cards: tuple[Card, ...]) -> Card:
    wanted = _plain(name)
    exact = [card for card in cards if _plain(card.card) == wanted]
    found = exact or [card for card in cards if wanted and _is_part(wanted, _plain(card.card))]
    if len(found) == 1:
        return found[0]
    if found:
        raise TrackerError(f"`{name}` is several cards", hint=" or ".join(f"`{card.card}`" for card in found))
    raise UnknownNameError("card", name, known=[card.card for card in cards])


def _is_part(wanted: str, card: str) -> bool:
    """Whether the card's name is the wanted one after a prefix, or before its memory or its socket."""
    rest = card.removeprefix(wanted) if card.startswith(wanted) else card.removesuffix(wanted)
    return rest != card and (not card.startswith(wanted) or bool(re.match(r"\d+gb|sxm|pcie", rest)))


def _plain(name: str) -> str:
    return MAKERS.sub("", name.casefold())
