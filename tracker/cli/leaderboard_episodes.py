"""What `tracker leaderboard` prints below the ranks of a suite of episodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tracker.answers.episodes import (
    LEVELS,
    EpisodeBoard,
    EpisodeCost,
    EpisodeRun,
    LevelScore,
    difference_text,
    tokens_text,
    unsafe_text,
)
from tracker.cli.tables import cell, console
from tracker.foreign_text import one_line
from tracker.memory_estimate import GB

SHOWN = 50  # models; `--json` gives all


def print_episodes(found: EpisodeBoard) -> None:
    """Print the costs of episodes and, for the suite `home`, the levels of each model."""
    for title, table in (
        ("What success costs", _cost_table(found.costs[:SHOWN])),
        ("Discovery against documentation", _level_table(found.levels[: SHOWN * len(LEVELS)])),
    ):
        if table.row_count:
            console().print()
            console().print(Text(title))
            console().print(table)
    for note in found.notes:
        print(one_line(note), file=sys.stderr)


def _cost_table(costs: Sequence[EpisodeCost]) -> Table:
    table = Table(header_style="bold")
    for name in ("model", "score", "95% interval", "episodes", "median tokens", "mean read", "needs about"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for name in ("tools", "device", "unsafe"):
        table.add_column(name)
    for one in costs:
        run, read = one.run, one.mean_prompt_tokens
        table.add_row(
            cell(run.label),
            f"{run.value:.1%}",
            cell(_interval(run)),
            f"{run.n_episodes:,}",
            cell(tokens_text(one)),
            cell(None if read is None else f"{read:,.0f}"),
            cell(None if one.needed_bytes is None else f"{one.needed_bytes / GB:.1f} GB"),
            cell(run.tools),
            cell(run.device),
            cell(unsafe_text(run)),
        )
    return table


def _level_table(levels: Sequence[LevelScore]) -> Table:
    table = Table(header_style="bold")
    names = ("model", "level", "score", "95% interval", "to documented tools", "unsafe")
    for name in names:
        table.add_column(name, justify="right" if name in ("score", "95% interval") else "left")
    for place, one in enumerate(levels):
        is_first = place == 0 or levels[place - 1].run.label != one.run.label
        table.add_row(
            cell(one.run.label if is_first else ""),
            cell(one.level),
            f"{one.run.value:.1%}",
            cell(_interval(one.run)),
            cell(difference_text(one)),
            cell(unsafe_text(one.run)),
        )
    return table


def _interval(run: EpisodeRun) -> str | None:
    return None if run.interval is None else f"{run.interval.low:.1%} … {run.interval.high:.1%}"
