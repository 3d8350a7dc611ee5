"""What speaks against a GGUF being the model that its name says: sizes and base models that disagree."""

from __future__ import annotations

from collections.abc import Sequence

from runners.models.gguf import GgufHeader
from runners.models.repository_files import shown
from tracker.records.parameter_counts import AGREES, named_size
from tracker.records.quantizers import Maker, maker_of

WORDS = {
    Maker.FIRST_PARTY: "by the developer of the model",
    Maker.KNOWN_QUANTIZER: "by an account known for quantized copies",
    Maker.OTHER: "by neither the developer nor an account known for quantized copies",
}


def gguf_doubts(repository: str, header: GgufHeader, base_models: Sequence[str] = ()) -> tuple[str, ...]:
    """Sentences about what does not agree; none if all does.

    `base_models`: those that the card names. A mixture whose name has the size of one expert does not agree
    either, so a doubt is told and refuses nothing.
    """
    doubts = []
    named = named_size((repository, *base_models))
    n_params = header.n_params
    if named is not None and not AGREES[0] * named <= n_params <= AGREES[1] * named:
        doubts.append(
            f"`{shown(repository)}` holds {n_params / 1e9:.3g}B parameters, its name says {named / 1e9:.3g}B:"
            " it may be another model"
        )
    inside = {name.casefold() for name in header.base_models}
    on_card = {name.casefold() for name in base_models}
    if inside and on_card and not inside & on_card:
        doubts.append(
            f"`{shown(repository)}`: its card names `{shown(base_models[0])}` as its base model, the file"
            f" `{shown(header.base_models[0])}`"
        )
    return tuple(doubts)


def copy_note(repository: str, header: GgufHeader) -> str:
    """Who made the copy, and of which model."""
    of = f" of `{shown(header.base_models[0])}`" if header.base_models else ""
    return f"a copy{of} {WORDS[maker_of(repository, header.base_models)]}"
