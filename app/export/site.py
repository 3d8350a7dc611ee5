"""Write the public pages as HTML files: the frontier, the models and the benchmarks, and a page of each.

A page has the values that `--json` has (exactly, in `data-value`), the day of its data and its sources. It
asks nothing of the network, runs no script, and shows names as characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.data import listed_models
from app.export import details
from app.export.chart import frontier_svg
from app.export.tables import html_table
from tracker.answers.benchmarks import answer_benchmarks, benchmark_page, benchmarks_document
from tracker.answers.frontier import answer_question, frontier_document, point_document
from tracker.answers.model_table import model_table_document
from tracker.answers.vintages import tables_for
from tracker.errors import TrackerError
from tracker.foreign_text import html_plain
from tracker.frontier.question import Question
from tracker.frontier.tables import ATTRIBUTION
from tracker.serialization import write_atomically
from tracker.settings import Settings

PAGES = {"index.html": "Frontier", "models.html": "Models", "benchmarks.html": "Benchmarks"}
DEFINITIONS = {
    "id": "ID",
    "title": "Definition",
    "value": "Gap",
    "ci_low": "90% from",
    "ci_high": "to",
    "unit": "Unit",
}
MODELS = {
    "model": "Model", "organization": "Organization", "access": "Weights", "released": "Released",
    "index": "Index", "ci_low": "90% from", "ci_high": "to", "basis": "Index from",
    "months_behind": "Months behind (G3)", "months_bound": "Bound",
    "n_params": "Parameters", "needed_gb_16": "GB at 16 bits",
    "needed_gb_8": "GB at 8 bits", "needed_gb_4": "GB at 4 bits", "price_in": "$/M tokens in",
    "price_out": "$/M tokens out", "license": "License", "max_context": "Context",
    "is_measured": "Measured here",
}  # fmt: skip
BENCHMARKS = {
    "benchmark": "Benchmark", "domain": "Domain", "asks": "What it asks", "is_private": "Private items",
    "n_models": "Models", "best_open": "Best open", "best_open_score": "Score", "best_closed": "Best closed",
    "best_closed_score": "Score", "solved": "Solved", "state": "State", "months_behind": "Months behind (G3)",
}  # fmt: skip
# no page of ours needs anything but its own text
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark;
  --text: #10161D; --back: #fff; --line: #D5DBE1; --open: #0072B2; --closed: #D55E00 }
@media (prefers-color-scheme: dark) {
  :root { --text: #E4E9EE; --back: #11161C; --line: #333D48; --open: #56B4E9; --closed: #E69F00 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  margin: 0 auto; padding: 1rem; max-width: 76rem }
nav a { margin-right: 1rem } a { color: var(--open) } footer { font-size: .85rem }
.wide { overflow-x: auto } table { border-collapse: collapse } caption { text-align: left }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
svg { width: 100%; min-width: 42rem; height: auto } svg text { font-size: 12px; fill: var(--text) }
.grid { stroke: var(--line) } path { fill: none; stroke-width: 2 } .faint { opacity: .4 }
path.open { stroke: var(--open) } path.closed { stroke: var(--closed); stroke-dasharray: 6 3 }
circle.open { fill: var(--open) } circle.closed { fill: var(--closed) }
"""
CONTENT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>{title}: open-weight tracker</title>
<style>{style}</style></head>
<body><nav>{links}</nav><main><h1>{heading}</h1>
<p>{said}</p>
{content}
</main><footer><p>{when}</p><p>{credit}</p></footer></body></html>
"""


def export_site(folder: Path, settings: Settings) -> list[Path]:
    """Write the pages into a folder, which is made if it is not there; returns their paths.

    Raises:
        TrackerError: the folder cannot be written, or the data cannot be read.
    """
    with _writing(folder):  # before what takes seconds
        for place in ("", details.MODELS, details.BENCHMARKS):
            (folder / place).mkdir(parents=True, exist_ok=True)
    answer = answer_question(Question(), settings)
    frontier = frontier_document(answer) | {"models": [point_document(point) for point in answer.points]}
    models = model_table_document(listed_models.models_of(answer))
    benchmarks = benchmarks_document(answer_benchmarks(settings), {})["benchmarks"]
    age = f"Data of {frontier['vintage']}, {frontier['age_days']} days old."
    age += f" Exported on {settings.now():%Y-%m-%d}."
    links = details.file_names([row["model"] for row in models], details.MODELS)
    to_benchmarks = details.file_names([row["benchmark"] for row in benchmarks], details.BENCHMARKS)
    texts = {
        "index.html": _page(
            "index.html",
            frontier["sentence"],
            f"By definition {frontier['headline']} of the table below. The best open model is"
            f" {frontier['best_open']['model']}, the best closed one {frontier['best_closed']['model']};"
            f" as of {frontier['as_of']}.",
            f'<div class="wide">{_chart(frontier)}</div>{html_table(frontier["definitions"], DEFINITIONS)}',
            age,
        ),
        "models.html": _page(
            "models.html",
            "Models",
            f"{len(models)} models, the best first.",
            html_table(models, MODELS, links={"model": links}),
            age,
        ),
        "benchmarks.html": _page(
            "benchmarks.html",
            "Benchmarks",
            f"{len(benchmarks)} published benchmarks. Solved: the best score, from guessing (0) to the"
            " highest possible (1).",
            html_table(
                benchmarks,
                BENCHMARKS,
                links={"benchmark": to_benchmarks, "best_open": links, "best_closed": links},
            ),
            age,
        ),
    }  # fmt: skip
    texts |= _details(settings, models, links, to_benchmarks, age)
    with _writing(folder):
        for name, text in texts.items():
            write_atomically(folder / name, text.encode())
    return [folder / name for name in texts]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """For what writes into the folder.

    Raises:
        TrackerError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TrackerError(
            f"{folder}: cannot be written: {error.strerror}", hint="name another folder"
        ) from error


