"""An agent's session on a study: each tool, carried out on the files of the study.

It runs on the trusted side. An agent sees the script, the numbers, training losses and scores on `val`; it
never sees a number of `select` or `test`, a seed of the gate, or the held-out text. Every answer is bounded.
A mistake of the agent is an answer that says so; only what is ours, such as a full disk, is raised.
"""

from __future__ import annotations

import difflib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runners.research.agents import agent_facts
from runners.research.agents.history import TrialOutcome, change_key, trial_outcomes
from runners.research.agents.patching import patched
from runners.research.agents.prompting import moved
from runners.research.problem import script as scripts
from runners.research.problem import space as spaces
from runners.research.problem.tiers import Tier
from runners.research.problem.tiers import tier as tier_of
from runners.research.problem.tunables import Tunable
from runners.research.study import incumbent_after
from runners.research.tools import catalog
from runners.research.tools.catalog import Arguments
from runners.research.tools.probe import DEFAULT_SHARE, Prober, probe_tokens, sandboxed_prober, token_budget
from runners.research.tools.workspace import AskedProposal, Draft, Finished, Submission, Workspace
from runners.research.trial import shown_trial
from runners.sandbox import run as sandbox
from tracker.errors import TrackerError
from tracker.files.studies import Ledger
from tracker.records.studies import Change, Study, StudyStatus, Track, Training, TrainingStatus, Trial
from tracker.wording import counted

