"""A ladder as people read it: the cells of a table, lines below it, and a table for a model card."""

from __future__ import annotations

from collections.abc import Sequence

from tracker import __version__
from tracker.answers.ladder import LadderResult, Loss, RungResult
from tracker.foreign_text import markdown_code, markdown_text
from tracker.records.ladders import MOST_LOOKS, RungEnd

GIB = 2**30
HEADERS = (
    "rung", "items", "score / reference", "difference (95% interval)", "lost / gained", "McNemar p",
    "months behind", "cut off / empty", "memory", "tokens/s", "device",
)  # fmt: skip
CARD_HEADERS = (
    "Weights", "Engine", "Items", "Score (95% interval)", "Difference in points (95% interval)",
    "Right → wrong / wrong → right", "Months behind (90% interval)", "Memory", "Tokens/s", "Device",
)  # fmt: skip
DASH = "–"
ENDS = {
    RungEnd.ALL_ITEMS: "every item of the suite is asked",
    RungEnd.LIMIT: "as many items are asked as `--limit` allows",
    RungEnd.LOOKS: f"all {MOST_LOOKS} looks are used, so that more would make every interval wider",
}


def ladder_title(found: LadderResult) -> str:
    """The suite, what the others are compared with, and the precision that is wanted."""
    return (
        f"{found.model_id} · {found.suite} v{found.suite_version} · differences to {found.reference}, "
        f"wanted to ±{100 * found.precision:g} points"
    )


def rung_cells(rung: RungResult, found: LadderResult) -> list[str]:
    """The cells under `HEADERS`."""
    loss, cost = rung.loss, rung.cost
    written = rung.truncated_fraction is not None and rung.empty_fraction is not None
    return [
        rung.label,
        f"{rung.n_items:,}" if rung.n_items else DASH,
        _scores_text(rung),
        "reference" if rung.label == found.reference else difference_text(loss),
        DASH if loss is None or loss.n_lost is None else f"{loss.n_lost} / {loss.n_gained}",
        DASH if loss is None or loss.mcnemar_p is None else f"{loss.mcnemar_p:.3f}",
        months_text(rung),
        f"{rung.truncated_fraction:.0%} / {rung.empty_fraction:.0%}" if written else DASH,
        memory_text(rung),
        speed_text(rung),
        cost.device or DASH,
    ]


def _scores_text(rung: RungResult) -> str:
    """The score on the shared items beside that of the reference; of the reference itself on all."""
    if rung.loss is not None:
        return f"{rung.loss.value:.1%} / {rung.loss.reference_value:.1%}"
    return DASH if rung.score is None else f"{rung.score:.1%}"


def difference_text(loss: Loss | None) -> str:
    """The difference in percentage points with its interval."""
    if loss is None:
        return DASH
    return f"{100 * loss.difference:+.1f} ({100 * loss.ci_low:+.1f} … {100 * loss.ci_high:+.1f})"


def months_text(rung: RungResult) -> str:
    """The months that the rung is behind the reference."""
    shift = rung.shift
    if shift is None:
        return DASH
    return f"{shift.months_behind:+.1f} ({shift.months_ci_low:+.1f} … {shift.months_ci_high:+.1f})"


def memory_text(rung: RungResult) -> str:
    """The measured peak, and the ratio to the reference on the same device."""
    peak, ratio = rung.cost.peak_memory_bytes, rung.cost.memory_ratio
    if peak is None:
        return DASH
    return f"{peak / GIB:.2f} GiB" + (f" (×{ratio:.2f})" if ratio and rung.loss else "")


def speed_text(rung: RungResult) -> str:
    """Tokens per second, or items where no text is written, and the ratio on the same device."""
    cost = rung.cost
    if cost.tokens_per_s:
        said = f"{cost.tokens_per_s:,.1f}"
    elif cost.items_per_s:
        said = f"{cost.items_per_s:,.2f} items/s"
    else:
        return DASH
    return said + (f" (×{cost.speed_ratio:.2f})" if cost.speed_ratio and rung.loss else "")


def ladder_notes(found: LadderResult) -> list[str]:
    """Why a rung has no number, or asked no further item; what all rungs share is said once."""
    reasons = {rung.shift_note for rung in found.rungs if rung.loss is not None}
    shared = next(iter(reasons)) if len(reasons) == 1 else None
    notes = [note for rung in found.rungs for note in _rung_notes(rung, shared=shared)]
    return [*notes, shared] if shared else notes


