"""A model that works with tools: its dialogs, what ends them, and that a kill pays for no token twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.research.study import run_study
from runners.research.tools.calls import WrittenCall, call_schema, read_call, without
from runners.research.tools.catalog import Tool
from runners.research.tools.loop import (
    AGAIN,
    CHANGE_BY,
    LEFT_OUT,
    MAX_CALLS,
    SUBMIT_BY,
    ToolLoopAgent,
    offered,
    refused_numbers,
)
from runners.research.tools.workspace import Dialog, DialogStep, Workspace
from tests.builders.some_studies import study
from tests.doubles.openai_double import Behaviour, running_server
from tests.doubles.research_doubles import World, begin, parts
from tests.runners.research.test_tools import a_study as a_served_study
from tests.runners.research.test_tools import session_on
from tracker.errors import UnreachableError, UsageError
from tracker.files.studies import Ledger
from tracker.records import EngineSettings, Model
from tracker.records.studies import AgentSpec, Loop, Study, StudyStatus, Track, Trial, Verdict
from tracker.research.begin import StudyRequest
from tracker.store.studies import study_of_rows, study_row


def call(tool: str, **arguments: Any) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})


SUBMIT = call("submit", note="momentum")
FIRST = (call("set_numbers", changes={"beta1": 0.8}), SUBMIT)


def in_order(*replies: str) -> Callable[[str], str]:
    """Replies in order, the last one for ever; the engine's own look at the server is no question."""
    waiting = list(replies)

    def reply(prompt: str) -> str:
        if "You work with tools" not in prompt:
            return "hello"
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return reply


def a_study(url: str, n_trials: int = 1, **more: Any) -> Study:
    settings = EngineSettings("server", base_url=url)
    of_agent = {"loop": Loop.TOOLS} | more
    agent = AgentSpec("model", "acme/bigram", Model("acme/bigram", "server"), settings, **of_agent)
    common: dict[str, Any] = {"tier": "smoke", "placebo_share": 0.0, "seed": 7, "sandbox": "none"}
    return study(
        1, agent=agent, n_trials=n_trials, status=StudyStatus.RUNNING, gain=None,
        wave_size=agent.team, track=Track.PARAMS, **common,
    )  # fmt: skip


@contextmanager
def served(*replies: str, **behaviour: Any) -> Iterator[Behaviour]:
    usual: dict[str, Any] = {
        "models": [{"id": "acme/bigram", "owned_by": "vllm", "max_model_len": 32_768}],
        "reply": in_order(*replies),
    }
    with running_server(**usual | behaviour) as server:
        yield server


def questions(server: Behaviour) -> list[str]:
    return [text for body in server.requests if "You work with tools" in (text := json.dumps(body))]


def ran(home: Path, of: Study) -> tuple[Study, tuple[Trial, ...]]:
    folder = home / "studies" / of.study_id
    ledger = Ledger(folder) if (folder / "study.json").exists() else begin(folder, of)
    agent = ToolLoopAgent(of, folder)
    try:
        done = run_study(ledger, parts(agent, World(), folder))
    finally:
        agent.close()
    return done, ledger.trials()


def test_loop_a_model_works_call_by_call_and_submits(tmp_path: Path) -> None:
    replies = (
        "Let me think about it.", call("notes_write", text="try betas"), *FIRST, call("notes_read"),
        call("set_numbers", changes={"beta1": 0.97}), SUBMIT,
    )  # fmt: skip
    with served(*replies) as server:
        done, trials = ran(tmp_path, a_study(server.url, 2))
        asked = questions(server)
    assert [trial.verdict for trial in trials] == [Verdict.ACCEPTED, Verdict.REJECTED]
    assert [len(trial.proposal.exchanges) for trial in trials] == [4, 3]
    assert trials[0].proposal.rationale == "momentum"
    assert done.result is not None
    assert done.result.gain_bpb > 0.05
    assert "no tool call; write one JSON object" in asked[1]
    assert "try betas" in asked[4], "the notes are in the next dialog"
    assert "accepted (kept" in asked[4]


