"""The tools of a study: what each answers, what it never shows, and what a kill leaves behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.research.problem import script as scripts
from runners.research.problem import space
from runners.research.problem.tiers import SMOKE
from runners.research.study import run_study
from runners.research.tools.catalog import TOOLS, checked, openai_tools
from runners.research.tools.drafting import MAX_OUTPUT_CHARS
from runners.research.tools.probe import ProbeResult, probe_seed, token_budget
from runners.research.tools.served import UNUSED, ServedAgent
from runners.research.tools.session import ToolSession
from runners.research.tools.standing import SessionSetting
from runners.research.tools.workspace import Workspace
from tests.builders.some_studies import study, training
from tests.doubles.research_doubles import World, begin, parts
from tracker.files.studies import Ledger
from tracker.records.studies import AgentSpec, Change, Study, StudyStatus, Track, TrainingStatus, Verdict

SHIPPED = scripts.shipped(SMOKE)


class InstantProber:
    """Answers from a table: a draft saves what its first number says."""

    def __init__(self) -> None:
        self.probed: list[tuple[Change, float]] = []
        self.status = TrainingStatus.OK

    def __call__(self, draft: Change, incumbent: Change, share: float) -> ProbeResult:
        self.probed.append((draft, share))
        bpb = {"val": 3.0, "select": 1.2345} if self.status is TrainingStatus.OK else {}
        child = replace(training(5), status=self.status, bpb=bpb, detail="not causal")
        return ProbeResult(child, replace(training(5), bpb={"val": 3.1, "select": 1.2345}), 3264)


def a_study(n_trials: int = 2, **more: Any) -> Study:
    more = {"tier": "smoke", "placebo_share": 0.0, "seed": 7, "track": Track.PARAMS} | more
    agent = AgentSpec("served", "client")
    return study(1, agent=agent, n_trials=n_trials, status=StudyStatus.RUNNING, gain=None, **more)


def opened(folder: Path, of: Study, prober: InstantProber | None = None, wait_s: float = 20.0) -> ToolSession:
    ledger = begin(folder, of)
    return session_on(ledger, prober, wait_s)


def session_on(ledger: Ledger, prober: InstantProber | None = None, wait_s: float = 20.0) -> ToolSession:
    return ToolSession(
        SessionSetting(ledger, SMOKE, space.tunables(SMOKE), SHIPPED, prober or InstantProber(), wait_s)
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ToolSession]:
    """A session on a study that really runs, with simulated trainings."""
    session = opened(tmp_path, a_study(3))
    thread = run_in_thread(tmp_path)
    yield session
    session.call("finish", {})
    thread.join(30)
    assert not thread.is_alive()


def run_in_thread(folder: Path, world: World | None = None) -> threading.Thread:
    context = parts(ServedAgent(Ledger(folder).read_study(), folder), world or World(), folder)
    thread = threading.Thread(target=run_study, args=(Ledger(folder), context), daemon=True)
    thread.start()
    return thread


def test_tools_a_client_works_through_a_study_to_its_end(tmp_path: Path) -> None:
    session, prober = opened(tmp_path, a_study(2)), InstantProber()
    session = session_on(Ledger(tmp_path), prober)
    thread = run_in_thread(tmp_path)
    assert "equal to the incumbent" in session.call("submit", {"note": "nothing"}).text
    assert session.call("set_numbers", {"changes": {"beta1": 0.8}}).text == (
        "done; against the incumbent: beta1 0.9→0.8"
    )
    assert "gain +0.1000" in session.call("run_probe", {"share": 0.1}).text
    first = session.call("submit", {"note": "betas of 2024"})
    assert "accepted (kept" in first.text
    assert "It is the incumbent now. 1 trial left" in first.text
    assert session.call("edit_file", {"path": "params.json", "old": "0.8", "new": "0.97"}).is_error is False
    second = session.call("submit", {"note": "higher"})
    assert "rejected" in second.text
    assert "0 trials left" in second.text
    thread.join(30)
    done = Ledger(tmp_path).read_study()
    assert done.status is StudyStatus.COMPLETE
    assert done.result is not None
    assert done.result.gain_bpb > 0.05
    assert [trial.proposal.rationale for trial in Ledger(tmp_path).trials()] == ["betas of 2024", "higher"]
    assert prober.probed == [(Change({"beta1": 0.8}), 0.1)]
    assert session.call("submit", {"note": "more"}).text == "error: no trials are left to submit"
    assert "State: complete" in session.call("status", {}).text


def test_tools_numbers_that_change_nothing_are_an_error_that_helps(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(1))
    same = session.call("set_numbers", {"changes": {"matrix_lr": 0.01}})
    assert (same.text, same.is_error) == (
        "error: the draft has these numbers already (`matrix_lr` is 0.01): give other values", True,
    )  # fmt: skip
    assert not session.call("set_numbers", {"changes": {"matrix_lr": 0.02}}).is_error
    assert session.call("set_numbers", {"changes": {"matrix_lr": 0.02}}).is_error


def test_tools_wait_lasts_until_the_final_measurement_is_done(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(1))
    looks = iter([*[False] * 8])
    setting = replace(
        SessionSetting(Ledger(tmp_path), SMOKE, space.tunables(SMOKE), SHIPPED, InstantProber()),
        is_stored=lambda: next(looks, True),
    )
    thread = run_in_thread(tmp_path)
    session.call("set_numbers", {"changes": {"beta1": 0.8}})
    session.call("submit", {"note": "betas"})
    thread.join(30)
    assert "State: complete" in ToolSession(setting).call("wait", {}).text


def test_tools_finish_ends_a_study_and_the_unused_trials_are_invalid(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(3))
    thread = run_in_thread(tmp_path)
    session.call("set_numbers", {"changes": {"beta1": 0.8}})
    session.call("submit", {"note": "betas"})
    session.call("finish", {"reason": "enough"})
    thread.join(30)
    trials = Ledger(tmp_path).trials()
    assert [trial.verdict for trial in trials] == [Verdict.ACCEPTED, Verdict.INVALID, Verdict.INVALID]
    assert trials[2].detail == UNUSED
    assert Ledger(tmp_path).read_study().status is StudyStatus.COMPLETE


def test_tools_a_change_that_was_tried_costs_no_trial(running: ToolSession) -> None:
    running.call("set_numbers", {"changes": {"beta1": 0.97}})
    assert "rejected" in running.call("submit", {"note": "higher"}).text
    again = running.call("submit", {"note": "higher"})
    assert (again.text, again.is_error) == (
        "error: exactly this was tried as trial 1: change the draft first", True,
    )  # fmt: skip
    assert "2 left" in running.call("status", {}).text


def test_tools_never_show_what_decides(running: ToolSession, tmp_path: Path) -> None:
    """Whatever is asked, no number of `select` or `test` and no seed of the gate is in an answer."""
    running.call("set_numbers", {"changes": {"beta1": 0.8}})
    running.call("submit", {"note": "betas"})
    running.call("set_numbers", {"changes": {"beta1": 0.85}})
    calls: list[tuple[str, dict[str, Any]]] = [
        ("status", {}), ("history", {}), ("curve", {"trial": 1}), ("diff", {}), ("run_probe", {}),
        ("search", {"text": "select"}), ("wait", {}),
        *(("read_file", {"path": path}) for path in ("train.py", "params.json", "program.md", "space.md")),
    ]  # fmt: skip
    said = "\n".join(running.call(name, arguments).text for name, arguments in calls)
    trial = Ledger(tmp_path).trials()[0]
    hidden = [p.parent.bpb["select"] for p in trial.pairs] + [p.child.bpb["select"] for p in trial.pairs]
    numbers = [f"{value:.4f}" for value in hidden] + [str(pair.seed) for pair in trial.pairs] + ["1.2345"]
    assert "accepted" in said
    assert not [number for number in numbers if number in said]


def test_tools_edit_of_the_script(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(track=Track.CODE))
    edit = {"path": "train.py", "old": "beta2: float = 0.95", "new": "beta2: float = 0.98"}
    assert session.call("edit_file", edit).text == "done; against the incumbent: train.py +1 -1 lines"
    assert "+    beta2: float = 0.98" in session.call("diff", {}).text
    whole = SHIPPED.replace("beta1: float = 0.9", "beta1: float = 0.8")
    assert whole != SHIPPED
    assert not session.call("edit_file", {"path": "train.py", "content": whole}).is_error
    line = next(line for line in SHIPPED.splitlines() if "beta2: float" in line)
    patch = f"<<<<<<< SEARCH\n{line}\n=======\n    beta2: float = 0.99\n>>>>>>> REPLACE"
    assert not session.call("edit_file", {"path": "train.py", "patch": patch}).is_error
    assert "train.py +2 -2 lines" in session.call("edit_file", {"path": "params.json", "content": "{}"}).text
    assert session.call("edit_file", {"path": "train.py", "content": SHIPPED}).text == (
        "done; the draft is equal to the incumbent"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"old": "no such passage", "new": ""}, "is not in the file"),
        ({"old": "self", "new": "this"}, "occurs"),
        ({"old": "", "new": "x"}, "is empty"),
        ({"old": "x"}, "give either"),
        ({"content": "print()"}, "EDITABLE marker"),
        ({"content": SHIPPED.replace("EXIT_DIVERGED = 21", "EXIT_DIVERGED = 0")}, "outside the EDITABLE"),
        ({"content": SHIPPED.replace("class Mlp(nn.Module)", "class Mlp(nn.Module")}, "valid Python"),
        ({"content": SHIPPED.replace("class Tunables", "class Numbers")}, "Tunables"),
        ({"patch": "please"}, "SEARCH/REPLACE"),
    ],
    ids=["absent", "ambiguous", "empty", "half", "no markers", "frozen", "syntax", "no numbers", "prose"],
)  # fmt: skip
def test_tools_an_edit_that_does_not_apply_says_why_and_changes_nothing(
    tmp_path: Path, arguments: dict[str, str], problem: str
) -> None:
    session = opened(tmp_path, a_study(track=Track.CODE))
    result = session.call("edit_file", {"path": "train.py", **arguments})
    assert result.is_error
    assert problem in result.text
    assert "equal to the incumbent" in session.call("status", {}).text


def test_tools_the_script_is_not_edited_on_the_track_of_numbers(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study())
    edit = {"path": "train.py", "old": "beta2: float = 0.95", "new": "beta2: float = 0.98"}
    assert "only `params.json` may change" in session.call("edit_file", edit).text
    assert "must be between" in session.call("set_numbers", {"changes": {"beta1": 7}}).text
    assert "valid JSON" in session.call("edit_file", {"path": "params.json", "content": "{"}).text


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("rm", {}, "no tool called `rm`"),
        ("status", {"verbose": True}, "no argument `verbose`"),
        ("read_file", {}, "needs the argument `path`"),
        ("read_file", {"path": "/etc/passwd"}, "must be one of"),
        ("read_file", {"path": "train.py", "start": "1"}, "must be an integer"),
        ("run_probe", {"share": 1.0}, "must be in 0.01..0.1"),
        ("notes_write", {"text": ["a"]}, "must be a string"),
        ("history", [1], "must be an object"),
    ],
)
def test_tools_arguments_are_checked(name: str, arguments: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace(".", r"\.")):
        checked(name, arguments)


def test_tools_null_arguments_count_as_left_out() -> None:
    assert checked("read_file", {"path": "train.py", "start": 1.0, "end": None}) == {
        "path": "train.py",
        "start": 1,
    }
    assert checked("status", None) == {}


def test_tools_answers_are_bounded_and_reading_goes_on(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(track=Track.CODE))
    first = session.call("read_file", {"path": "train.py"}).text
    assert len(first) <= MAX_OUTPUT_CHARS
    assert "read on with start=" in first
    start = int(first.rpartition("start=")[2].rstrip(")"))
    more = session.call("read_file", {"path": "train.py", "start": start}).text
    n_lines = len(SHIPPED.splitlines())
    assert f"{start:>4} " in more
    assert more.splitlines()[-1].startswith(f"{n_lines:>4} ") or "read on" in more
    assert session.call("read_file", {"path": "train.py", "start": 100_000}).is_error
    hits = session.call("search", {"text": "e"}).text
    assert "more)" in hits
    assert "SOFTCAP" not in hits
    assert "train.py" in session.call("search", {"text": "SOFTCAP"}).text


def test_tools_a_probe_that_is_refused_becomes_the_next_trial(tmp_path: Path) -> None:
    prober = InstantProber()
    prober.status = TrainingStatus.CAUGHT
    session = opened(tmp_path, a_study(1), prober)
    session.call("set_numbers", {"changes": {"beta1": 0.8}})
    assert "counts as your next trial" in session.call("run_probe", {}).text
    submission = Workspace(tmp_path).submission(0)
    assert submission is not None
    assert (submission.change, submission.note) == (
        Change({"beta1": 0.8}), "a probe was refused: not causal",
    )  # fmt: skip


def test_tools_probes_have_a_budget(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(1))
    session.call("set_numbers", {"changes": {"beta1": 0.8}})
    n_done = 0
    while not (result := session.call("run_probe", {})).is_error:
        n_done += 1
    assert n_done == 5
    assert "training tokens" in result.text
    assert token_budget(SMOKE, 3) == 3 * SMOKE.train_tokens


def test_tools_the_seed_of_probes_is_none_of_the_gate() -> None:
    one, other = a_study(), replace(a_study(), study_id="20261124-000002-aaaaaa")
    assert probe_seed(one) == probe_seed(one) != probe_seed(other)


def test_tools_notes_stay_and_are_bounded(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study())
    session.call("notes_write", {"text": "rope base: no effect"})
    session.call("notes_write", {"text": "beta1 0.8 helps"})
    assert session_on(Ledger(tmp_path)).call("notes_read", {}).text == "rope base: no effect\nbeta1 0.8 helps"
    session.call("notes_write", {"text": "short", "replace": True})
    assert session.call("notes_read", {}).text == "short"
    assert session.call("notes_write", {"text": "x" * 30_000}).is_error


def test_tools_each_call_is_written_down_before_and_after(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study())
    session.call("notes_write", {"text": "a"}, key="k1")
    entries = Workspace(tmp_path).journal_entries()
    assert [("arguments" in entry, "answer" in entry) for entry in entries] == [(True, False), (False, True)]
    assert {entry["tool"] for entry in entries} == {"notes_write"}


def test_tools_a_call_is_answered_once_also_after_a_kill(tmp_path: Path) -> None:
    """Killed after the answer was written, or after the effect alone: the same call has no second effect."""
    session = opened(tmp_path, a_study(track=Track.CODE))
    edit = {"path": "train.py", "old": "beta2: float = 0.95", "new": "beta2: float = 0.98"}
    first = session.call("edit_file", edit, key="k1")
    assert session_on(Ledger(tmp_path)).call("edit_file", edit, key="k1") == first
    journal = tmp_path / "tools" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])
    assert session_on(Ledger(tmp_path)).call("edit_file", edit, key="k1") == first


def test_tools_endless_calls_for_one_trial_end(tmp_path: Path) -> None:
    session = opened(tmp_path, a_study(), wait_s=0.0)
    results = [session.call("notes_read", {}) for _ in range(301)]
    assert [result.is_error for result in results] == [False] * 300 + [True]
    assert not session.call("status", {}).is_error


def test_tools_their_schemas_are_the_same_for_every_protocol() -> None:
    names = [tool["function"]["name"] for tool in openai_tools()]
    assert names == [tool.name for tool in TOOLS]
    assert json.loads(json.dumps(openai_tools())) == openai_tools()
    assert all(set(tool.required) <= set(tool.properties) for tool in TOOLS)
