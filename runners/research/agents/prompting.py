"""The prompt of a model: the program, the space, the trials so far, and the form of an answer.

Its words move scores, and every change of them changes the program hash of a study. Pure.
What does not fit into the model's context is left out in a fixed order: old trials first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.research.agents import Ask
from runners.research.agents.drafts import without_drafts
from runners.research.agents.history import TrialOutcome, trailing_repeats, trial_outcomes
from runners.research.agents.parse_json import MAX_CHANGES, MAX_NOTE_CHARS, MAX_RATIONALE_CHARS, reply_schema
from runners.research.agents.passages import NoPlaceError, without_comment
from runners.research.problem.script import regions
from runners.research.problem.space import validate
from runners.research.problem.tunables import Tunable
from tracker.records.studies import (
    CATEGORIES,
    Change,
    Proposal,
    Split,
    Track,
    Training,
    Trial,
    Verdict,
)

Message = dict[str, str]
# (trials shown, best trials shown), from roomy to tight; autoresearch's logs overflow at more
SIZES = ((20, 5), (15, 5), (10, 5), (6, 3), (3, 2), (1, 1), (0, 0))
HALVINGS = 30
PLATEAU = 6  # trials in a row that did not help, after which the model is told so
RULES = "d_model must be a multiple of 2 × n_head; warmup_fraction + cooldown_fraction must be at most 1."
MAX_CELL_CHARS = 160
MAX_NOTEBOOK_CHARS = 1200  # of the model's own notes, the newest
ROOMY = 6  # trials shown from which on a prompt also has the losses and the notes
CURVE_SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 1.0)  # of a training
MAX_REPEATED_CHARS = 2000  # of an answer that could not be used
# No real example: a small model proposes nothing else ever after (SmolLM2-135M, 5 of 6 trials).
EXAMPLE_NAME = (
    "beta2"  # the number in the example of an edit, if the script has it: no change of it does harm
)
EXAMPLE_HALF = 0.5  # from here on a number is a share, which moves half of the way to 1
EXAMPLE_LINE = re.compile(r"^(?P<start>\s*\w+(?:: float)? = )(?P<value>0\.\d+)(?=\s|$).*$")
FORM = '{"rationale": "WHY", "changes": [{"name": "NAME", "value": NUMBER}]}'
NOTES_FORM = f'You may add "notes", at most {MAX_NOTE_CHARS} characters that you will read in later trials.'


@dataclass(frozen=True, slots=True)
class OptimizerSuggestion:
    """Hybrid: what the optimizer would try next, and which it is."""

    optimizer: str
    proposal: Proposal


def prompt_messages(
    ask: Ask, *, max_chars: int, suggestion: OptimizerSuggestion | None = None
) -> list[Message] | None:
    """The messages of one question, within `max_chars`; None if not even the shortest fits."""
    system = {"role": "system", "content": _program(ask)}
    for n_last, n_best in SIZES:
        content = _question(ask, n_last=n_last, n_best=n_best, suggestion=suggestion)
        if len(system["content"]) + len(content) <= max_chars:
            return [system, {"role": "user", "content": content}]
    return None


def repair_messages(asked: Sequence[Message], reply: str, problem: ValueError, ask: Ask) -> list[Message]:
    """The question again, after an answer that could not be used; with the lines that it may have meant."""
    again = _code_form(ask) if ask.study.track is Track.CODE else "Reply with only the JSON object."
    near = problem.near if isinstance(problem, NoPlaceError) else ""
    shown = f"The lines of the script that are most like them:\n```python\n{near}\n```\n" if near else ""
    said = without_drafts(reply).strip() or reply.strip()
    return [
        *asked,
        {"role": "assistant", "content": said[:MAX_REPEATED_CHARS] or "(nothing)"},
        {"role": "user", "content": f"This answer cannot be used: {problem}.\n{shown}{again}"},
    ]


def answer_schema(ask: Ask, *, may_be_empty: bool) -> dict[str, Any] | None:
    """The JSON schema that an answer must follow; None on the `code` track, whose answers are not JSON.

    It allows the values of each number that need no other number to move, and only choices that differ from
    the current one.
    """
    if ask.study.track is Track.CODE:
        return None
    return reply_schema(allowed_values(ask), min_changes=0 if may_be_empty else 1)


def allowed_values(ask: Ask) -> dict[str, dict[str, Any]]:
    """The JSON schema of the new value of each number that can be moved alone."""
    values = {tunable.name: _allowed(tunable, ask) for tunable in ask.space}
    return {name: schema for name, schema in values.items() if schema}


def _allowed(tunable: Tunable, ask: Ask) -> dict[str, Any]:
    """The JSON schema of a number's new value; empty if it cannot be moved alone."""
    if tunable.choices:
        now = ask.incumbent.params.get(tunable.name, tunable.default)
        choices = [c for c in tunable.choices if c != now and _goes(tunable, c, ask)]
        return {"enum": choices} if choices else {}
    low, high = tunable.low, tunable.high
    if not _goes(tunable, low, ask):
        return {}
    if not _goes(tunable, high, ask):
        works, fails = low, high
        for _ in range(HALVINGS):
            middle = (works + fails) / 2
            works, fails = (middle, fails) if _goes(tunable, middle, ask) else (works, middle)
        high = float(f"{works:.3g}")
        high = high if _goes(tunable, high, ask) else works
    return {"type": "integer" if tunable.kind == "int" else "number", "minimum": low, "maximum": high}