def test_loop_an_outage_in_a_dialog_pauses_and_no_answer_is_paid_for_twice(tmp_path: Path) -> None:
    with served() as server:

        def dying(prompt: str) -> str:
            server.dies_after = 0 if "You work with tools" in prompt else None
            return FIRST[0]

        server.reply = dying
        of = a_study(server.url)
        with pytest.raises(UnreachableError):
            ran(tmp_path, of)
    dialog = Workspace(tmp_path / "studies" / of.study_id).dialog(0)
    assert dialog is not None
    assert [step.reply for step in dialog.steps] == [FIRST[0]]
    with served(SUBMIT) as server:
        again = replace(of, agent=replace(of.agent, settings=EngineSettings("server", base_url=server.url)))
        done, (trial,) = ran(tmp_path, again)
        assert len(questions(server)) == 1
    assert (done.status, trial.verdict) == (StudyStatus.COMPLETE, Verdict.ACCEPTED)
    assert [exchange.reply for exchange in trial.proposal.exchanges] == list(FIRST)


def test_loop_a_kill_between_an_answer_and_its_call_goes_on_with_the_call(tmp_path: Path) -> None:
    with served(*FIRST) as server:
        of = a_study(server.url)
        done, before = ran(tmp_path, of)
        folder = tmp_path / "studies" / of.study_id
        dialog = Workspace(folder).dialog(0)
        assert dialog is not None
        for path in (*(folder / "trials").iterdir(), *(folder / "proposals").iterdir()):
            path.unlink()
        (folder / "tools/submissions/00000.json").unlink()
        steps = (*dialog.steps[:-1], replace(dialog.steps[-1], result=None))
        Workspace(folder).write_dialog(0, replace(dialog, steps=steps))
        journal = folder / "tools/journal.jsonl"
        journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-2]))
        Ledger(folder).write_study(replace(done, status=StudyStatus.RUNNING, result=None))
        n_asked = len(questions(server))
        _, after = ran(tmp_path, of)
        assert len(questions(server)) == n_asked
    assert [t.proposal for t in after] == [t.proposal for t in before]


@pytest.mark.parametrize(
    ("replies", "n_calls", "verdict"),
    [
        (["prose"], 3, Verdict.INVALID),
        ([call("notes_read")], 3, Verdict.INVALID),
        ([FIRST[0], call("history")], 4, Verdict.ACCEPTED),
        ([SUBMIT], 3, Verdict.INVALID),
        ([call("set_numbers", changes={"beta1": 0.5 + i / 100}) for i in range(30)], MAX_CALLS, None),
    ],
    ids=["prose", "same call", "draft stands", "nothing to submit", "too many calls"],
)
def test_loop_a_dialog_that_leads_nowhere_ends(
    tmp_path: Path, replies: Sequence[str], n_calls: int, verdict: Verdict | None
) -> None:
    with served(*replies) as server:
        _, (trial,) = ran(tmp_path, a_study(server.url))
    assert len(trial.proposal.exchanges) == n_calls
    assert verdict in (None, trial.verdict)
    is_submitted = trial.proposal.change is not None
    assert ("calls" in trial.proposal.rationale) == is_submitted
    assert is_submitted or (trial.detail or "").startswith("no change was submitted within")


def test_loop_a_team_prepares_a_trial_each_and_shares_its_notes(tmp_path: Path) -> None:
    def reply(prompt: str) -> str:
        if "You work with tools" not in prompt:
            return "hello"
        if "the notes have" not in prompt:
            return call("notes_write", text="seen")
        if "done;" in prompt:
            return SUBMIT
        return call("set_numbers", changes={"beta1": 0.8 if len(prompt) % 2 else 0.85})

    with served(reply=reply) as server:
        done, trials = ran(tmp_path, a_study(server.url, 4, team=2))
    assert done.status is StudyStatus.COMPLETE
    assert [trial.wave for trial in trials] == [0, 0, 1, 1]
    assert [trial.proposal.proposer for trial in trials] == ["model m1", "model m2"] * 2
    assert all(trial.proposal.exchanges for trial in trials)
    notes = Workspace(tmp_path / "studies" / done.study_id).notes()
    assert notes.startswith("seen")


