"""Predict whether a model fits: resolve it, read its headers, predict the memory of its engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runners.card_support import can_use_card
from runners.engines import AUTO, choose_engine, engine_specs
from runners.hardware import Gpu, Hardware, describe_hardware
from runners.memory.architecture import read_architecture
from runners.memory.fit import climb, suggestions
from runners.memory.prediction import Fit, predict, require_predictor
from runners.memory.quantized_variants import find_variants
from runners.memory.weights import read_subject
from runners.models.resolve import weights_format
from tracker.bench.run import resolve_named
from tracker.errors import FieldError, UsageError
from tracker.memory_estimate import GB
from tracker.records import EngineSettings
from tracker.settings import Settings

GIB = 2**30
CONTEXTS = (4096, 8192, 32768, 131072)
ASSUMED_CAPABILITY = "9.0"  # compute capability of an assumed card: one with fp8


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """Whether a model fits as asked, and the same for several lengths of context."""

    fit: Fit
    by_context: tuple[Fit, ...]  # the shortest first


def predict_fit(
    model: str,
    asked: EngineSettings,
    settings: Settings,
    *,
    vram_gb: float | None = None,
    vram_gib: float | None = None,
    context: int | None = None,
) -> FitAnswer:
    """Predict the memory that MODEL needs on this machine or on one assumed card; downloads no weights.

    Args:
        model: Hub id, local folder, or `demo`.
        asked: The engine's settings.
        settings: The home.
        vram_gb: Memory of the assumed card in GB (10^9 bytes).
        vram_gib: The same in GiB; not both.
        context: Length in tokens; default: as much as the engine would reserve.

    Raises:
        FieldError: `vram_gb`, `vram_gib` or `context` is out of range.
        UsageError: both sizes of the card are given.
        ModelError: the model may not or cannot be run here.
        TrackerError: there is no such model, or its engine predicts no memory.
        UnreachableError: the Hub is down.
    """
    _check(vram_gb=vram_gb, vram_gib=vram_gib, context=context)
    card = _assumed_card(vram_gb=vram_gb, vram_gib=vram_gib)
    hardware = describe_hardware() if card is None else replace(describe_hardware(), gpus=(card,))
    engine = _settings(asked, hardware, weights=weights_format(model), is_assumed=card is not None)
    context = context or engine.max_model_len
    engine = replace(engine, max_model_len=None)
    found = resolve_named(model, replace(engine, trust_remote_code=True), settings)  # nothing is run
    subject = replace(read_subject(found), model_id=found.model_id if found.path is None else model)
    first = predict(subject, engine, hardware, context=context)
    variants = () if first.fits or found.path else find_variants(found.model_id)
    offered = () if first.fits else suggestions(subject, engine, hardware, variants=variants)
    _, climbed = climb(subject, replace(engine, max_model_len=context), hardware)
    longest = read_architecture(subject.config).max_context or max(CONTEXTS)
    contexts = [c for c in CONTEXTS if c < longest] + [min(longest, max(CONTEXTS))]
    by_context = tuple(predict(subject, engine, hardware, context=c) for c in contexts)
    return FitAnswer(replace(first, suggestions=offered, steps=climbed.steps), by_context)


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


def _check(*, vram_gb: float | None, vram_gib: float | None, context: int | None) -> None:
    if vram_gb is not None and vram_gib is not None:
        raise UsageError("`--vram-gb` and `--vram` cannot be combined", hint="use `--vram-gb`")
    for name, unit, value in (("vram_gb", "GB", vram_gb), ("vram", "GiB", vram_gib)):
        if value is not None and not 0 < value < 1e6:
            raise FieldError(name, f"must be a positive number of {unit}, got {value:g}", example=24)
    if context is not None and context < 1:
        raise FieldError("context", f"must be a positive number of tokens, got {context}", example=8192)


def _assumed_card(*, vram_gb: float | None, vram_gib: float | None) -> Gpu | None:
    """The card given by `vram_gb` or by `vram_gib`; None if neither is given."""
    if vram_gb is not None:
        size, name = round(vram_gb * GB), f"a GPU with {vram_gb:g} GB"
    elif vram_gib is not None:
        size, name = round(vram_gib * GIB), f"a GPU with {vram_gib:g} GiB"
    else:
        return None
    return Gpu(name, "", size, size, ASSUMED_CAPABILITY)