MAX_OUTPUT_CHARS = 16_000  # of one answer: about 5,000 tokens
MAX_LINES = 400
MAX_HITS = 60
MAX_NOTES_CHARS = 20_000
MAX_CALLS = 300  # of tools for one trial: more is a loop that leads nowhere
MAX_SCRIPT_CHARS = 90_000
CURVE_POINTS = 16
CELL_CHARS = 160
WAIT_S = 50.0  # below the minute after which many clients give a call up
LOOK_S = 0.2
HISTORY = 20
FREE_TOOLS = ("status", "wait", "submit", "finish")  # also when the calls for a trial are used up
IN_PROGRESS = "still running"
ENDED = (StudyStatus.COMPLETE, StudyStatus.FAILED)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a call, as the agent reads it."""

    text: str
    is_error: bool = False


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
    box = sandbox.for_study(study.sandbox, runs_code=study.track is Track.CODE)
    return SessionSetting(
        ledger=ledger,
        tier=tier,
        space=spaces.tunables(tier),
        shipped_script=scripts.shipped(tier),
        prober=sandboxed_prober(study, tier, home, box),
    )


class ToolSession:
    """Carries out calls of one agent, or of one member of a team."""

    def __init__(self, setting: SessionSetting, *, member: str = "", number: int | None = None) -> None:
        """Work on the study of `setting`, on its proposal of this `number` alone if one is given."""
        self._setting = setting
        self._ledger = setting.ledger
        self._work = Workspace(setting.ledger.folder, member=member)
        self._number = number
        self._study = setting.ledger.read_study()
        self._member = member
        self._lock = threading.RLock()  # of the files
        self._probing: threading.Thread | None = None
        self._probe_error: TrackerError | None = None
        self._n_told = len(self._work.probes())  # probes whose outcome the agent knows
        self._known: dict[Path, Trial] = {}  # finished trials, whose files never change
        entries = self._work.journal_entries()
        self._said = {entry["key"]: entry for entry in entries if entry.get("key")}
        self._n_calls = Counter(entry.get("n_past") for entry in entries if "arguments" in entry)
        self._tools: Mapping[str, Callable[[Arguments, str], str]] = {
            "status": lambda _a, _k: self._status(),
            "read_file": lambda a, _k: self._read_file(a),
            "edit_file": self._edit_file,
            "set_numbers": self._set_numbers,
            "reset_draft": self._reset_draft,
            "search": lambda a, _k: self._search(a),
            "run_probe": lambda a, _k: self._run_probe(a),
            "diff": lambda _a, _k: self._diff(),
            "curve": lambda a, _k: self._curve(a),
            "history": lambda a, _k: self._history(a),
            "notes_read": lambda _a, _k: self._work.notes() or "(no notes yet)",
            "notes_write": lambda a, _k: self._notes_write(a),
            "submit": lambda a, _k: self._submit(a),
            "wait": lambda _a, _k: self._wait(),
            "finish": lambda a, _k: self._finish(a),
        }

    @property
    def study(self) -> Study:
        """The study as it stands now; it has ended only when it is stored too, since clients then leave."""
        study = self._ledger.read_study()
        if study.status in ENDED and not self._setting.is_stored():
            return replace(study, status=StudyStatus.RUNNING)
        return study

    @property
    def has_ended_its_trials(self) -> bool:
        """Whether nothing more can be submitted; the last trials and the final measurement may still run."""
        return self._is_over()

    @property
    def has_changed_draft(self) -> bool:
        """Whether the draft differs from the incumbent."""
        return self._draft().is_edited

    @property
    def works_alone(self) -> bool:
        """Whether nobody else writes into its notes."""
        return not self._member

    def wait_for_end(self) -> None:
        """Wait until the study has its result, or is stopped."""
        while not self._is_halted():
            time.sleep(LOOK_S)

    def call(self, name: str, arguments: object, *, key: str = "") -> ToolResult:
        """Carry out one call; with a `key` that was answered before, give that answer again.

        Raises:
            TrackerError: something of ours is missing, such as room on the disk.
        """
        if key and (known := self._said.get(key)) is not None and "answer" in known:
            return ToolResult(str(known["answer"]), bool(known.get("is_error")))
        shown = arguments if isinstance(arguments, dict) else {"?": str(arguments)[:CELL_CHARS]}
        n_past = self._n_past
        about = {"key": key, "tool": name[:CELL_CHARS], "member": self._member, "n_past": n_past}
        self._work.journal(about | {"arguments": shown})
        self._n_calls[n_past] += 1
        try:
            result = ToolResult(self._carried_out(name, arguments, key))
        except ValueError as error:
            result = ToolResult(f"error: {error}", is_error=True)
        result = replace(result, text=_bounded(result.text))
        self._work.journal(about | {"answer": result.text, "is_error": result.is_error})
        return result

    def _carried_out(self, name: str, arguments: object, key: str) -> str:
        given = catalog.checked(name, arguments)
        if name not in FREE_TOOLS and self._n_calls[self._n_past] > MAX_CALLS:
            raise ValueError(f"{MAX_CALLS} calls were made for this trial: `submit` the draft, or `finish`")
        return self._tools[name](given, key)

    # -- the state of the study

    @property
    def _all_trials(self) -> list[Trial]:
        """The finished trials, placebos included, in the order of their slots."""
        paths = self._ledger.trial_paths()
        for path in paths:
            if path not in self._known and (trial := self._ledger.trial(int(path.stem))) is not None:
                self._known[path] = trial
        return [self._known[path] for path in paths if path in self._known]

    @property
    def _trials(self) -> list[Trial]:
        """The agent's trials as it may know them."""
        return [shown_trial(trial) for trial in self._all_trials if not trial.is_placebo]

    @property
    def _n_past(self) -> int:
        """Proposals that were submitted before the next one."""
        if self._number is not None:
            return self._number
        return len(list((self._work.folder / "submissions").glob("[0-9]*.json")))

    @property
    def _incumbent(self) -> Change:
        return incumbent_after(self._all_trials)

    def _draft(self) -> Draft:
        draft, incumbent = self._work.draft(), self._incumbent
        if draft is None or not draft.is_edited:
            return Draft(incumbent)
        return draft

    def _script(self, change: Change) -> str:
        return change.script or self._setting.shipped_script

    def _asked(self) -> AskedProposal | None:
        """The proposal that the study waits for now; None while it is busy."""
        asked = self._work.asked()
        if asked is None or self._work.submission(self._n_past) is not None:
            return None
        is_mine = asked.n_past == self._n_past if self._number is None else asked.n_past <= self._number
        return asked if is_mine else None

    def _is_open(self) -> bool:
        """Whether a draft may be submitted: every earlier one has its verdict, so the incumbent is known."""
        is_known = self._number is None and len(self._trials) >= self._n_past
        return is_known or self._asked() is not None

    def _status(self) -> str:
        study, tier = self.study, self._setting.tier
        trials = self._trials
        asked = self._work.asked()
        budget = token_budget(tier, study.n_trials)
        used = sum(probe.n_tokens for probe in self._work.probes())
        baseline = asked.baseline_bpb if asked else None
        outcomes = self._outcomes()
        lines = [
            f"Study {study.study_id}: tier {tier.name} ({tier.description}), track {study.track}.",
            f"Trials: {len(trials)} of {study.n_trials} done, {study.n_trials - self._n_past} left.",
            f"Baseline: {_bpb(baseline)} on val. Incumbent: {_bpb(self._level(outcomes))}.",
            f"Probes: {used:,} of {budget:,} training tokens used; a training has {tier.train_tokens:,}.",
            f"Draft: {'edited' if self._draft().is_edited else 'equal to the incumbent'}.",
            self._next_step(study),
        ]
        return "\n".join(lines)

    def _level(self, outcomes: Sequence[TrialOutcome]) -> float | None:
        """Where the incumbent stands on `val`."""
        incumbent = change_key(self._incumbent)
        for outcome in reversed(outcomes):
            change = outcome.trial.proposal.change
            if change is not None and change_key(change) == incumbent and outcome.val_bpb is not None:
                return outcome.val_bpb
        asked = self._work.asked()
        return asked.baseline_bpb if asked else None

    def _next_step(self, study: Study) -> str:
        if study.status is StudyStatus.COMPLETE:
            return "State: complete. The study is over; nothing more can be submitted."
        if study.status is not StudyStatus.RUNNING:
            return f"State: {study.status}. It can be continued with `{self._continued_by}`."
        if self._work.finished() is not None or self._n_past >= study.n_trials:
            return "State: no trials are left. The last trials and the final measurement run: call `wait`."
        if not self._is_open():
            return "State: a trial is still running. You can prepare the next draft meanwhile."
        return "State: waiting for you: change the draft, then `submit` it."

    @property
    def _continued_by(self) -> str:
        is_served = agent_facts(self._study.agent.kind).is_served
        return f"tracker research {'serve --study' if is_served else 'resume'} {self._study.study_id}"

    # -- files

    def _text(self, path: str) -> str:
        draft = self._draft().change
        found: dict[str, Callable[[], str]] = {
            catalog.SCRIPT: lambda: self._script(draft),
            catalog.INCUMBENT: lambda: self._script(self._incumbent),
            catalog.NUMBERS: lambda: json.dumps(dict(draft.params), indent=2) + "\n",
            catalog.PROGRAM: lambda: self._study.program,
            catalog.SPACE: lambda: space_text(self._setting.space),
            catalog.NOTES: self._work.notes,
        }
        return found[path]()

    def _read_file(self, given: Arguments) -> str:
        lines = self._text(given["path"]).splitlines()
        start = given.get("start", 1)
        end = min(given.get("end", len(lines)), start + MAX_LINES - 1, len(lines))
        if start > max(1, len(lines)):
            raise ValueError(f"`{given['path']}` has {counted(len(lines), 'line')}")
        shown = [f"{number:>4} {lines[number - 1]}" for number in range(start, end + 1)]
        kept, size = [], 0
        for line in shown:
            size += len(line) + 1
            if size > MAX_OUTPUT_CHARS - CELL_CHARS:
                break
            kept.append(line)
        last = start + len(kept) - 1
        more = (
            f"\n({len(lines) - last} more lines: read on with start={last + 1})" if last < len(lines) else ""
        )
        return "\n".join(kept) + more if kept else "(empty)"

    def _search(self, given: Arguments) -> str:
        wanted = given["text"].casefold()
        if not wanted.strip():
            raise ValueError("`text` is empty")
        paths = [given["path"]] if "path" in given else [p for p in catalog.FILES if p != catalog.INCUMBENT]
        hits = []
        for path in paths:
            for number, line in enumerate(self._text(path).splitlines(), start=1):
                if wanted in line.casefold():
                    hits.append(f"{path}:{number}: {line.strip()[:CELL_CHARS]}")
        if not hits:
            return "no line contains it"
        more = f"\n({len(hits) - MAX_HITS} more)" if len(hits) > MAX_HITS else ""
        return "\n".join(hits[:MAX_HITS]) + more

    def _edit_file(self, given: Arguments, key: str) -> str:
        with self._lock:
            if (again := self._again(key)) is not None:
                return again
            draft = self._draft().change
            text = _edited(self._text(given["path"]), given)
            if given["path"] == catalog.NUMBERS:
                return self._keep(Change(self._numbers(_numbers_of(text)), draft.script), key)
            if self._study.track is not Track.CODE:
                raise ValueError(f"on the track `{self._study.track}` only `{catalog.NUMBERS}` may change")
            self._check_script(text, draft)
            is_shipped = text == self._setting.shipped_script
            return self._keep(Change(draft.params, None if is_shipped else text), key)

    def _set_numbers(self, given: Arguments, key: str) -> str:
        with self._lock:
            if (again := self._again(key)) is not None:
                return again
            draft = self._draft().change
            changes = given["changes"]
            if not changes:
                raise ValueError("`changes` is empty: name at least one number")
            change = Change(self._numbers({**draft.params, **changes}), draft.script)
            if change_key(change) == change_key(draft):
                named = ", ".join(f"`{name}` is {value}" for name, value in changes.items())
                raise ValueError(
                    f"the draft has these numbers already ({named[:CELL_CHARS]}): give other values"
                )
            return self._keep(change, key)

    def _reset_draft(self, _given: Arguments, key: str) -> str:
        with self._lock:
            said = "the draft is equal to the incumbent"
            self._work.write_draft(Draft(self._incumbent, call=key, said=said))
            return said

    def _again(self, key: str) -> str | None:
        """The answer of this very call, if it was carried out before a kill and its answer was lost."""
        draft = self._work.draft()
        return draft.said if key and draft is not None and draft.call == key else None

    def _keep(self, change: Change, key: str) -> str:
        is_edited = change_key(change) != change_key(self._incumbent)
        said = f"done; {self._summary(change)}"
        self._work.write_draft(Draft(change, is_edited=is_edited, call=key, said=said))
        return said

    def _summary(self, change: Change) -> str:
        incumbent = self._incumbent
        if change_key(change) == change_key(incumbent):
            return "the draft is equal to the incumbent"
        parts = [moved(incumbent, change, self._setting.space)] if change.params != incumbent.params else []
        if self._script(change) != self._script(incumbent):
            before, after = self._script(incumbent).splitlines(), self._script(change).splitlines()
            lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
            n_new = sum(line.startswith("+") for line in lines)
            n_gone = sum(line.startswith("-") for line in lines)
            parts.append(f"train.py +{n_new} -{n_gone} lines")
        return f"against the incumbent: {', '.join(parts)}"

    def _numbers(self, params: Mapping[str, object]) -> Mapping[str, Any]:
        return spaces.validate(params, self._setting.tier)

    def _check_script(self, text: str, draft: Change) -> None:
        """Refuse a script that could not run, or that changes what is frozen."""
        if len(text) > MAX_SCRIPT_CHARS:
            raise ValueError(
                f"the script would have {len(text):,} characters, more than {MAX_SCRIPT_CHARS:,}"
            )
        frozen = scripts.regions(self._setting.shipped_script).frozen_hash
        if scripts.regions(text).frozen_hash != frozen:
            raise ValueError("outside the EDITABLE markers nothing may change")
        try:
            scripts.parsed(text)
            spaces.values(Change(draft.params, text), self._setting.tier)
        except SyntaxError as error:
            raise ValueError(
                f"this would not be valid Python: {error.msg}, line {error.lineno or 0}"
            ) from error
        except (RecursionError, MemoryError) as error:
            raise ValueError("this would be nested too deeply to be parsed") from error

    def _diff(self) -> str:
        draft, incumbent = self._draft().change, self._incumbent
        lines = difflib.unified_diff(
            self._script(incumbent).splitlines(),
            self._script(draft).splitlines(),
            "incumbent/train.py",
            "train.py",
            n=2,
            lineterm="",
        )
        numbers = (
            moved(incumbent, draft, self._setting.space) if draft.params != incumbent.params else "unchanged"
        )
        return "\n".join([f"numbers: {numbers}", *lines])

    # -- notes and what is known

    def _notes_write(self, given: Arguments) -> str:
        with self._lock:
            before, text = self._work.notes(), given["text"].strip()
            if given.get("replace"):
                after = text
            elif text and before.endswith(text):  # also a call that was carried out before a kill
                after = before
            else:
                after = f"{before}\n{text}".strip()
            if len(after) > MAX_NOTES_CHARS:
                raise ValueError(
                    f"the notes would have {len(after):,} characters, more than {MAX_NOTES_CHARS:,}: "
                    "shorten them with replace=true"
                )
            self._work.write_notes(after)
            return f"the notes have {counted(len(after), 'character')}"

    def _outcomes(self) -> tuple[TrialOutcome, ...]:
        asked = self._work.asked()
        return trial_outcomes(self._trials, baseline_bpb=asked.baseline_bpb if asked else None)

    def _history(self, given: Arguments) -> str:
        outcomes = self._outcomes()
        if not outcomes:
            return "no trials so far"
        numbered = list(enumerate(outcomes, start=1))[-given.get("last", HISTORY) :]
        return "\n".join(self._line(number, outcome) for number, outcome in numbered)

    def _line(self, number: int, outcome: TrialOutcome) -> str:
        trial = outcome.trial
        change = trial.proposal.change
        what = trial.proposal.problem or ""
        if change is not None:
            numbers = moved(trial.parent, change, self._setting.space) if change.params else ""
            what = "; ".join(
                part for part in (numbers, trial.proposal.rationale) if part and part != "nothing"
            )
        measured = "" if outcome.val_bpb is None else f": {outcome.val_bpb:.4f} bpb"
        if outcome.gain_bpb is not None:
            measured += f", gain {outcome.gain_bpb:+.4f}"
        why = f" ({trial.detail or trial.reason})" if trial.detail or trial.reason else ""
        return f"{number}. {what[:CELL_CHARS]}{measured}; {trial.verdict}{why[: 3 * CELL_CHARS]}"

    def _curve(self, given: Arguments) -> str:
        trials = self._trials
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

    # -- probes

    def _run_probe(self, given: Arguments) -> str:
        with self._lock:
            if self._probing is not None and self._probing.is_alive():
                raise ValueError("a probe is still running: call `wait`")
            draft, incumbent = self._draft(), self._incumbent
            if not draft.is_edited:
                raise ValueError("the draft is equal to the incumbent: change it first")
            share = given.get("share", DEFAULT_SHARE)
            n_tokens = 2 * probe_tokens(self._setting.tier, share)
            left = self._probe_tokens_left()
            if n_tokens > left:
                raise ValueError(
                    f"draft and incumbent need {n_tokens:,} training tokens, and {left:,} are left"
                )
            self._probing = threading.Thread(
                target=self._probe, args=(draft.change, incumbent, share, n_tokens), daemon=True
            )
            self._probing.start()
        self._until(lambda: not self._is_probing(), self._deadline())
        return self._probe_answer()

    def _probe_tokens_left(self) -> int:
        budget = token_budget(self._setting.tier, self._study.n_trials)
        return budget - sum(probe.n_tokens for probe in self._work.probes())

    def _is_probing(self) -> bool:
        return self._probing is not None and self._probing.is_alive()

    def _probe(self, draft: Change, incumbent: Change, share: float, n_tokens: int) -> None:
        try:
            result = self._setting.prober(draft, incumbent, share)
            with self._lock:
                self._work.add_probe(
                    result.as_run(n_past=self._n_past, share=share, n_tokens=n_tokens, member=self._member)
                )
                if result.draft.status is TrainingStatus.CAUGHT and not self._is_over():
                    # asking the evaluator what it would refuse is not free: the draft is the next trial
                    note = f"a probe was refused: {result.draft.detail or result.draft.reason}"
                    self._work.write_submission(self._n_past, Submission(draft, note, member=self._member))
        except TrackerError as error:
            self._probe_error = error

    def _probe_answer(self) -> str:
        if self._probe_error is not None:
            error, self._probe_error = self._probe_error, None
            raise error
        probes = self._work.probes()
        if self._is_probing() or len(probes) <= self._n_told:
            return f"the probe is {IN_PROGRESS}: call `wait`"
        last, self._n_told = probes[-1], len(probes)
        if last.status == TrainingStatus.CAUGHT:
            return f"the evaluator refused the draft, which now counts as your next trial: {last.detail}"
        if last.draft_bpb is None or last.incumbent_bpb is None:
            what = last.detail or last.status
            return f"the probe of the draft ended as {last.status}: {what}"
        gain = last.incumbent_bpb - last.draft_bpb
        return (
            f"after {last.share:.0%} of a training, on val: draft {last.draft_bpb:.4f} bpb, incumbent "
            f"{last.incumbent_bpb:.4f} bpb, gain {gain:+.4f} under one seed. "
            f"{self._probe_tokens_left():,} probe tokens are left"
        )

    # -- trials

    def _submit(self, given: Arguments) -> str:
        deadline = self._deadline()
        self._until(lambda: self._is_open() or self._is_over(), deadline)
        with self._lock:
            if self._is_over():
                raise ValueError("no trials are left to submit")
            if not self._is_open():
                raise ValueError("a trial is still running: call `wait`, then `submit` again")
            draft, incumbent = self._draft().change, self._incumbent
            if change_key(draft) == change_key(incumbent):
                raise ValueError("the draft is equal to the incumbent: change it first")
            if (earlier := self._tried(draft)) is not None:
                raise ValueError(f"exactly this was tried as trial {earlier}: change the draft first")
            number = self._n_past
            diff = self._diff() if self._script(draft) != self._script(incumbent) else None
            self._work.write_submission(
                number, Submission(draft, given["note"][:2000], diff, member=self._member)
            )
        if not self._setting.waits_for_verdict:
            return f"submitted as trial {number + 1}"
        self._until(lambda: self._verdict(number) is not None or self._is_halted(), deadline)
        return self._told(number)

    def _tried(self, draft: Change) -> int | None:
        for number, trial in enumerate(self._trials, start=1):
            change = trial.proposal.change
            if change is not None and change_key(change) == change_key(draft):
                return number
        return None

    def _verdict(self, number: int) -> Trial | None:
        trials = self._trials
        return trials[number] if number < len(trials) else None

    def _told(self, number: int) -> str:
        trial = self._verdict(number)
        if trial is None:
            if self._is_halted():
                return f"trial {number + 1} has no verdict: the study is {self.study.status}"
            return f"trial {number + 1} is {IN_PROGRESS}: call `wait`"
        line = self._line(number + 1, self._outcomes()[number])
        left = self.study.n_trials - self._n_past
        after = "The draft is still this change; `reset_draft` goes back to the incumbent."
        if trial.proposal.change is not None and change_key(self._incumbent) == change_key(
            trial.proposal.change
        ):
            after = "It is the incumbent now."
        return f"trial {line}\n{after} {counted(left, 'trial')} left"

    def _wait(self) -> str:
        deadline = self._deadline()
        self._until(lambda: not self._is_probing(), deadline)
        if self._is_probing() or self._probe_error is not None or len(self._work.probes()) > self._n_told:
            return self._probe_answer()
        number = self._n_past - 1
        if number >= 0 and self._verdict(number) is None:
            self._until(lambda: self._verdict(number) is not None or self._is_halted(), deadline)
            return self._told(number)
        # without trials left, the end of the final measurement is what there is to wait for
        self._until(lambda: self._is_halted() or (self._is_open() and not self._is_over()), deadline)
        return self._status()

    def _finish(self, given: Arguments) -> str:
        if self._work.finished() is None:
            self._work.write_finished(Finished(self._n_past, given.get("reason", "")[:2000]))
        self._until(self._is_halted, self._deadline())
        return self._status()

    def _is_halted(self) -> bool:
        return self.study.status is not StudyStatus.RUNNING

    def _is_over(self) -> bool:
        study = self.study
        return study.status in ENDED or self._work.finished() is not None or self._n_past >= study.n_trials

    def _deadline(self) -> float:
        """The end of a call that begins now: a client would not wait longer."""
        return time.monotonic() + self._setting.wait_s

    @staticmethod
    def _until(is_done: Callable[[], bool], deadline: float) -> None:
        """Wait until it is so, at most until `deadline`."""
        while not is_done() and time.monotonic() < deadline:
            time.sleep(LOOK_S)


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


