"""An agent's session on a study: each tool, carried out on the files of the study.

It runs on the trusted side. Every answer is bounded. A mistake of the agent is an answer that says so; only
what is ours, such as a full disk, is raised.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from runners.research.agents.history import change_key
from runners.research.tools import catalog
from runners.research.tools.catalog import Arguments
from runners.research.tools.drafting import MAX_OUTPUT_CHARS, Drafting
from runners.research.tools.probe import DEFAULT_SHARE, probe_tokens
from runners.research.tools.standing import CELL_CHARS, SessionSetting, StudyStanding
from runners.research.tools.workspace import Finished, Submission, Workspace
from tracker.errors import TrackerError
from tracker.records.studies import Change, Study, TrainingStatus
from tracker.wording import counted

MAX_CALLS = 300  # of tools for one trial: more is a loop that leads nowhere
LOOK_S = 0.2
FREE_TOOLS = ("status", "wait", "submit", "finish")  # also when the calls for a trial are used up
IN_PROGRESS = "still running"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a call, as the agent reads it."""

    text: str
    is_error: bool = False


class ToolSession:
    """Carries out calls of one agent, or of one member of a team."""

    def __init__(self, setting: SessionSetting, *, member: str = "", number: int | None = None) -> None:
        """Work on the study of `setting`, on its proposal of this `number` alone if one is given."""
        self._setting = setting
        self._work = Workspace(setting.ledger.folder, member=member)
        self._member = member
        self._lock = threading.RLock()  # of the files
        self._standing = StudyStanding(setting, self._work, number=number)
        self._drafting = Drafting(self._standing, self._lock)
        self._probing: threading.Thread | None = None
        self._probe_error: TrackerError | None = None
        self._n_told = len(self._work.probes())  # probes whose outcome the agent knows
        entries = self._work.journal_entries()
        self._said = {entry["key"]: entry for entry in entries if entry.get("key")}
        self._n_calls = Counter(entry.get("n_past") for entry in entries if "arguments" in entry)
        self._tools: Mapping[str, Callable[[Arguments, str], str]] = {
            "status": lambda _a, _k: self._standing.status(),
            "read_file": lambda a, _k: self._drafting.read_file(a),
            "edit_file": self._drafting.edit_file,
            "set_numbers": self._drafting.set_numbers,
            "reset_draft": self._drafting.reset_draft,
            "search": lambda a, _k: self._drafting.search(a),
            "run_probe": lambda a, _k: self._run_probe(a),
            "diff": lambda _a, _k: self._drafting.diff(),
            "curve": lambda a, _k: self._standing.curve(a),
            "history": lambda a, _k: self._standing.history(a),
            "notes_read": lambda _a, _k: self._work.notes() or "(no notes yet)",
            "notes_write": lambda a, _k: self._drafting.notes_write(a),
            "submit": lambda a, _k: self._submit(a),
            "wait": lambda _a, _k: self._wait(),
            "finish": lambda a, _k: self._finish(a),
        }

    @property
    def study(self) -> Study:
        """The study as it stands now; it has ended only when it is stored too, since clients then leave."""
        return self._standing.study

    @property
    def has_ended_its_trials(self) -> bool:
        """Whether nothing more can be submitted; the last trials and the final measurement may still run."""
        return self._standing.is_over()

    @property
    def has_changed_draft(self) -> bool:
        """Whether the draft differs from the incumbent."""
        return self._standing.draft().is_edited

    @property
    def works_alone(self) -> bool:
        """Whether nobody else writes into its notes."""
        return not self._member

    def wait_for_end(self) -> None:
        """Wait until the study has its result, or is stopped."""
        while not self._standing.is_halted():
            time.sleep(LOOK_S)

    def call(self, name: str, arguments: object, *, key: str = "") -> ToolResult:
        """Carry out one call; with a `key` that was answered before, give that answer again.

        Raises:
            TrackerError: something of ours is missing, such as room on the disk.
        """
        if key and (known := self._said.get(key)) is not None and "answer" in known:
            return ToolResult(str(known["answer"]), bool(known.get("is_error")))
        shown = arguments if isinstance(arguments, dict) else {"?": str(arguments)[:CELL_CHARS]}
        n_past = self._standing.n_past
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
        if name not in FREE_TOOLS and self._n_calls[self._standing.n_past] > MAX_CALLS:
            raise ValueError(f"{MAX_CALLS} calls were made for this trial: `submit` the draft, or `finish`")
        return self._tools[name](given, key)

    def _run_probe(self, given: Arguments) -> str:
        with self._lock:
            if self._probing is not None and self._probing.is_alive():
                raise ValueError("a probe is still running: call `wait`")
            draft, incumbent = self._standing.draft(), self._standing.incumbent
            if not draft.is_edited:
                raise ValueError("the draft is equal to the incumbent: change it first")
            share = given.get("share", DEFAULT_SHARE)
            n_tokens = 2 * probe_tokens(self._setting.tier, share)
            left = self._standing.probe_tokens_left()
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

    def _is_probing(self) -> bool:
        return self._probing is not None and self._probing.is_alive()

    def _probe(self, draft: Change, incumbent: Change, share: float, n_tokens: int) -> None:
        try:
            result = self._setting.prober(draft, incumbent, share)
            with self._lock:
                n_past = self._standing.n_past
                run = result.as_run(n_past=n_past, share=share, n_tokens=n_tokens, member=self._member)
                self._work.add_probe(run)
                if result.draft.status is TrainingStatus.CAUGHT and not self._standing.is_over():
                    # asking the evaluator what it would refuse is not free: the draft is the next trial
                    note = f"a probe was refused: {result.draft.detail or result.draft.reason}"
                    self._work.write_submission(n_past, Submission(draft, note, member=self._member))
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
            f"{self._standing.probe_tokens_left():,} probe tokens are left"
        )

    def _submit(self, given: Arguments) -> str:
        deadline = self._deadline()
        self._until(lambda: self._standing.is_open() or self._standing.is_over(), deadline)
        with self._lock:
            if self._standing.is_over():
                raise ValueError("no trials are left to submit")
            if not self._standing.is_open():
                raise ValueError("a trial is still running: call `wait`, then `submit` again")
            draft, incumbent = self._standing.draft().change, self._standing.incumbent
            if change_key(draft) == change_key(incumbent):
                raise ValueError("the draft is equal to the incumbent: change it first")
            if (earlier := self._standing.tried(draft)) is not None:
                raise ValueError(f"exactly this was tried as trial {earlier}: change the draft first")
            number = self._standing.n_past
            has_edits = self._standing.script(draft) != self._standing.script(incumbent)
            diff = self._drafting.diff() if has_edits else None
            self._work.write_submission(
                number, Submission(draft, given["note"][:2000], diff, member=self._member)
            )
        if not self._setting.waits_for_verdict:
            return f"submitted as trial {number + 1}"
        self._until(lambda: self._is_decided(number), deadline)
        return self._told(number)

    def _is_decided(self, number: int) -> bool:
        return self._standing.verdict(number) is not None or self._standing.is_halted()

    def _may_submit(self) -> bool:
        return self._standing.is_open() and not self._standing.is_over()

    def _told(self, number: int) -> str:
        standing = self._standing
        trial = standing.verdict(number)
        if trial is None:
            if standing.is_halted():
                return f"trial {number + 1} has no verdict: the study is {standing.study.status}"
            return f"trial {number + 1} is {IN_PROGRESS}: call `wait`"
        line = standing.line(number + 1, standing.outcomes()[number])
        left = standing.study.n_trials - standing.n_past
        after = "The draft is still this change; `reset_draft` goes back to the incumbent."
        change = trial.proposal.change
        if change is not None and change_key(change) == change_key(standing.incumbent):
            after = "It is the incumbent now."
        return f"trial {line}\n{after} {counted(left, 'trial')} left"

    def _wait(self) -> str:
        deadline = self._deadline()
        self._until(lambda: not self._is_probing(), deadline)
        if self._is_probing() or self._probe_error is not None or len(self._work.probes()) > self._n_told:
            return self._probe_answer()
        number = self._standing.n_past - 1
        if number >= 0 and self._standing.verdict(number) is None:
            self._until(lambda: self._is_decided(number), deadline)
            return self._told(number)
        # without trials left, the end of the final measurement is what there is to wait for
        self._until(lambda: self._standing.is_halted() or self._may_submit(), deadline)
        return self._standing.status()

    def _finish(self, given: Arguments) -> str:
        if self._work.finished() is None:
            self._work.write_finished(Finished(self._standing.n_past, given.get("reason", "")[:2000]))
        self._until(self._standing.is_halted, self._deadline())
        return self._standing.status()

    def _deadline(self) -> float:
        """The end of a call that begins now: a client would not wait longer."""
        return time.monotonic() + self._setting.wait_s

    @staticmethod
    def _until(is_done: Callable[[], bool], deadline: float) -> None:
        """Wait until it is so, at most until `deadline`."""
        while not is_done() and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def _bounded(text: str) -> str:
    if len(text) <= MAX_OUTPUT_CHARS:
        return text
    return f"{text[:MAX_OUTPUT_CHARS]}\n({len(text) - MAX_OUTPUT_CHARS:,} more characters are not shown)"
