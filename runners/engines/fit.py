"""Will it fit, and if not, under which settings: the check before a model is loaded.

The ladder: less of the card, if others are on it → shorter context → fewer sequences → narrower numbers
(on a CPU) → a published quantized twin (suggested, never taken) → quantizing on loading → more cards.
Every rung that was tried is recorded with its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from runners.engines.architecture import Architecture, read_architecture
from runners.engines.prediction import (
    GIB,
    Fit,
    FitStep,
    Suggestion,
    default_context,
    predict,
    sequences,
    usable_fraction,
)
from runners.engines.twins import find_twins, read_twin
from runners.engines.weights import Subject, read_subject
from runners.hardware import Hardware
from tracker.errors import ModelError, UnreachableError
from tracker.records import EngineSettings, Model

PREDICTED = ("vllm", "transformers")
MIN_CONTEXT = 2048  # tokens; five-shot MMLU questions need up to about this
SEQUENCES = (64, 16, 4, 1)
MIN_FP8_CAPABILITY = 7.5  # Marlin's weight-only fp8 in vLLM 0.32.0; computing in fp8 needs 8.9
CARD_COUNTS = (2, 4, 8, 16)
AS_ASKED = "as asked"
CHANGED = {  # what the ladder may change, as it is told
    "gpu_memory_utilization": "share of the card",
    "max_model_len": "context",
    "max_num_seqs": "sequences at once",
    "dtype": "dtype",
    "quantization": "quantization",
    "tensor_parallel_size": "cards",
}


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to take less memory, and the settings to try, the best first."""

    action: str
    settings: tuple[EngineSettings, ...]


def plan_fit(
    model: Model, settings: EngineSettings, hardware: Hardware, *, twins: Sequence[str] = ()
) -> tuple[EngineSettings, Fit | None]:
    """The settings under which `model` fits, and the prediction with the steps that led there.

    The prediction is None where there is none: another engine, an unknown architecture, headers out of reach.
    A model that misses by less than the overhead, which is an estimate, may still be tried.

    Raises:
        ModelError: weights and the smallest useful cache alone do not fit (reason `does_not_fit`).
    """
    if settings.engine not in PREDICTED:
        return settings, None
    try:
        subject = read_subject(model)
        settings, fit = climb(subject, settings, hardware)
    except UnreachableError:
        return settings, None
    except ModelError as error:
        if error.reason != "unsupported":
            raise
        return settings, None
    if not fit.fits and fit.weights_bytes + fit.kv_cache_bytes > fit.available_bytes:
        known = twins or (() if model.path else find_twins(model.model_id))
        offered = suggestions(subject, settings, hardware, twins=known)
        raise _does_not_fit(replace(fit, suggestions=offered))
    return settings, fit


def climb(subject: Subject, settings: EngineSettings, hardware: Hardware) -> tuple[EngineSettings, Fit]:
    """The first settings of the ladder under which `subject` fits; the last tried if none does.

    Raises:
        ModelError: its architecture is unknown (reason `unsupported`).
    """
    settings, steps = _leave_to_others(settings, hardware)
    fit = predict(subject, settings, hardware)
    steps.append(_step(AS_ASKED, fit, settings))
    if fit.fits:
        return settings, replace(fit, steps=tuple(steps))
    for rung in rungs(read_architecture(subject.config), settings, hardware):
        for candidate in rung.settings:
            tried = predict(subject, candidate, hardware)
            if tried.fits or candidate is rung.settings[-1]:
                steps.append(_step(rung.action, tried, candidate))
            if tried.fits:
                return candidate, replace(tried, steps=tuple(steps))
    steps.append(FitStep("give up", "", None, fits=False, detail="no setting of this machine makes it fit"))
    smallest = predict(subject, settings, hardware, context=min(fit.context, MIN_CONTEXT))
    return settings, replace(smallest, steps=tuple(steps))


def changes(
    asked: EngineSettings, chosen: EngineSettings, fit: Fit, *, hardware: Hardware
) -> tuple[str, ...]:
    """What `plan_fit` changed of what was asked for, one sentence each; none if nothing."""
    before = {name: getattr(asked, name) for name in CHANGED}
    before["max_model_len"] = next((step.context for step in fit.steps if step.action == AS_ASKED), None)
    before["max_num_seqs"] = sequences(asked, max((card.total_bytes for card in hardware.gpus), default=0))
    told = []
    for name, words in CHANGED.items():
        after = getattr(chosen, name)
        if after in (getattr(asked, name), before[name]):
            continue
        others = name == "gpu_memory_utilization"
        why = "other programs use the card" if others else "the model does not fit otherwise"
        told.append(f"fit: {words} {after} instead of {before[name] or 'none'}: {why}")
    return tuple(told)