def _edited(text: str, given: Arguments) -> str:
    """The file after the edit.

    Raises:
        ValueError: it is not one kind of edit, or it does not apply.
    """
    kinds = [name for name in ("old", "patch", "content") if name in given]
    if len(kinds) != 1 or ("new" in given) != (kinds == ["old"]):
        raise ValueError("give either `old` and `new`, or `patch`, or `content`")
    if kinds == ["content"]:
        return str(given["content"])
    if kinds == ["patch"]:
        return patched(text, given["patch"]).script
    old, new = given["old"], given["new"]
    n_found = text.count(old) if old else 0
    if n_found != 1:
        where = "is empty" if not old else "is not in the file" if not n_found else f"occurs {n_found} times"
        raise ValueError(f"`old` {where}: give a passage that occurs exactly once")
    return text.replace(old, new)


def _numbers_of(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{catalog.NUMBERS}` would not be valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"`{catalog.NUMBERS}` must be an object of names with values")
    return found


def _thinned(training: Training) -> Sequence[tuple[int, float]]:
    points = training.curve
    step = max(1, len(points) // CURVE_POINTS)
    chosen = points[::step]
    return chosen if not points or chosen[-1] == points[-1] else (*chosen, points[-1])


def _bounded(text: str) -> str:
    if len(text) <= MAX_OUTPUT_CHARS:
        return text
    return f"{text[:MAX_OUTPUT_CHARS]}\n({len(text) - MAX_OUTPUT_CHARS:,} more characters are not shown)"


def _bpb(value: float | None) -> str:
    return "not measured yet" if value is None else f"{value:.4f} bpb"
