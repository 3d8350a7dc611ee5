"""`tracker fit MODEL`: predict the memory that a model needs, or say what fits a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracker.answers.what_fits import WhatFitsAsked, answer_what_fits, what_fits_document
from tracker.bench.card import card_of
from tracker.cli import print_json
from tracker.cli.flags import DEFAULT_MEMORY, MemoryFlags
from tracker.cli.help import JsonFlag
from tracker.cli.tables import console
from tracker.cli.what_fits import print_what_fits
from tracker.errors import UsageError
from tracker.foreign_text import one_line, printable
from tracker.memory_estimate import SHORT_CONTEXT
from tracker.settings import load_settings

if TYPE_CHECKING:
    from runners.memory.prediction import Fit

GIB = 2**30
MODELS_SHOWN = 20


def fit(
    model: str | None = None,
    *,
    gpu: str | None = None,
    vram_gb: float | None = None,
    vram: Annotated[float | None, Parameter(show=False)] = None,  # GiB; until the next release
    context: int | None = None,
    bits: float | None = None,
    license: str | None = None,
    limit: int | None = None,
    engine: MemoryFlags = DEFAULT_MEMORY,
    json: JsonFlag = False,
) -> None:
    """Predict the memory that a model needs, whether it fits, and which settings would make it fit.

    Only `config.json` and the headers of the weights are read; no weights are downloaded. Computed sizes are
    in GiB (2^30 bytes). Without MODEL: the open models that fit a card, best first, from what is shipped and
    what an ingest saw; it needs no network.

    Parameters
    ----------
    model
        Hub id (`org/name[@revision]`, of a GGUF `org/name:Q4_K_M`), local folder of safetensors, GGUF file,
        or `demo`.
    gpu
        Assume this card, such as "RTX 4090" or "2x RTX 3090", instead of this machine's hardware.
    vram_gb
        Assume one GPU with N GB (10^9 bytes) instead of this machine's hardware.
    context
        Context length in tokens; default: as much as the engine would reserve, without MODEL 4096.
    bits
        Without MODEL: only at this many bits of a weight; default: the most of 16, 8 and 4 that fit.
    license
        Without MODEL: only models whose license contains this.
    limit
        Without MODEL: at most this many models; default: 20.
    """
    if model is None:
        card = card_of(gpu, memory_gb=vram_gb)
        asked = WhatFitsAsked(
            context or SHORT_CONTEXT, bits, license, MODELS_SHOWN if limit is None else limit
        )
        answer = answer_what_fits(card, asked, load_settings())
        if json:
            print_json(what_fits_document(answer))
        else:
            print_what_fits(console(), answer)
        return
    from tracker.bench.fit import AssumedCard, predict_fit  # the Hub's client
    from tracker.serialization import dump

    _refuse_filters(bits=bits, license=license, limit=limit)
    assumed = AssumedCard(gpu, vram_gb, vram)
    found = predict_fit(model, engine.settings(), load_settings(), assumed=assumed, context=context)
    if json:
        rows = [
            {k: row[k] for k in ("context", "kv_cache_bytes", "total_bytes", "fits", "concurrency")}
            for row in map(dump, found.by_context)
        ]
        print_json(dump(found.fit) | {"by_context": rows})
    else:
        _print(console(), found.fit, found.by_context)


def _refuse_filters(**given: object) -> None:
    """Refuse the filters on models where one model is named.

    Raises:
        UsageError: one is given.
    """
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"`--{name}` filters models, but MODEL is given", hint="leave out MODEL")


def _print(out: Console, answer: Fit, by_context: tuple[Fit, ...]) -> None:
    verdict = "fits" if answer.fits else "does not fit"
    out.print(Text(f"{one_line(answer.model_id)}: {verdict} on {answer.device}", style="bold"))
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
        out.print(Text(one_line(f"note: {note}")))
    out.print()
    out.print(_context_table(by_context))
    if answer.suggestions:
        out.print("\nalternatives that fit:")
        for suggestion in answer.suggestions:
            text = f"  {suggestion.action}, {_gib(suggestion.total_bytes)}, {suggestion.context:,} tokens"
            out.print(Text(f"{text}\n    {printable(suggestion.command)}"), soft_wrap=True)
    elif not answer.fits:
        out.print("\nno settings make it fit here; try a smaller or a quantized model")


def _context_table(by_context: tuple[Fit, ...]) -> Table:
    table = Table(header_style="bold")
    for name in ("context", "KV cache", "total", "fits", "sequences"):
        table.add_column(name, justify="left" if name == "fits" else "right")
    for row in by_context:
        at_once = "–" if row.concurrency is None else f"{row.concurrency:,.1f}"
        cells = (f"{row.context:,}", _gib(row.kv_cache_bytes), _gib(row.total_bytes))
        table.add_row(*cells, "yes" if row.fits else "no", at_once)
    return table


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:,.2f} GiB"
