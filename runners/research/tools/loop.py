"""A model at work with the tools: our own loop, for every engine.

For each trial it opens a dialog: the instructions, the state of the study and the notes, then call by call
until a draft is submitted. What the model knows of earlier trials is the history and its notes, so that a
dialog stays within the context of a small model. Each answer is on disk before its call is carried out, and
each call has a key, so a study that was killed goes on in the middle of a dialog and pays for no token twice.

A team has several members with the same engine: one trial, one draft and one dialog each, asked together;
the notes, the history and the budgets are shared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runners.research.agents import Ask
from runners.research.agents.asking import ModelDialog, ModelQuery, question_seed
from runners.research.agents.history import change_key
from runners.research.agents.model import NAME, ModelAgent
from runners.research.agents.prompting import Message, OptimizerSuggestion, allowed_values
from runners.research.tools.calls import FORM, call_schema, read_call, tools_text, without
from runners.research.tools.catalog import Tool
from runners.research.tools.served import asked_of, proposal_of
from runners.research.tools.session import ToolSession
from runners.research.tools.standing import SessionSetting, session_setting, space_text
from runners.research.tools.workspace import Dialog, DialogStep, Submission, Workspace
from tracker.errors import EngineError
from tracker.files.studies import Ledger
from tracker.records.studies import Exchange, Proposal, Study, Track
from tracker.wording import counted

MAX_CALLS = 24  # of one dialog; after it, the draft is submitted as it stands
N_REPEATS = 3  # equal calls in a row, after which the dialog ends
LEFT_OUT = ("wait", "finish", "status")  # the loop waits by itself, uses all its trials, and tells the state
CHANGE_BY, SUBMIT_BY = 12, 21  # calls after which only a change, and only a submission, is offered
N_REFUSED = 6  # calls for which a number is not offered that was refused
SHOWN_TRIALS = 10  # in the state at the beginning of a dialog
EDITS = ("set_numbers", "edit_file")
NEED_A_DRAFT = ("submit", "run_probe", "diff", "reset_draft")  # refused, or useless, while it is unchanged
MAX_SHARE = 1 / 4  # of the prompt, for one answer of a tool
PATIENCE_S = 24 * 3600.0  # for a probe, which the sandbox limits
NOTHING = "no change was submitted within {n}"
USED_UP = "the budget of {n:,} tokens is used up"
AT_LIMIT = "(submitted as it stood after {n})"
AGAIN = "\n(You made this very call before, with the same answer. Do something else.)"


@dataclass(slots=True)
class _Member:
    """One dialog at work."""

    name: str
    number: int  # of its trial
    session: ToolSession
    work: Workspace
    dialog: Dialog

    @property
    def is_done(self) -> bool:
        """Whether it has submitted, or may not go on."""
        steps = self.dialog.steps
        last = [step.reply for step in steps[-N_REPEATS:]]
        is_stuck = len(last) == N_REPEATS and len(set(last)) == 1
        return is_stuck or len(steps) >= MAX_CALLS or self.work.submission(self.number) is not None

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All that the model was asked and answered."""
        return tuple(exchange for step in self.dialog.steps for exchange in step.exchanges)