def test_loop_a_budget_of_tokens_ends_the_work(tmp_path: Path) -> None:
    with served(*FIRST, call("notes_read")) as server:
        _, trials = ran(tmp_path, a_study(server.url, 3, token_budget=20_000))
    assert trials[0].verdict is Verdict.ACCEPTED
    assert trials[2].detail == "the budget of 20,000 tokens is used up"
    assert len(trials[2].proposal.exchanges) == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "submit", "arguments": {"note": "x"}}',
        'I will submit.\n<tool_call>\n{"name": "submit", "arguments": {"note": "x"}}\n</tool_call>',
        '[{"function": {"name": "submit", "arguments": "{\\"note\\": \\"x\\"}"}}]',
        '```json\n{"name": "submit", "parameters": {"note": "x"}}\n```',
        '{"tool": "submit", "arguments": {"note": "x"}} {"tool": "finish", "arguments": {}}',
        "<think>perhaps {\"tool\": \"finish\", \"arguments\": {}}</think>"
        '{"tool": "submit", "arguments": {"note": "x"}}',
    ],
    ids=["ours", "Hermes", "OpenAI", "Llama", "two", "thinking"],
)  # fmt: skip
def test_written_call_is_read_in_the_forms_that_models_use(text: str) -> None:
    assert read_call(text) == WrittenCall("submit", {"note": "x"})


def test_written_call_schema_moves_one_number_at_a_time() -> None:
    schema = call_schema(without("wait"), {"beta1": {"type": "number"}})
    by_tool = {each["properties"]["tool"]["const"]: each for each in schema["anyOf"]}
    assert "wait" not in by_tool
    changes = by_tool["set_numbers"]["properties"]["arguments"]["properties"]["changes"]
    assert [each["required"] for each in changes["anyOf"]] == [["beta1"]]


def test_loop_of_an_agent_is_a_setting_of_it_and_survives_the_store() -> None:
    of = a_study("http://127.0.0.1:1", team=3, token_budget=9)
    row = study_row(of)
    settings = json.loads(row["agent_settings"])
    assert {name: settings[name] for name in ("loop", "team", "token_budget")} == {
        "loop": "tools", "team": 3, "token_budget": 9,
    }  # fmt: skip
    assert study_of_rows(row, (), None).agent.loop is Loop.TOOLS


@pytest.mark.parametrize(
    "flags",
    [
        {"team": 2},
        {"token_budget": 5},
        {"loop": "tools", "agent": "tpe"},
        {"loop": "tools", "track": "hybrid"},
        {"loop": "tools", "wave_size": 2},
    ],
)
def test_loop_where_it_cannot_be_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        StudyRequest(**{"agent": "demo"} | flags)


def names(tools: Sequence[Tool]) -> set[str]:
    return {tool.name for tool in tools}


def dialog_of(*steps: tuple[str, str]) -> Dialog:
    return Dialog("Notes:\n(no notes yet)", tuple(DialogStep(reply, result=said) for reply, said in steps))


def test_loop_offers_only_calls_that_lead_on(tmp_path: Path) -> None:
    """A small model whose answers are held to a schema reads what it was told until its calls are used up."""
    begin(tmp_path, a_served_study())
    session = session_on(Ledger(tmp_path))
    tools = tuple(tool for tool in without(*LEFT_OUT) if tool.name not in ("edit_file", "diff", "search"))
    first = names(offered(tools, dialog_of(), session, n_trials=0))
    assert first == {"set_numbers", "read_file", "notes_write"}
    again = dialog_of((call("read_file", path="space.md"), f"1 …{AGAIN}"))
    assert names(offered(tools, again, session, n_trials=0)) == {"set_numbers", "notes_write"}
    reading = dialog_of(*((call("read_file", path="space.md", start=i + 1), "…") for i in range(CHANGE_BY)))
    assert names(offered(tools, reading, session, n_trials=3)) == {"set_numbers"}
    session.call("set_numbers", {"changes": {"beta1": 0.8}})
    assert {"submit", "run_probe", "reset_draft"} <= names(offered(tools, reading, session, n_trials=3))
    late = dialog_of(*((call("read_file", path="space.md", start=i + 1), "…") for i in range(SUBMIT_BY)))
    assert names(offered(tools, late, session, n_trials=3)) == {"submit"}
    refused = dialog_of(*[(SUBMIT, "error: exactly this was tried as trial 1: change the draft first")] * 22)
    assert names(offered(tools, refused, session, n_trials=3)) == {"set_numbers"}


def test_loop_does_not_offer_a_number_that_was_just_refused() -> None:
    again = call("set_numbers", changes={"matrix_lr": 0.01})
    said = "error: the draft has these numbers already (`matrix_lr` is 0.01): give other values"
    dialog = dialog_of(
        (call("set_numbers", changes={"beta1": 0.8}), "done; …"), (again, said), ("prose", "error: …")
    )
    assert refused_numbers(dialog) == {"matrix_lr"}
    later = dialog_of((again, said), *[(call("notes_read"), "(no notes yet)")] * 6)
    assert refused_numbers(later) == set()