def _goes(tunable: Tunable, value: Any, ask: Ask) -> bool:
    try:
        validate({**ask.incumbent.params, tunable.name: value}, ask.tier)
    except ValueError:
        return False
    return True


def _program(ask: Ask) -> str:
    lines = ask.study.program.splitlines()
    return "\n".join(line for line in lines if not line.startswith("<!--")).strip()


def _question(ask: Ask, *, n_last: int, n_best: int, suggestion: OptimizerSuggestion | None) -> str:
    """The question; constant parts come first, so that an engine's prefix cache keeps them."""
    is_code = ask.study.track is Track.CODE
    stood = trial_outcomes(ask.history, baseline_bpb=ask.baseline_bpb.get(Split.VAL))
    parts = [
        f"Training: {ask.tier.description}; {ask.tier.train_tokens:,} tokens, context {ask.tier.context}.",
        _numbers(ask),
        _code_form(ask) if is_code else _json_form(ask),
        f"The part of train.py that you may edit:\n```python\n{_region(ask)}```" if is_code else "",
        _trials(ask, stood, n_last=n_last, n_best=n_best),
        _touched(ask),
        _curves(ask) if n_last >= ROOMY else "",
        _notes(ask) if n_last >= ROOMY else "",
        _state(ask),
        _repeats(ask),
        "" if suggestion is None else _suggested(ask, stood, suggestion),
        "Propose the next change to the incumbent.",
    ]
    return "\n\n".join(part for part in parts if part)


def _numbers(ask: Ask) -> str:
    lines = ["Tunable numbers (category: name, allowed values, default: meaning):"]
    return "\n".join([*lines, *map(_number, ask.space), RULES])


def _number(tunable: Tunable) -> str:
    if tunable.choices:
        allowed = "one of " + ", ".join(_value(c) for c in tunable.choices)
    else:
        allowed = f"{_value(tunable.low)} to {_value(tunable.high)}{', log scale' if tunable.log else ''}"
    default = _value(tunable.default)
    return f"- {tunable.category}: {tunable.name}, {allowed}, default {default}: {tunable.what}"


def _state(ask: Ask) -> str:
    baseline, incumbent = ask.baseline_bpb.get(Split.VAL), ask.incumbent_bpb.get(Split.VAL)
    now = ", ".join(f"{name} = {_value(value)}" for name, value in ask.incumbent.params.items())
    lines = [
        f"Baseline: {_bpb(baseline)} bpb. "
        f"Incumbent: {_bpb(incumbent)} bpb, {now or 'all numbers at their defaults'}.",
        f"Trials left: {ask.n_left} of {ask.study.n_trials}.",
        _plateau(ask),
    ]
    return "\n".join(line for line in lines if line)


