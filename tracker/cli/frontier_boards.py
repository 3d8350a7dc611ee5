"""`tracker frontier share|boards`: open against closed models over time, as others count them."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from tracker.cli import print_json
from tracker.cli.frontier import app, interval, number, print_notes
from tracker.cli.frontier_views import SHOWN
from tracker.cli.help import AXIS, JsonDocument
from tracker.cli.tables import cell, console, plain
from tracker.settings import load_settings
from tracker.wording import counted

BAR = 40  # characters of a full share


@app.command
def share(*, as_json: JsonDocument = False) -> None:
    """Show the share of open-weight models in the tokens routed by OpenRouter, week by week.

    Parameters
    ----------
    as_json
        Print one JSON document: `as_of`, `age_days`, `last_week`, `four_weeks_before`, `weeks`, `days`,
        `models`.
    """
    from tracker.answers.token_share import token_share, token_share_document

    document = plain(token_share_document(token_share(load_settings())))
    if as_json:
        print_json(document)
    else:
        _print_share(document)


@app.command
def boards(
    *,
    series: Annotated[str, Parameter(group=AXIS)] = "LMArena text",
    as_json: JsonDocument = False,
) -> None:
    """Show how far the best open model was behind the best closed one on each published rating board.

    Parameters
    ----------
    series
        Board: "LMArena text", "LMArena text, style control", "LMArena WebDev" or "LMArena agent".
    as_json
        Print one JSON document: `series`, `unit`, `as_of`, `age_days`, `boards`.
    """
    from tracker.answers.board_history import board_history, board_history_document

    document = plain(board_history_document(board_history(load_settings(), series)))
    if as_json:
        print_json(document)
    else:
        _print_boards(document)


def _print_share(document: dict[str, Any]) -> None:
    out, last, before = console(), document["last_week"], document["four_weeks_before"]
    out.print(
        Text(f"data to {document['as_of']}, {_age(document['age_days'])}: {len(document['days'])} days")
    )
    change = f"; four weeks before {before['open']:.1%}" if before else ""
    out.print(Text(f"open-weight models, last 7 days: {last['open']:.1%} of the tokens{change}"))
    rest = last["unlabeled"] + last["other"]
    out.print(Text(f"at most {last['open_high']:.1%}: {rest:.1%} are not labeled or below the top 50"))
    table = Table("week to", "open", "closed", "unlabeled", "other", "")
    for row in document["weeks"][-SHOWN:]:
        shares = (f"{row[name]:.1%}" for name in ("open", "closed", "unlabeled", "other"))
        table.add_row(row["week_to"], *shares, "█" * round(BAR * row["open"]))
    out.print(table)
    models = Table("model, last 7 days", "access", "share")
    for row in document["models"]:
        models.add_row(cell(row["name"]), row["access"], f"{row['share']:.1%}")
    out.print(models)
    print_notes(document)


def _print_boards(document: dict[str, Any]) -> None:
    out = console()
    dated = f"data to {document['as_of']}, {_age(document['age_days'])}"
    out.print(Text(f"{document['series']}: {len(document['boards'])} boards, {dated}"))
    table = Table("board of", "best open", "best closed", "open is behind by", "90% interval")
    by_month = {row["day"][:7]: row for row in document["boards"]}  # the last one of each month
    for row in list(by_month.values())[-SHOWN:]:
        table.add_row(
            row["day"],
            cell(f"{row['best_open']['model']}, {number(row['best_open']['value'])}"),
            cell(f"{row['best_closed']['model']}, {number(row['best_closed']['value'])}"),
            f"{number(row['gap'])} {'points' if document['unit'] == 'rating' else ''}".strip(),
            interval(row["ci_low"], row["ci_high"]),
        )
    out.print(table)
    print_notes(document)


def _age(days: int) -> str:
    return f"{counted(days, 'day')} old"