class ToolLoopAgent(ModelAgent):
    """A model that works with the tools of a study until it submits."""

    def __init__(self, study: Study, folder: Path) -> None:
        """Load the model, as `ModelAgent` does."""
        super().__init__(study, folder)
        setting = session_setting(Ledger(folder))
        self._setting: SessionSetting = replace(setting, wait_s=PATIENCE_S, waits_for_verdict=False)
        self._tools = tuple(tool for tool in without(*LEFT_OUT) if _fits(tool, study.track))

    def propose(self, ask: Ask, *, suggestions: Sequence[OptimizerSuggestion] = ()) -> Sequence[Proposal]:
        """One proposal per member of the team.

        Raises:
            TrackerError: as `ModelAgent.propose`; the dialogs go on where they were.
        """
        assert not suggestions, "an optimizer's suggestions are for a model without tools"
        self._look_again()
        asking = ModelDialog(self._engine, is_server=self._is_served, thinking=self._settings.thinking)
        n_past = len(ask.history)
        Workspace(self._folder).write_asked(asked_of(ask))
        members = [self._member(n_past + place, place, ask) for place in range(ask.k)]
        spent = sum(_tokens(trial.proposal.exchanges) for trial in ask.history)
        budget = ask.study.agent.token_budget
        while active := [member for member in members if not member.is_done]:
            used = spent + sum(_tokens(member.exchanges) for member in members)
            if budget is not None and used >= budget:
                break
            self._step(active, asking, ask)
        return [self._proposal(member, ask, spent=spent) for member in members]

    def _member(self, number: int, place: int, ask: Ask) -> _Member:
        name = f"m{place + 1}" if ask.study.agent.team > 1 else ""
        work = Workspace(self._folder, member=name)
        session = ToolSession(self._setting, member=name, number=number)
        session.call("reset_draft", {}, key=f"{number}/{name}/begin")
        dialog = work.dialog(number) or Dialog(state_text(session, ask))
        return _Member(name, number, session, work, dialog)

    def _step(self, active: Sequence[_Member], asking: ModelDialog, ask: Ask) -> None:
        """One call of each active member; all are asked together, so that an engine can batch them."""
        queries = []
        asked = []
        for member in active:
            if member.dialog.steps and member.dialog.steps[-1].result is None:
                continue  # answered before a kill, not carried out
            place = len(member.dialog.steps)
            messages = self._messages(member, ask, max_chars=asking.max_prompt_chars)
            seed = question_seed(ask.study.seed, member.number, place)
            tools = offered(self._tools, member.dialog, member.session, n_trials=len(ask.history))
            refused = refused_numbers(member.dialog)
            numbers = {name: value for name, value in allowed_values(ask).items() if name not in refused}
            schema = call_schema(tools, numbers or allowed_values(ask))
            queries.append(ModelQuery(messages, seed, schema))
            asked.append(member)
        asking.ask(queries)
        for member, query in zip(asked, queries, strict=True):
            step = DialogStep(query.answer, tuple(query.exchanges))
            self._keep(member, (*member.dialog.steps, step))
        for member in active:
            step = member.dialog.steps[-1]
            result = self._carried_out(member, step.reply)
            self._keep(member, (*member.dialog.steps[:-1], replace(step, result=result)))

    def _carried_out(self, member: _Member, reply: str) -> str:
        steps = member.dialog.steps
        try:
            call = read_call(reply)
        except ValueError as error:
            return f"error: {error}"
        key = f"{member.number}/{member.name}/{len(steps) - 1}"
        text = member.session.call(call.tool, dict(call.arguments), key=key).text
        before = steps[-2] if len(steps) > 1 else None
        is_again = before is not None and before.reply == reply and (before.result or "").startswith(text)
        return text + AGAIN if is_again else text

    @staticmethod
    def _keep(member: _Member, steps: tuple[DialogStep, ...]) -> None:
        member.dialog = replace(member.dialog, steps=steps)
        member.work.write_dialog(member.number, member.dialog)

    def _messages(self, member: _Member, ask: Ask, *, max_chars: int) -> list[Message]:
        """The instructions, the state, and as many of the newest calls as there is room for.

        Raises:
            EngineError: not even the instructions fit.
        """
        first = [
            {"role": "system", "content": system_text(ask, self._tools)},
            {"role": "user", "content": member.dialog.state},
        ]
        room = max_chars - sum(len(message["content"]) for message in first)
        if room < 0:
            message = f"the context of `{self._model.model_id}` is too short for the tools"
            raise EngineError(message, reason="unsupported", hint="use a model with a longer context")
        most = max(200, int(max_chars * MAX_SHARE))
        newest: list[Message] = []
        steps = member.dialog.steps
        n_shown = 0
        for step in reversed(steps):
            pair = [
                {"role": "assistant", "content": step.reply[:most] or "(nothing)"},
                {"role": "user", "content": (step.result or "")[:most]},
            ]
            room -= sum(len(message["content"]) for message in pair)
            if room < 0:
                break
            newest, n_shown = [*pair, *newest], n_shown + 1
        if n_shown < len(steps):
            first[1]["content"] += f"\n\n({counted(len(steps) - n_shown, 'earlier call')} left out here.)"
        return [*first, *newest]

    def _proposal(self, member: _Member, ask: Ask, *, spent: int) -> Proposal:
        submission = member.work.submission(member.number)
        if submission is None:
            submission = self._forced(member, ask, spent=spent)
            member.work.write_submission(member.number, submission)
        proposer = f"{NAME} {member.name}".strip()
        return proposal_of(replace(submission, exchanges=member.exchanges), ask, proposer=proposer)

    @staticmethod
    def _forced(member: _Member, ask: Ask, *, spent: int) -> Submission:
        """The draft as it stands, where a dialog ended without a submission; else why there is none."""
        n_calls = counted(len(member.dialog.steps), "call")
        draft = member.work.draft()
        tried = {change_key(t.proposal.change) for t in ask.history if t.proposal.change is not None}
        if draft is not None and draft.is_edited and change_key(draft.change) not in tried:
            return Submission(draft.change, AT_LIMIT.format(n=n_calls), member=member.name)
        budget = ask.study.agent.token_budget
        if budget is not None and spent + _tokens(member.exchanges) >= budget:
            return Submission(None, problem=USED_UP.format(n=budget), member=member.name)
        return Submission(None, problem=NOTHING.format(n=n_calls), member=member.name)