def _details(
    settings: Settings,
    models: Sequence[Mapping[str, Any]],
    to_models: Mapping[str, str],
    to_benchmarks: Mapping[str, str],
    age: str,
) -> dict[str, str]:
    """The texts of the pages of models and benchmarks, by file."""
    tables = tables_for(settings)
    summaries = answer_benchmarks(settings)
    pages = [benchmark_page(tables, summaries, name, settings) for name in to_benchmarks]
    left_out, scores = details.not_passed_on(tables), details.scores_by_model(pages)
    from_here = details.within_folder({**to_models, **to_benchmarks})
    texts = {}
    for row in models:
        content = details.model_content(
            row, scores.get(row["model"], []), links=details.within_folder(to_benchmarks), left_out=left_out
        )
        said = "Its place on the index, and what it rests on."
        texts[to_models[row["model"]]] = _page("models.html", row["model"], said, content, age, root="../")
    for page in pages:
        content = details.benchmark_content(page, links=from_here, left_out=left_out)
        name = page.summary.benchmark
        texts[to_benchmarks[name]] = _page(
            "benchmarks.html", name, page.summary.asks, content, age, root="../"
        )
    return texts


def _chart(frontier: Mapping[str, Any]) -> str:
    title = f"{frontier['axis']} of {len(frontier['models'])} models by release; blue and solid: open"
    legend = (
        "<p>Blue, solid: <b>open</b>. Orange, dashed: <b>closed</b>. Faint: not the best at its release.</p>"
    )
    return frontier_svg(frontier["models"], title=title, unit=str(frontier["axis"])) + legend


def _page(name: str, heading: str, said: str, content: str, when: str, *, root: str = "") -> str:
    """A page of the list `name`; `root` leads from it to the folder of the lists."""
    links = " ".join(
        f'<a href="{root}{file}"{" aria-current=page" if file == name else ""}>{title}</a>'
        for file, title in PAGES.items()
    )
    return CONTENT.format(
        policy=POLICY,
        title=html_plain(heading) if root else PAGES[name],
        style=STYLE,
        links=links,
        heading=html_plain(heading),
        said=html_plain(said),
        content=content,
        when=html_plain(when),
        credit=html_plain(" ".join(ATTRIBUTION)),
    )