def _rung_notes(rung: RungResult, *, shared: str | None) -> list[str]:
    notes = []
    if rung.status == "failed":
        notes.append(f"{rung.label}: not measured ({rung.reason}): {rung.detail}")
    elif rung.status == "waiting":
        notes.append(f"{rung.label}: not measured yet; repeat the command")
    elif rung.note:
        notes.append(f"{rung.label}: {rung.note}")
    if rung.loss is not None and rung.status != "failed":
        end = "repeat the command to go on" if rung.end is None else ENDS.get(RungEnd(rung.end), "")
        if end:
            notes.append(f"{rung.label}: known to ±{100 * rung.loss.half_width:.1f} points; {end}")
    if rung.shift_note and rung.shift_note != shared:
        notes.append(f"{rung.label}: {rung.shift_note}")
    if rung.shift is not None:
        notes.append(
            f"{rung.label}: {rung.shift.points:+.1f} points on the index ({rung.shift.points_ci_low:+.1f} … "
            f"{rung.shift.points_ci_high:+.1f}), at {rung.shift.points_per_year:.1f} points a year of the "
            f"closed frontier, data of {rung.shift.as_of}; 90% intervals"
        )
    return notes


def task_lines(rung: RungResult) -> list[str]:
    """The loss on each task, where there are several."""
    if len(rung.tasks) < 2:
        return []
    return [
        f"{rung.label}, {row.task}: {difference_text(row.loss)}, {row.loss.n_items:,} items"
        for row in rung.tasks
    ]


def divergence_line(rung: RungResult) -> str:
    """How far the answers differ from those of the reference; empty if nothing can be said."""
    found = rung.divergence
    if found is None:
        return ""
    parts = []
    if found.mean_log_prob_change is not None:
        parts.append(
            f"log-probabilities of choices differ by {found.mean_log_prob_change:.3f} nats on average"
        )
    if found.changed_choice_fraction is not None:
        parts.append(
            f"the most probable choice is another one in {found.changed_choice_fraction:.1%} of items"
        )
    if found.changed_text_fraction is not None:
        parts.append(f"{found.changed_text_fraction:.0%} of {found.n_written:,} texts differ")
    return f"{rung.label}: {'; '.join(parts)}" if parts else ""


def ladder_markdown(found: LadderResult) -> str:
    """The ladder as Markdown for a model card; whatever models or files wrote is escaped."""
    days = [rung.measured_on for rung in found.rungs if rung.measured_on]
    when = f", measured on {max(days)}" if days else ""
    lines = [
        f"**What the copies of {markdown_code(found.model_id)} lose** on suite "
        f"{markdown_code(found.suite)} v{found.suite_version}{when}. Differences are paired: the same items, "
        f"minus {markdown_code(found.reference)}.",
        "",
        _row(CARD_HEADERS),
        _row(["---"] * len(CARD_HEADERS)),
        *(_row(_card_cells(rung, found)) for rung in found.rungs),
        "",
        *(f"- {markdown_text(note)}" for note in ladder_notes(found)),
        *([""] if ladder_notes(found) else []),
        f"Reproduce with open-weight-tracker {__version__}: {markdown_code(found.command)}",
    ]
    return "\n".join(lines)


def _card_cells(rung: RungResult, found: LadderResult) -> list[str]:
    engine = " ".join(filter(None, (rung.engine, rung.engine_version, rung.dtype, rung.quantization)))
    score = DASH
    if rung.score is not None and rung.score_ci_low is not None and rung.score_ci_high is not None:
        score = f"{rung.score:.1%} ({100 * rung.score_ci_low:.1f}–{100 * rung.score_ci_high:.1f})"
    cells = rung_cells(rung, found)
    return [
        _cell_text(rung.label),
        _cell_text(engine or DASH),
        cells[1],
        score,
        cells[3],
        cells[4],
        cells[6],
        cells[8],
        cells[9],
        _cell_text(cells[10]),
    ]


def _cell_text(text: str) -> str:
    """Foreign text in a cell, which a `|` would end, also within code."""
    return markdown_text(text.replace("|", "¦"))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