def _region(ask: Ask) -> str:
    return regions(ask.script).editable


def _trials(ask: Ask, stood: Sequence[TrialOutcome], *, n_last: int, n_best: int) -> str:
    if not stood:
        return "No trials so far."
    if not n_last:
        return ""
    measured = sorted((s for s in stood if s.gain_bpb is not None), key=lambda s: s.val_bpb or 0.0)
    n_shown = min(n_last, len(stood))
    lines = [f"The last {n_shown} of {len(stood)} trials (change: bpb, gain over the incumbent at the time):"]
    lines += [_trial(standing, ask) for standing in stood[-n_last:]]
    if len(stood) > n_last or n_best < len(measured):
        lines += ["The best so far:", *(_trial(standing, ask) for standing in measured[:n_best])]
    return "\n".join(lines)


def _trial(standing: TrialOutcome, ask: Ask) -> str:
    trial = standing.trial
    change = trial.proposal.change
    if change is None:
        return f"- unusable answer: {(trial.proposal.problem or '')[:MAX_CELL_CHARS]}"
    what = _what(trial, ask)
    measured = "" if standing.val_bpb is None else f": {standing.val_bpb:.3f}"
    if standing.gain_bpb is not None:
        measured += f", {standing.gain_bpb:+.3f}"
    why = f" ({trial.detail or trial.reason})" if trial.detail or trial.reason else ""
    return f"- {what[:MAX_CELL_CHARS]}{measured}; {trial.verdict}{why[:MAX_CELL_CHARS]}"


def moved(parent: Change, child: Change, space: Sequence[Tunable]) -> str:
    """The numbers that differ, each as `name before→after`."""
    pairs = ((t, parent.params.get(t.name, t.default), child.params.get(t.name, t.default)) for t in space)
    named = [f"{t.name} {_value(old)}→{_value(new)}" for t, old, new in pairs if old != new]
    return ", ".join(named) or "nothing"


def _touched(ask: Ask) -> str:
    if not ask.history:
        return ""
    counts = Counter(category for trial in ask.history for category in trial.categories)
    changes = [(t.parent, t.proposal.change) for t in ask.history if t.proposal.change is not None]
    untouched = [
        t.name
        for t in ask.space
        if all(p.params.get(t.name, t.default) == c.params.get(t.name, t.default) for p, c in changes)
    ]
    tried = ", ".join(f"{category} {counts[category]}" for category in CATEGORIES)
    rest = f"\nNever changed: {', '.join(untouched)}." if untouched else ""
    return f"Trials by category: {tried}.{rest}"


def _curves(ask: Ask) -> str:
    """The losses during the trainings of the incumbent and of the last trial."""
    measured = [trial for trial in ask.history if trial.pairs and trial.verdict is not Verdict.DUPLICATE]
    if not measured:
        return ""
    kept = [trial for trial in measured if trial.proposal.change == ask.incumbent]
    last = measured[-1]
    incumbent = kept[-1].pairs[0].child if kept else last.pairs[0].parent
    lines = [("incumbent", incumbent), ("last trial", last.pairs[0].child)]
    shown = [
        f"- {name}: {text}" for name, training in lines if (text := _curve(training, ask.tier.train_tokens))
    ]
    if not shown:
        return ""
    return "\n".join(["Training loss in nats per token, at percent of the training:", *shown])


def _curve(training: Training, n_tokens: int) -> str:
    points = training.curve
    if not points:
        return ""
    wanted = [min(points, key=lambda point: abs(point[0] - share * n_tokens)) for share in CURVE_SHARES]
    return ", ".join(f"{at / n_tokens:.0%} {loss:.3f}" for at, loss in dict.fromkeys(wanted))


def _notes(ask: Ask) -> str:
    """What the model wrote down for itself in its last trials, the newest last, within a bound."""
    kept: list[str] = []
    left = MAX_NOTEBOOK_CHARS
    for trial in reversed(ask.history):
        note = trial.proposal.notes
        if not note or note in kept:
            continue
        if len(note) > left:
            break
        kept.insert(0, note)
        left -= len(note)
    return "\n".join(["Your notes so far:", *(f"- {note}" for note in kept)]) if kept else ""