def suggestions(
    subject: Subject, settings: EngineSettings, hardware: Hardware, *, twins: Iterable[str] = ()
) -> tuple[Suggestion, ...]:
    """For each rung, and each twin, the best that fits, as a command to copy."""
    offered = []
    free = replace(settings, max_model_len=None)
    for rung in rungs(read_architecture(subject.config), free, hardware):
        for candidate in rung.settings:
            fit = predict(subject, candidate, hardware)
            if fit.fits:
                offered.append(_suggestion(rung.action, fit, candidate))
                break
    for name in twins:
        twin = read_twin(name)
        if twin is not None:
            candidate, fit = climb(replace(twin, model_id=name), free, hardware)
            if fit.fits:
                offered.append(_suggestion("a quantized twin", fit, candidate))
    return tuple(offered)


def rungs(architecture: Architecture, settings: EngineSettings, hardware: Hardware) -> Iterator[Rung]:
    """The ladder for these settings, the least change first."""
    contexts = _contexts(architecture, settings)
    shortest = replace(settings, max_model_len=contexts[-1])
    if len(contexts) > 1:
        yield Rung("shorter context", _with_contexts(settings, contexts[1:]))
    at_once = sequences(settings, max((card.total_bytes for card in hardware.gpus), default=0))
    fewer = tuple(replace(shortest, max_num_seqs=n) for n in SEQUENCES if n < at_once)
    if fewer:
        yield Rung("fewer sequences", fewer)
    fewest = replace(settings, max_num_seqs=fewer[-1].max_num_seqs) if fewer else settings
    if settings.engine != "vllm":
        if not hardware.gpus and settings.dtype == "auto" and not architecture.quantization:
            yield Rung("narrower numbers", _with_contexts(replace(fewest, dtype="bfloat16"), contexts))
        return
    capability = min((float(card.compute_capability) for card in hardware.gpus), default=0.0)
    can_quantize = not (settings.quantization or architecture.quantization)
    if can_quantize and capability >= MIN_FP8_CAPABILITY:
        yield Rung("quantize on loading", _with_contexts(replace(settings, quantization="fp8"), contexts))
    for count in CARD_COUNTS:
        if settings.tensor_parallel_size < count <= len(hardware.gpus) and architecture.n_heads % count == 0:
            spread = replace(settings, tensor_parallel_size=count)
            yield Rung("more cards", _with_contexts(spread, contexts))
            if can_quantize and capability >= MIN_FP8_CAPABILITY:
                both = replace(spread, quantization="fp8")
                yield Rung("more cards, quantize on loading", _with_contexts(both, contexts))


def _contexts(architecture: Architecture, settings: EngineSettings) -> tuple[int, ...]:
    """The contexts to try, longest first: what was asked for, or powers of two down to the shortest."""
    longest = default_context(architecture, settings)
    if settings.max_model_len:
        return (settings.max_model_len,)
    shorter = [2**power for power in range(20, 0, -1) if MIN_CONTEXT <= 2**power < longest]
    return (longest, *shorter)


def _with_contexts(settings: EngineSettings, contexts: Sequence[int]) -> tuple[EngineSettings, ...]:
    return tuple(replace(settings, max_model_len=context) for context in contexts)


def _leave_to_others(settings: EngineSettings, hardware: Hardware) -> tuple[EngineSettings, list[FitStep]]:
    """Claim no more of the card than is free: vLLM refuses to start otherwise."""
    if settings.engine != "vllm" or not hardware.gpus:
        return settings, []
    fraction = usable_fraction(settings, hardware)
    if fraction >= settings.gpu_memory_utilization or fraction <= 0:
        return settings, []
    detail = "other programs use this card"
    step = FitStep("less of the card", f"gpu_memory_utilization {fraction}", None, fits=True, detail=detail)
    return replace(settings, gpu_memory_utilization=fraction), [step]


def _step(action: str, fit: Fit, settings: EngineSettings) -> FitStep:
    detail = f"{fit.total_bytes / GIB:.2f} of {fit.available_bytes / GIB:.2f} GiB"
    setting = " ".join(_flags(settings)) or f"context {fit.context}"
    return FitStep(action, setting, fit.total_bytes, fit.fits, detail, fit.context)


def _flags(settings: EngineSettings) -> list[str]:
    """What of `settings` is not the default, as flags of `tracker bench`."""
    default = EngineSettings()
    names = ("max_model_len", "max_num_seqs", "dtype", "quantization", "tensor_parallel_size")
    changed = [name for name in names if getattr(settings, name) != getattr(default, name)]
    return [f"--{name.replace('_', '-')} {getattr(settings, name)}" for name in changed]


def _suggestion(action: str, fit: Fit, settings: EngineSettings) -> Suggestion:
    command = " ".join(["tracker bench", fit.model_id, *_flags(settings)])
    return Suggestion(action, command, fit.total_bytes, fit.context)


def _does_not_fit(fit: Fit) -> ModelError:
    needed, there = fit.total_bytes / GIB, fit.available_bytes / GIB
    message = (
        f"`{fit.model_id}` needs about {needed:.1f} GiB for {fit.context} tokens of context, "
        f"{there:.1f} GiB are there on {fit.device}"
    )
    hint = (
        fit.suggestions[0].command if fit.suggestions else "a smaller or quantized model, or a larger machine"
    )
    return ModelError(message, reason="does_not_fit", hint=hint)


__all__ = ["Fit", "changes", "climb", "plan_fit", "predict", "suggestions"]
