"""Predict whether a model fits: resolve it, read its headers, predict the memory of its engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runners.card_support import can_use_card
from runners.engines import AUTO, choose_engine, engine_specs
from runners.hardware import Gpu, Hardware, describe_hardware
from runners.memory.fit import climb, suggestions
from runners.memory.prediction import Fit, predict, require_predictor
from runners.memory.quantized_variants import find_variants
from runners.memory.weights import read_subject
from runners.models.gguf_doubts import copy_note
from runners.models.gguf_hub import gguf_header
from runners.models.resolve import weights_format
from tracker.answers.cards import find_card
from tracker.bench.run import resolve_named
from tracker.errors import FieldError, UsageError
from tracker.memory_estimate import GB
from tracker.records import EngineSettings
from tracker.settings import Settings

GIB = 2**30
CONTEXTS = (4096, 8192, 32768, 131072)
MOST_MEMORY = 1e6
ASSUMED_CAPABILITY = "9.0"  # compute capability of an assumed card: one with fp8


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """Whether a model fits as asked, and the same for several lengths of context."""

    fit: Fit
    by_context: tuple[Fit, ...]  # the shortest first


@dataclass(frozen=True, slots=True)
class AssumedCard:
    """A card that this machine need not have: by its name or its memory; all None: none is assumed."""

    gpu: str | None = None  # such as `RTX 4090`
    vram_gb: float | None = None  # 10^9 bytes
    vram_gib: float | None = None  # 2^30 bytes

    def __post_init__(self) -> None:
        """Check the memory.

        Raises:
            FieldError: it is out of range.
            UsageError: the card is given in two ways.
        """
        if self.vram_gb is not None and self.vram_gib is not None:
            raise UsageError("`--vram-gb` and `--vram` cannot be combined", hint="use `--vram-gb`")
        if self.gpu is not None and (self.vram_gb, self.vram_gib) != (None, None):
            raise UsageError("`--gpu` and `--vram-gb` cannot be combined", hint="use one of them")
        for name, unit, value in (("vram_gb", "GB", self.vram_gb), ("vram", "GiB", self.vram_gib)):
            if value is not None and not 0 < value < MOST_MEMORY:
                raise FieldError(name, f"must be a positive number of {unit}, got {value:g}", example=24)

    def cards(self) -> tuple[Gpu, ...]:
        """What is assumed; nothing if nothing is given.

        Raises:
            UnknownNameError: there is no such card; similar names are suggested.
        """
        if self.gpu is not None:
            return _named_cards(self.gpu)
        if self.vram_gb is not None:
            size, name = round(self.vram_gb * GB), f"a GPU with {self.vram_gb:g} GB"
        elif self.vram_gib is not None:
            size, name = round(self.vram_gib * GIB), f"a GPU with {self.vram_gib:g} GiB"
        else:
            return ()
        return (Gpu(name, "", size, size, ASSUMED_CAPABILITY),)


def predict_fit(
    model: str,
    asked: EngineSettings,
    settings: Settings,
    *,
    assumed: AssumedCard | None = None,
    context: int | None = None,
) -> FitAnswer:
    """Predict the memory that MODEL needs on this machine or on one assumed card; downloads no weights.

    Args:
        model: Hub id, local folder, or `demo`.
        asked: The engine's settings.
        settings: The home.
        assumed: The card to predict for; default: this machine's hardware.
        context: Length in tokens; default: as much as the engine would reserve.

    Raises:
        FieldError: the memory or `context` is out of range.
        UsageError: the card is given in two ways.
        ModelError: the model may not or cannot be run here.
        TrackerError: there is no such model, or its engine predicts no memory.
        UnreachableError: the Hub is down.
    """
    if context is not None and context < 1:
        raise FieldError("context", f"must be a positive number of tokens, got {context}", example=8192)
    cards = assumed.cards() if assumed else ()
    hardware = replace(describe_hardware(), gpus=cards) if cards else describe_hardware()
    engine = _settings(asked, hardware, weights=weights_format(model), is_assumed=bool(cards))
    context = context or engine.max_model_len
    engine = replace(engine, max_model_len=None)
    found = resolve_named(model, replace(engine, trust_remote_code=True), settings)  # nothing is run
    subject = replace(read_subject(found), model_id=found.model_id if found.path is None else model)
    first = predict(subject, engine, hardware, context=context)
    variants = () if first.fits or found.path else find_variants(found.model_id)
    offered = () if first.fits else suggestions(subject, engine, hardware, variants=variants)
    _, climbed = climb(subject, replace(engine, max_model_len=context), hardware)
    longest = subject.shape().max_context or max(CONTEXTS)
    contexts = [c for c in CONTEXTS if c < longest] + [min(longest, max(CONTEXTS))]
    by_context = tuple(predict(subject, engine, hardware, context=c) for c in contexts)
    notes = (*first.notes, copy_note(found.repository, gguf_header(found))) if found.file else first.notes
    whole = replace(first, suggestions=offered, steps=climbed.steps, notes=notes)
    return FitAnswer(whole, by_context)


def _settings(asked: EngineSettings, hardware: Hardware, *, weights: str, is_assumed: bool) -> EngineSettings:
    """The settings to predict for; with an assumed card the engine need not be installed."""
    if is_assumed and asked.engine == AUTO:
        first = next(
            (spec.name for spec in engine_specs() if spec.predictor and weights in spec.weights), AUTO
        )
        asked = replace(asked, engine=first)
    if asked.engine != AUTO:
        require_predictor(asked.engine)
    return choose_engine(asked, has_gpu=can_use_card(hardware, engine=asked.engine), weights=weights)


def _named_cards(name: str) -> tuple[Gpu, ...]:
    found = find_card(name)
    card = found.card
    assert card is not None
    size, capability = round(card.usable_gb * GB), card.compute_capability or ASSUMED_CAPABILITY
    return (Gpu(f"{card.vendor} {card.card}", "", size, size, capability),) * found.n_cards