def _repeats(ask: Ask) -> str:
    repeats = trailing_repeats(ask.history)
    if not repeats:
        return ""
    again = dict.fromkeys(_what(trial, ask)[:MAX_CELL_CHARS] for trial in repeats)
    which = "last answer repeats" if len(repeats) == 1 else f"last {len(repeats)} answers repeat"
    return (
        f"Your {which} what was tried before ({'; '.join(again)}). A repetition is never measured again "
        "and costs a trial: propose something else."
    )


def _what(trial: Trial, ask: Ask) -> str:
    change = trial.proposal.change
    if change is None:
        return ""
    return trial.proposal.rationale if change.script is not None else moved(trial.parent, change, ask.space)


def _plateau(ask: Ask) -> str:
    n_idle = 0
    for trial in reversed(ask.history):
        if trial.verdict is Verdict.ACCEPTED:
            break
        n_idle += 1
    if n_idle < PLATEAU:
        return ""
    return f"None of the last {n_idle} trials helped: try another category, or a much larger step."


def _suggested(ask: Ask, stood: Sequence[TrialOutcome], suggestion: OptimizerSuggestion) -> str:
    """The optimizer's record and suggestion, beside the record of the model's own trials."""
    change = suggestion.proposal.change
    if change is None:
        return ""
    counts = Counter(trial.proposal.proposer for trial in ask.history)
    accepted = Counter(t.proposal.proposer for t in ask.history if t.verdict is Verdict.ACCEPTED)
    name = suggestion.optimizer
    vals = [s.val_bpb for s in stood if s.trial.proposal.proposer == name and s.val_bpb is not None]
    best = f"best {min(vals):.3f} bpb" if vals else "nothing measured yet"
    n_own = sum(n for who, n in counts.items() if who != name)
    n_kept = sum(n for who, n in accepted.items() if who != name)
    own = f"{n_kept} of your own {n_own} trials were kept" if n_own else "you have made no trials yet"
    return (
        f"You work alongside an optimizer, {name}, which has seen all {len(ask.history)} trials.\n"
        f"{accepted[name]} of its own {counts[name]} trials were kept, {best}; {own}.\n"
        f"It suggests trying next: {moved(ask.incumbent, change, ask.space)}."
    )


def _json_form(ask: Ask) -> str:
    own = ""
    if ask.study.track is Track.HYBRID:
        own = ' An empty list of "changes" accepts the optimizer\'s suggestion.'
    return (
        f"Answer with one JSON object: the reason, in at most {MAX_RATIONALE_CHARS} characters, and 1 to "
        f"{MAX_CHANGES} of the incumbent's numbers with their new values.{own} {NOTES_FORM} Its form:\n{FORM}"
    )


def _code_form(ask: Ask) -> str:
    line, new = _example(_region(ask))
    return (
        "Give the reason in one or two sentences, then the edit to the incumbent's script as one or more "
        "blocks of this form. The SEARCH part repeats whole lines as they are now, comments are optional. "
        f"A line that begins with `NOTES:`, at most {MAX_NOTE_CHARS} characters, is for you to read later.\n"
        f"<<<<<<< SEARCH\n{line}\n=======\n{new}\n>>>>>>> REPLACE"
    )


def _example(region: str) -> tuple[str, str]:
    """A line of the editable part that stands there once, and another in its place."""
    lines = region.splitlines()
    numbers = [found for line in lines if (found := EXAMPLE_LINE.match(line)) and lines.count(line) == 1]
    for found in sorted(numbers, key=lambda number: EXAMPLE_NAME not in number["start"]):
        value = float(found["value"])
        new = (1 + value) / 2 if value >= EXAMPLE_HALF else 1.5 * value
        return without_comment(found.group()).rstrip(), f"{found['start']}{new:.4g}"
    return next((x for x in lines if x.strip() and lines.count(x) == 1), "the current lines"), "the new lines"


def _bpb(value: float | None) -> str:
    return "not measured yet" if value is None else f"{value:.3f}"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
