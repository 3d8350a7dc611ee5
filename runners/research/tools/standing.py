"""Where a study stands, as the agent that works on it may know it.

An agent sees the script, the numbers, training losses and scores on `val`; it never sees a number of
`select` or `test`, a seed of the gate, or the held-out text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runners.research.agents import agent_facts
from runners.research.agents.history import TrialOutcome, change_key, trial_outcomes
from runners.research.agents.prompting import moved
from runners.research.problem import script as scripts
from runners.research.problem import space as spaces
from runners.research.problem.tiers import Tier
from runners.research.problem.tiers import tier as tier_of
from runners.research.problem.tunables import Tunable
from runners.research.study import incumbent_after
from runners.research.tools.catalog import Arguments
from runners.research.tools.probe import Prober, study_prober, token_budget
from runners.research.tools.workspace import AskedProposal, Draft, Workspace
from runners.research.trainer import trainer_of
from runners.research.trial import shown_trial
from tracker.files.studies import Ledger
from tracker.records.studies import Change, Study, StudyStatus, Training, Trial
from tracker.wording import counted

CURVE_POINTS = 16
CELL_CHARS = 160
WAIT_S = 50.0  # below the minute after which many clients give a call up
HISTORY = 20
ENDED = (StudyStatus.COMPLETE, StudyStatus.FAILED)


@dataclass(frozen=True, slots=True)
class SessionSetting:
    """The parts of a study that do not change while an agent works on it."""

    ledger: Ledger
    tier: Tier
    space: Sequence[Tunable]
    shipped_script: str
    prober: Prober
    wait_s: float = WAIT_S
    is_stored: Callable[[], bool] = lambda: True  # whether all that follows the end of the study is done
    waits_for_verdict: bool = True  # False: our own agent submits in the process that then runs the trial


def session_setting(ledger: Ledger) -> SessionSetting:
    """The setting of the study in this folder, with real probes.

    Raises:
        TrackerError: it needs a sandbox that does not work here.
    """
    study = ledger.read_study()
    home = ledger.folder.parent.parent
    tier = tier_of(study.tier, home)
    return SessionSetting(
        ledger=ledger,
        tier=tier,
        space=spaces.tunables(tier),
        shipped_script=scripts.shipped(tier),
        prober=study_prober(study, tier, trainer_of(study, ledger, tier)),
    )


class StudyStanding:
    """The study of a session, its trials and its incumbent, read anew from the files at each question."""

    def __init__(self, setting: SessionSetting, work: Workspace, *, number: int | None = None) -> None:
        """Read the study of `setting`, for its proposal of this `number` alone if one is given."""
        self.setting = setting
        self.work = work
        self._number = number
        self._ledger = setting.ledger
        self._known: dict[Path, Trial] = {}  # finished trials, whose files never change

    @property
    def study(self) -> Study:
        """The study as it stands now; it has ended only when it is stored too, since clients then leave."""
        study = self._ledger.read_study()
        if study.status in ENDED and not self.setting.is_stored():
            return replace(study, status=StudyStatus.RUNNING)
        return study

    @property
    def _all_trials(self) -> list[Trial]:
        """The finished trials, placebos included, in the order of their slots."""
        paths = self._ledger.trial_paths()
        for path in paths:
            if path not in self._known and (trial := self._ledger.trial(int(path.stem))) is not None:
                self._known[path] = trial
        return [self._known[path] for path in paths if path in self._known]

    @property
    def trials(self) -> list[Trial]:
        """The agent's trials as it may know them."""
        return [shown_trial(trial) for trial in self._all_trials if not trial.is_placebo]

    @property
    def n_past(self) -> int:
        """Proposals that were submitted before the next one."""
        if self._number is not None:
            return self._number
        return len(list((self.work.folder / "submissions").glob("[0-9]*.json")))

    @property
    def incumbent(self) -> Change:
        """The change that the next one is compared with."""
        return incumbent_after(self._all_trials)

    def draft(self) -> Draft:
        """The change that the agent prepares: the incumbent until it edits something."""
        draft, incumbent = self.work.draft(), self.incumbent
        if draft is None or not draft.is_edited:
            return Draft(incumbent)
        return draft

    def script(self, change: Change) -> str:
        """The text of `train.py` under this change."""
        return change.script or self.setting.shipped_script

    def _asked(self) -> AskedProposal | None:
        """The proposal that the study waits for now; None while it is busy."""
        asked = self.work.asked()
        if asked is None or self.work.submission(self.n_past) is not None:
            return None
        is_mine = asked.n_past == self.n_past if self._number is None else asked.n_past <= self._number
        return asked if is_mine else None

    def is_open(self) -> bool:
        """Whether a draft may be submitted: every earlier one has its verdict, so the incumbent is known."""
        is_known = self._number is None and len(self.trials) >= self.n_past
        return is_known or self._asked() is not None

    def is_halted(self) -> bool:
        """Whether the study has ended or was stopped."""
        return self.study.status is not StudyStatus.RUNNING

    def is_over(self) -> bool:
        """Whether nothing more can be submitted."""
        study = self.study
        return study.status in ENDED or self.work.finished() is not None or self.n_past >= study.n_trials

    def outcomes(self) -> tuple[TrialOutcome, ...]:
        """The agent's trials with their scores on `val`, in bits per byte."""
        asked = self.work.asked()
        return trial_outcomes(self.trials, baseline_bpb=asked.baseline_bpb if asked else None)

    def probe_tokens_left(self) -> int:
        """Training tokens that are left for probes."""
        budget = token_budget(self.setting.tier, self.study.n_trials)
        return budget - sum(probe.n_tokens for probe in self.work.probes())

    @property
    def _continued_by(self) -> str:
        study = self.study
        is_served = agent_facts(study.agent.kind).is_served
        return f"tracker research {'serve --study' if is_served else 'resume'} {study.study_id}"

    def status(self) -> str:
        """The answer of the tool `status`."""
        study, tier = self.study, self.setting.tier
        trials = self.trials
        asked = self.work.asked()
        budget = token_budget(tier, study.n_trials)
        used = sum(probe.n_tokens for probe in self.work.probes())
        baseline = asked.baseline_bpb if asked else None
        outcomes = self.outcomes()
        lines = [
            f"Study {study.study_id}: tier {tier.name} ({tier.description}), track {study.track}.",
            f"Trials: {len(trials)} of {study.n_trials} done, {study.n_trials - self.n_past} left.",
            f"Baseline: {_bpb(baseline)} on val. Incumbent: {_bpb(self._level(outcomes))}.",
            f"Probes: {used:,} of {budget:,} training tokens used; a training has {tier.train_tokens:,}.",
            f"Draft: {'edited' if self.draft().is_edited else 'equal to the incumbent'}.",
            self._next_step(study),
        ]
        return "\n".join(lines)

    def _level(self, outcomes: Sequence[TrialOutcome]) -> float | None:
        """Where the incumbent stands on `val`."""
        incumbent = change_key(self.incumbent)
        for outcome in reversed(outcomes):
            change = outcome.trial.proposal.change
            if change is not None and change_key(change) == incumbent and outcome.val_bpb is not None:
                return outcome.val_bpb
        asked = self.work.asked()
        return asked.baseline_bpb if asked else None

    def _next_step(self, study: Study) -> str:
        if study.status is StudyStatus.COMPLETE:
            return "State: complete. The study is over; nothing more can be submitted."
        if study.status is not StudyStatus.RUNNING:
            return f"State: {study.status}. It can be continued with `{self._continued_by}`."
        if self.work.finished() is not None or self.n_past >= study.n_trials:
            return "State: no trials are left. The last trials and the final measurement run: call `wait`."
        if not self.is_open():
            return "State: a trial is still running. You can prepare the next draft meanwhile."
        return "State: waiting for you: change the draft, then `submit` it."

    def tried(self, draft: Change) -> int | None:
        """The number of the trial that was exactly this, counted from 1."""
        for number, trial in enumerate(self.trials, start=1):
            change = trial.proposal.change
            if change is not None and change_key(change) == change_key(draft):
                return number
        return None

    def verdict(self, number: int) -> Trial | None:
        """The trial of this number, counted from 0, once it has been decided."""
        trials = self.trials
        return trials[number] if number < len(trials) else None

    def line(self, number: int, outcome: TrialOutcome) -> str:
        """One trial in one line."""
        trial = outcome.trial
        change = trial.proposal.change
        what = trial.proposal.problem or ""
        if change is not None:
            numbers = moved(trial.parent, change, self.setting.space) if change.params else ""
            what = "; ".join(
                part for part in (numbers, trial.proposal.rationale) if part and part != "nothing"
            )
        measured = "" if outcome.val_bpb is None else f": {outcome.val_bpb:.4f} bpb"
        if outcome.gain_bpb is not None:
            measured += f", gain {outcome.gain_bpb:+.4f}"
        why = f" ({trial.detail or trial.reason})" if trial.detail or trial.reason else ""
        return f"{number}. {what[:CELL_CHARS]}{measured}; {trial.verdict}{why[: 3 * CELL_CHARS]}"

    def history(self, given: Arguments) -> str:
        """The answer of the tool `history`."""
        outcomes = self.outcomes()
        if not outcomes:
            return "no trials so far"
        numbered = list(enumerate(outcomes, start=1))[-given.get("last", HISTORY) :]
        return "\n".join(self.line(number, outcome) for number, outcome in numbered)

    def curve(self, given: Arguments) -> str:
        """The answer of the tool `curve`: training losses in nats per token."""
        trials = self.trials
        number = given["trial"]
        if number > len(trials):
            raise ValueError(
                f"there {'is' if len(trials) == 1 else 'are'} {counted(len(trials), 'trial')} so far"
            )
        pairs = trials[number - 1].pairs
        if not pairs:
            return "this trial trained nothing"
        parent = dict(_thinned(pairs[0].parent))
        lines = ["tokens: training loss of the trial (nats per token), of its parent"]
        for n_tokens, loss in _thinned(pairs[0].child):
            near = min(parent, key=lambda n: abs(n - n_tokens)) if parent else None
            beside = f", {parent[near]:.4f}" if near is not None else ""
            lines.append(f"{n_tokens:,}: {loss:.4f}{beside}")
        return "\n".join(lines) if len(lines) > 1 else "this trial has no curve: its training crashed early"


def space_text(space: Sequence[Tunable]) -> str:
    """The numbers that may change, one line each."""
    lines = ["Tunable numbers (category: name, allowed values, default: meaning):"]
    for tunable in space:
        if tunable.choices:
            allowed = "one of " + ", ".join(f"{choice:g}" for choice in tunable.choices)
        else:
            allowed = f"{tunable.low:g} to {tunable.high:g}" + (", log scale" if tunable.log else "")
        default = f"{tunable.default:g}"
        lines.append(f"- {tunable.category}: {tunable.name}, {allowed}, default {default}: {tunable.what}")
    return "\n".join(lines)


def _thinned(training: Training) -> Sequence[tuple[int, float]]:
    points = training.curve
    step = max(1, len(points) // CURVE_POINTS)
    chosen = points[::step]
    return chosen if not points or chosen[-1] == points[-1] else (*chosen, points[-1])


def _bpb(value: float | None) -> str:
    return "not measured yet" if value is None else f"{value:.4f} bpb"
