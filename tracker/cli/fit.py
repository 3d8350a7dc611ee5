"""`tracker fit MODEL`: the memory that a model needs here, before anything of it is downloaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runners.engines import choose_engine
from runners.engines.architecture import read_architecture
from runners.engines.fit import Fit, climb, predict, suggestions
from runners.engines.twins import find_twins
from runners.engines.weights import read_subject
from runners.hardware import Gpu, Hardware, describe_hardware
from runners.resolve import resolve_model
from tracker.cli import print_json
from tracker.cli.tables import console, printable
from tracker.codec import dump
from tracker.errors import TrackerError
from tracker.records import EngineSettings
from tracker.settings import load_settings

GIB = 2**30
CONTEXTS = (4096, 8192, 32768, 131072)
SUPPOSED_CAPABILITY = "9.0"  # of a card that is only supposed: one that can compute in fp8


def fit(
    model: str,
    *,
    vram: float | None = None,
    context: int | None = None,
    engine: str = "auto",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Predict the memory that a model needs, whether it fits, and the settings that would make it fit.

    No weights are downloaded: their headers and `config.json` are read.

    Parameters
    ----------
    model
        A Hub id (`org/name[@revision]`), a local folder of safetensors, or `demo`.
    vram
        Suppose one card with so many GiB, instead of this machine.
    context
        Tokens of context; default: what the engine would make room for.
    engine
        auto, vllm or transformers.
    json
        Print one JSON document.
    """
    _check(vram=vram, context=context, engine=engine)
    hardware = describe_hardware() if vram is None else _supposed(vram)
    name = (
        "vllm" if vram is not None and engine == "auto" else choose_engine(engine, has_gpu=hardware.has_gpu)
    )
    settings = EngineSettings(engine=name)
    found = resolve_model(model, load_settings(), trust_remote_code=True)  # nothing of it is run here
    subject = replace(read_subject(found), model_id=found.model_id if found.path is None else model)
    asked = predict(subject, settings, hardware, context=context)
    twins = () if asked.fits or found.path else find_twins(found.model_id)
    offered = () if asked.fits else suggestions(subject, settings, hardware, twins=twins)
    _, climbed = climb(subject, replace(settings, max_model_len=context), hardware)
    answer = replace(asked, suggestions=offered, steps=climbed.steps)
    longest = read_architecture(subject.config).max_context or max(CONTEXTS)
    contexts = [c for c in CONTEXTS if c < longest] + [min(longest, max(CONTEXTS))]
    by_context = [predict(subject, settings, hardware, context=c) for c in contexts]
    if json:
        rows = [
            {k: row[k] for k in ("context", "kv_cache_bytes", "total_bytes", "fits", "concurrency")}
            for row in map(dump, by_context)
        ]
        print_json(dump(answer) | {"by_context": rows})
    else:
        _print(console(), answer, by_context)


def _check(*, vram: float | None, context: int | None, engine: str) -> None:
    if vram is not None and not 0 < vram < 1e6:
        raise TrackerError(f"--vram must be a number of GiB, got {vram:g}", hint="--vram 24")
    if context is not None and context < 1:
        raise TrackerError(
            f"--context must be a positive number of tokens, got {context}", hint="--context 8192"
        )
    if engine not in ("auto", "vllm", "transformers"):
        raise TrackerError(
            f"the memory of engine `{engine}` cannot be predicted", hint="known: vllm, transformers"
        )


def _supposed(vram: float) -> Hardware:
    """This machine with one card of `vram` GiB instead of its own."""
    size = round(vram * GIB)
    card = Gpu(f"a card with {vram:g} GiB", "", size, size, SUPPOSED_CAPABILITY)
    return replace(describe_hardware(), gpus=(card,))


def _print(out: Console, answer: Fit, by_context: list[Fit]) -> None:
    verdict = "fits" if answer.fits else "does not fit"
    out.print(Text(f"{printable(answer.model_id)}: {verdict} on {answer.device}", style="bold"))
    out.print(f"{answer.engine}, {answer.dtype}, {answer.context:,} tokens of context\n", highlight=False)
    parts = Table(box=None, show_header=False, pad_edge=False)
    parts.add_column()
    parts.add_column(justify="right")
    cache = "KV cache" if answer.n_sequences == 1 else f"KV cache, {answer.n_sequences} sequences"
    parts.add_row("weights", _gib(answer.weights_bytes))
    parts.add_row(cache, _gib(answer.kv_cache_bytes))
    parts.add_row("overhead (estimate)", _gib(answer.overhead_bytes))
    parts.add_row("total", _gib(answer.total_bytes))
    parts.add_row("available", _gib(answer.available_bytes))
    out.print(parts)
    for note in answer.notes:
        out.print(Text(f"note: {note}"))
    out.print()
    out.print(_context_table(by_context))
    if answer.suggestions:
        out.print("\nwhat would fit:")
        for suggestion in answer.suggestions:
            text = f"  {suggestion.action}, {_gib(suggestion.total_bytes)}, {suggestion.context:,} tokens"
            out.print(Text(f"{text}\n    {printable(suggestion.command)}"), soft_wrap=True)
    elif not answer.fits:
        out.print("\nno setting makes it fit here; look for a smaller or a quantized model")


def _context_table(by_context: list[Fit]) -> Table:
    table = Table(header_style="bold")
    for name in ("context", "KV cache", "total", "fits", "at once"):
        table.add_column(name, justify="left" if name == "fits" else "right")
    for row in by_context:
        at_once = "–" if row.concurrency is None else f"{row.concurrency:,.1f}"
        cells = (f"{row.context:,}", _gib(row.kv_cache_bytes), _gib(row.total_bytes))
        table.add_row(*cells, "yes" if row.fits else "no", at_once)
    return table


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:,.2f} GiB"