def system_text(ask: Ask, tools: Sequence[Tool]) -> str:
    """The instructions of the study, and the tools."""
    lines = [line for line in ask.study.program.splitlines() if not line.startswith("<!--")]
    program = "\n".join(lines).strip()
    return (
        f"{program}\n\nYou work with tools, one call at a time. Answer with one JSON object of this form "
        f"and nothing else:\n{FORM}\nThe tools:\n{tools_text(tools)}\n"
        f"Change the draft, for example {_example(ask)}, then `submit` it. "
        "Write what you learn into the notes: of this dialog nothing else is remembered in your next trial."
    )


def _example(ask: Ask) -> str:
    """A call that changes a number of this study, as the model would write it; some models copy it."""
    tunable = ask.space[0]
    others = [choice for choice in tunable.choices if choice != tunable.default]
    value = others[0] if others else min(2 * tunable.default, tunable.high)
    return json.dumps({"tool": "set_numbers", "arguments": {"changes": {tunable.name: value}}})


def offered(
    tools: Sequence[Tool], dialog: Dialog, session: ToolSession, *, n_trials: int
) -> tuple[Tool, ...]:
    """The tools that lead on from here; an engine that keeps a schema lets the model call no other.

    Left out is what would be refused now, what only repeats the beginning of the dialog, and what was just
    called with an error or with the answer before. Late in the dialog only a change is offered, and then only
    a submission: a model that reads on and on would use up its calls without a trial.
    """
    last = _last_call(dialog)
    is_edited, n_calls = session.has_changed_draft, len(dialog.steps)
    left_out = set() if is_edited else set(NEED_A_DRAFT)
    if n_trials <= SHOWN_TRIALS:
        left_out.add("history")
    if not n_trials:
        left_out.add("curve")
    if "Notes:" in dialog.state and session.works_alone:
        left_out.add("notes_read")
    if last is not None and last != "set_numbers":  # of which other numbers are left
        left_out.add(last)
    if n_calls >= (SUBMIT_BY if is_edited else CHANGE_BY):
        wanted = ("submit",) if is_edited and last != "submit" else EDITS
        left_out |= {tool.name for tool in tools if tool.name not in wanted}
    kept = tuple(tool for tool in tools if tool.name not in left_out)
    return kept or tuple(tool for tool in tools if tool.name in EDITS)


def refused_numbers(dialog: Dialog) -> set[str]:
    """The numbers of the calls of `set_numbers` that were refused lately: a model would name them again."""
    found: set[str] = set()
    for step in dialog.steps[-N_REFUSED:]:
        if not (step.result or "").startswith("error:"):
            continue
        try:
            call = read_call(step.reply)
        except ValueError:
            continue
        changes = call.arguments.get("changes")
        if call.tool == "set_numbers" and isinstance(changes, dict):
            found |= {str(name) for name in changes}
    return found


def _last_call(dialog: Dialog) -> str | None:
    """The tool of the last call, if that was an error or brought nothing new."""
    if not dialog.steps:
        return None
    step = dialog.steps[-1]
    said = step.result or ""
    if not said.startswith("error:") and not said.endswith(AGAIN):
        return None
    try:
        return read_call(step.reply).tool
    except ValueError:
        return None


def state_text(session: ToolSession, ask: Ask) -> str:
    """The state of the study at the beginning of a dialog."""
    parts = [
        session.call("status", {}).text,
        f"Your trials so far:\n{session.call('history', {'last': SHOWN_TRIALS}).text}",
        f"Notes:\n{session.call('notes_read', {}).text}",
        "" if ask.study.track is Track.CODE else space_text(ask.space),
        "Make your next call.",
    ]
    return "\n\n".join(part for part in parts if part)


def _fits(tool: Tool, track: Track) -> bool:
    return track is Track.CODE or tool.name not in ("edit_file", "diff", "search")


def _tokens(exchanges: Sequence[Exchange]) -> int:
    return sum(each.prompt_tokens + each.output_tokens for each in exchanges)
