"""Check whether a model fits before it is loaded, and find settings under which it does.

The ladder: a smaller share of the GPU if other programs use it, then the rungs of the engine's predictor,
the smallest change first. A published quantized variant is suggested, never used automatically. Every rung
that was tried is recorded with its result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runners.hardware import Hardware
from runners.memory.prediction import (
    GIB,
    MIN_CONTEXT,
    Fit,
    FitStep,
    Suggestion,
    find_predictor,
    require_predictor,
)
from runners.memory.quantized_variants import find_variants, read_variant
from runners.memory.weights import Subject, read_subject
from tracker.errors import ModelError, UnreachableError
from tracker.records import EngineSettings, Model

AS_REQUESTED = "as requested"
CHANGED = {  # settings that the ladder may change, as named in messages
    "gpu_memory_utilization": "share of the GPU",
    "max_model_len": "context",
    "max_num_seqs": "concurrent sequences",
    "dtype": "dtype",
    "quantization": "quantization",
    "tensor_parallel_size": "GPUs",
}


@dataclass(frozen=True, slots=True)
class FitPlan:
    """Settings for a model, and the prediction behind them."""

    settings: EngineSettings
    fit: Fit | None  # None: nothing can be predicted, and nothing was changed
    unknown: str = ""  # why, where the engine's memory can be predicted for other models


def plan_fit(
    model: Model, settings: EngineSettings, hardware: Hardware, *, variants: Sequence[str] = ()
) -> FitPlan:
    """Find settings under which `model` fits, with the prediction and the steps tried.

    There is none for another engine, an unknown architecture, or unreachable headers: the model is then
    tried as asked. So is one that exceeds the memory by less than the overhead, which is an estimate.

    Raises:
        ModelError: weights and the smallest useful cache alone do not fit (reason `does_not_fit`).
    """
    if find_predictor(settings.engine) is None:
        return FitPlan(settings, None)
    try:
        subject = read_subject(model)
        settings, fit = climb(subject, settings, hardware)
    except UnreachableError as error:
        return FitPlan(settings, None, f"its memory cannot be predicted: {error}")
    except ModelError as error:
        if error.reason != "unsupported":
            raise
        return FitPlan(settings, None, str(error))
    if not fit.fits and fit.weights_bytes + fit.kv_cache_bytes > fit.available_bytes:
        known = variants or (() if model.path else find_variants(model.model_id))
        offered = suggestions(subject, settings, hardware, variants=known)
        raise _does_not_fit(replace(fit, suggestions=offered))
    return FitPlan(settings, fit)


def climb(subject: Subject, settings: EngineSettings, hardware: Hardware) -> tuple[EngineSettings, Fit]:
    """The first settings of the ladder under which `subject` fits; the original ones if none does.

    Raises:
        ModelError: its architecture is unknown (reason `unsupported`).
    """
    predictor, steps = require_predictor(settings.engine), []
    share = predictor.as_started(settings, hardware).gpu_memory_utilization
    if share < settings.gpu_memory_utilization:
        detail = "other programs use this GPU"
        steps.append(
            FitStep("smaller share of the GPU", f"gpu_memory_utilization {share}", None, True, detail)
        )
        settings = replace(settings, gpu_memory_utilization=share)
    fit = predictor.predict(subject, settings, hardware)
    steps.append(_step(AS_REQUESTED, fit, settings))
    if fit.fits:
        return settings, replace(fit, steps=tuple(steps))
    for rung in predictor.rungs(subject.shape(), settings, hardware):
        for candidate in rung.settings:
            tried = predictor.predict(subject, candidate, hardware)
            if tried.fits or candidate is rung.settings[-1]:
                steps.append(_step(rung.action, tried, candidate))
            if tried.fits:
                return candidate, replace(tried, steps=tuple(steps))
    steps.append(
        FitStep("no setting fits", "", None, fits=False, detail="no setting makes it fit on this machine")
    )
    smallest = predictor.predict(subject, settings, hardware, context=min(fit.context, MIN_CONTEXT))
    return settings, replace(smallest, steps=tuple(steps))


def changes(
    asked: EngineSettings, chosen: EngineSettings, fit: Fit, *, hardware: Hardware
) -> tuple[str, ...]:
    """The settings that `plan_fit` changed, one sentence each."""
    before = {name: getattr(asked, name) for name in CHANGED}
    before["max_model_len"] = next((step.context for step in fit.steps if step.action == AS_REQUESTED), None)
    before["max_num_seqs"] = require_predictor(asked.engine).as_started(asked, hardware).max_num_seqs
    sentences = []
    for name, words in CHANGED.items():
        after = getattr(chosen, name)
        if after in (getattr(asked, name), before[name]):
            continue
        others = name == "gpu_memory_utilization"
        why = "other programs use the GPU" if others else "the model does not fit otherwise"
        sentences.append(f"fit: {words} {after} instead of {before[name] or 'none'}: {why}")
    return tuple(sentences)


def suggestions(
    subject: Subject, settings: EngineSettings, hardware: Hardware, *, variants: Iterable[str] = ()
) -> tuple[Suggestion, ...]:
    """The best settings that fit for each rung and each quantized variant, as commands to copy."""
    offered = []
    predictor = require_predictor(settings.engine)
    free, share = replace(settings, max_model_len=None), settings.gpu_memory_utilization
    for rung in predictor.rungs(subject.shape(), free, hardware):
        for candidate in rung.settings:
            fit = predictor.predict(subject, candidate, hardware)
            if fit.fits:
                offered.append(_suggestion(rung.action, fit, candidate, share=share))
                break
    for name in variants:
        variant = read_variant(name)
        if variant is None:
            continue
        with contextlib.suppress(ModelError):  # somebody else's copy, of an architecture that is not known
            candidate, fit = climb(replace(variant, model_id=name), free, hardware)
            if fit.fits:
                offered.append(_suggestion("quantized variant", fit, candidate, share=share))
    return tuple(offered)


def _step(action: str, fit: Fit, settings: EngineSettings) -> FitStep:
    detail = f"{fit.total_bytes / GIB:.2f} of {fit.available_bytes / GIB:.2f} GiB"
    setting = " ".join(_flags(settings)) or f"context {fit.context}"
    return FitStep(action, setting, fit.total_bytes, fit.fits, detail, fit.context)


def _flags(settings: EngineSettings) -> list[str]:
    """The settings that differ from the defaults, as flags of `tracker bench`."""
    default = EngineSettings()
    names = ("max_model_len", "max_num_seqs", "dtype", "quantization", "tensor_parallel_size")
    changed = [name for name in names if getattr(settings, name) != getattr(default, name)]
    return [f"--{name.replace('_', '-')} {getattr(settings, name)}" for name in changed]


def _suggestion(action: str, fit: Fit, settings: EngineSettings, *, share: float) -> Suggestion:
    """The command for these settings, with the requested `share` of the card, which the ladder may lower."""
    kept = [] if share == EngineSettings().gpu_memory_utilization else [f"--gpu-memory-utilization {share}"]
    command = " ".join(["tracker bench", fit.model_id, *_flags(settings), *kept])
    return Suggestion(action, command, fit.total_bytes, fit.context)


def _does_not_fit(fit: Fit) -> ModelError:
    needed, there = fit.total_bytes / GIB, fit.available_bytes / GIB
    message = (
        f"`{fit.model_id}` needs about {needed:.1f} GiB for {fit.context} tokens of context, "
        f"{there:.1f} GiB are available on {fit.device}"
    )
    hint = (
        fit.suggestions[0].command
        if fit.suggestions
        else "use a smaller or quantized model, or a larger machine"
    )
    return ModelError(message, reason="does_not_fit", hint=hint)
