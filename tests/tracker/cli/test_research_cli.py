"""`tracker research` as a person uses it: real trainings in the real sandbox, on the tier made for tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from runners.research.problem.script import regions, shipped
from runners.research.problem.tiers import SMOKE
from runners.sandbox.run import probe
from tests.builders.some_studies import STARTED_AT
from tests.conftest import ROOT
from tests.doubles.openai_double import running_server
from tracker.files.studies import Ledger, open_ledger, study_folders
from tracker.records.studies import Study, StudyStatus, Trial
from tracker.serialization import dump_json
from tracker.settings import Settings
from tracker.store import check, open_snapshot, publish, rebuild

pytest.importorskip("torch")
pytestmark = pytest.mark.studies  # minutes of training in all

CONTRACT = {
    "study", "agent", "tier", "track", "seed", "n_trials", "n_valid", "n_accepted", "baseline_bpb",
    "best_val_bpb", "test_bpb", "gain_bpb", "gain_ci_low", "gain_ci_high", "claimed_gain_bpb",
    "false_accept_rate", "prompt_tokens", "output_tokens", "train_s", "status",
}  # fmt: skip
GOOD, BAD, PROSE = {"changes": {"beta1": 0.8}}, {"changes": {"beta1": 0.97}}, {"reply": "I would rather not."}
SCRIPT = (GOOD, PROSE, BAD, BAD)
SECRET = "5ec4e7" * 10 + "0007"  # equal studies train under equal seeds, and know each other's trainings


def research(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracker", "research", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=_environment(home) | environment,
    )


def _environment(home: Path) -> dict[str, str]:
    more = {"TRACKER_HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return dict(os.environ) | more | {"OMP_WAIT_POLICY": "PASSIVE"}


def scripted(home: Path, *entries: dict[str, Any], seed: int = 0, placebos: float = 0.0) -> list[str]:
    """The command that proposes these."""
    path = home.parent / f"{home.name}-{seed}.json"
    path.write_text(json.dumps(entries))
    command = ["run", "--agent", "scripted", "--proposals", str(path), "--tier", "smoke", "--json"]
    command += ["--trials", str(len(entries)), "--seed", str(seed), "--placebo-share", str(placebos)]
    return [*command, "--study-secret", SECRET]


def the_study(home: Path) -> tuple[Study, tuple[Trial, ...]]:
    """The only study of this home, without what differs between two runs of it."""
    (folder,) = study_folders(home / "studies")
    study, trials = Ledger(folder).read_study(), Ledger(folder).trials()
    same_time = {"started_at": STARTED_AT, "ended_at": STARTED_AT}
    return study, tuple(_plain(replace(trial, study_id="", **same_time)) for trial in trials)


def _plain(trial: Trial) -> Trial:
    """Without the seconds that its trainings took."""
    cut = {name: [_numbers(pair) for pair in getattr(trial, name)] for name in ("pairs", "confirmation")}
    return replace(trial, **cut)


def _numbers(pair: Any) -> Any:
    return [(each.key, each.seed, each.status, dict(each.bpb)) for each in (pair.parent, pair.child)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with one complete study, and what the command printed."""
    home = tmp_path_factory.mktemp("whole") / "home"
    done = research(home, *scripted(home, *SCRIPT, placebos=0.2))
    assert done.returncode == 0, done.stderr
    return home, json.loads(done.stdout)


def test_a_study_keeps_what_is_better_and_names_what_is_not(whole: tuple[Path, dict[str, Any]]) -> None:
    home, document = whole
    assert document.keys() >= CONTRACT
    assert (document["status"], document["n_trials"], document["n_valid"], document["n_accepted"]) == (
        "complete", 4, 3, 1,
    )  # fmt: skip
    assert document["gain_bpb"] == pytest.approx(document["baseline_bpb"] - document["test_bpb"])
    assert 0 < document["gain_ci_low"] < document["gain_bpb"] < document["gain_ci_high"]
    assert document["false_accept_rate"] in (0.0, 1.0)
    shown = json.loads(research(home, "show", document["study"], "--pairs", "--json").stdout)
    trials = [trial for trial in shown["trials"] if not trial["is_placebo"]]
    assert [trial["verdict"] for trial in trials] == ["accepted", "invalid", "rejected", "duplicate"]
    assert {row["test_bpb"] is not None for row in shown["trainings"] if row["slot"] >= 0} == {False}
    assert sum(row["phase"] == "test" for row in shown["trainings"]) == 10


def test_a_finished_study_is_shown_on_the_board_and_is_whole_in_the_store(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    home, document = whole
    (group,) = json.loads(research(home, "board", "--json").stdout)["groups"]
    (row,) = group["rows"]
    assert (row["agent"], row["gain_bpb"], row["interval_over"]) == (
        "scripted", document["gain_bpb"], "own pairs",
    )  # fmt: skip
    assert row["gains_by_category"].keys() == {"betas"}
    for command in (["board"], ["show"], ["show", document["study"]]):
        said = research(home, *command)
        assert (said.returncode, "scripted" in said.stdout) == (0, True), said.stderr
    assert check(Settings(home=home)) == []
    assert not list(home.glob("locks/study-*.json"))


def test_what_is_complete_is_neither_resumed_nor_stopped(whole: tuple[Path, dict[str, Any]]) -> None:
    home, document = whole
    for command, says in (("resume", "is complete"), ("stop", "is not running")):
        done = research(home, command, document["study"])
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("corpus_hash", "another corpus"),
        ("script_hash", "another training script"),
        ("program_hash", "another `program.md` or prompt"),
        ("harness_version", "another version of the harness"),
    ],
)
def test_a_study_begun_under_other_facts_is_not_resumed(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, field: str, says: str
) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole[0], home)
    ledger = open_ledger(Settings(home=home), whole[1]["study"])
    changes: dict[str, Any] = {field: "0" * 64, "status": StudyStatus.INTERRUPTED}
    (ledger.folder / "study.json").write_bytes(dump_json(replace(ledger.read_study(), **changes)))
    done = research(home, "resume", whole[1]["study"])
    assert done.returncode == 1
    assert says in done.stderr
    assert "start a new study" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_crash_and_a_cheat_are_verdicts_and_no_errors(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    if not probe().is_trusted:
        pytest.skip("code is run in bubblewrap alone")
    home = tmp_path / "home"
    shutil.copytree(whole[0], home)  # the defaults are known under this seed
    cut = regions(shipped(SMOKE))
    crash = cut.head + cut.editable + 'raise RuntimeError("this was a bad idea")\n' + cut.tail
    cheat = cut.head + cut.editable + cut.tail.replace("train_tokens", "eval_tokens", 1)
    command = scripted(home, {"script": crash}, {"script": cheat})
    done = research(home, *command, "--track", "code")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["n_failed"], document["n_caught"], document["gain_bpb"]) == (1, 1, 0.0)
    shown = json.loads(research(home, "show", document["study"], "--json").stdout)
    assert "this was a bad idea" in shown["trials"][0]["detail"]


def test_the_optimisers_run_once_at_equal_trials_and_share_a_rank(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole[0], home)  # the defaults are known under this seed
    command = ["baseline", "--tier", "smoke", "--trials", "1", "--study-secret", SECRET, "--json"]
    first = research(home, *command)
    assert first.returncode == 0, first.stderr
    again = research(home, *command)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert len(study_folders(home / "studies")) == 3
    groups = json.loads(research(home, "board", "--tier", "smoke", "--json").stdout)["groups"]
    assert [{row["agent"] for row in group["rows"]} for group in groups] == [{"random", "tpe"}, {"scripted"}]
    assert {row["rank"] for row in groups[0]["rows"]} == {1}
    assert groups[0]["comparisons"][0]["p"] == 1.0


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tracker", "research", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=_environment(home),
    )


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """The first line on standard error with these words."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"`{words}` was never said: {''.join(said)}")


def worker_of(home: Path) -> psutil.Process:
    (folder,) = study_folders(home / "studies")
    return psutil.Process(Ledger(folder).read_study().pid)


def test_a_study_killed_again_and_again_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    home, calm = tmp_path / "killed", tmp_path / "calm"
    with start(home, *scripted(home, BAD, PROSE)) as driver:
        wait_for(driver, "baseline:")
        worker = worker_of(home)
        driver.send_signal(signal.SIGKILL)
        worker.wait(timeout=30)  # it goes with its parent
    study = the_study(home)[0].study_id
    with start(home, "resume", study, "--json") as driver:
        wait_for(driver, "trial 1 of 2: rejected")
        worker_of(home).kill()
        driver.communicate()
    assert driver.returncode == 1
    assert (the_study(home)[0].status, the_study(home)[0].reason) == (StudyStatus.INTERRUPTED, "killed")
    with start(home, "resume", study) as driver:
        wait_for(driver, "measuring the final gain on test")
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate()
    assert (driver.returncode, the_study(home)[0].reason) == (130, "interrupted")
    assert f"`tracker research resume {study}` continues" in said
    done = research(home, "resume", study, "--json")
    assert done.returncode == 0, done.stderr
    shutil.copytree(home / "trainings", calm / "trainings")  # what is known need not be trained again
    assert research(calm, *scripted(calm, BAD, PROSE)).returncode == 0
    assert the_study(home)[1] == the_study(calm)[1]
    results = [the_study(each)[0].result for each in (home, calm)]
    assert [(r.gain_bpb, r.baseline_bpb, r.claimed_gain_bpb) for r in results if r] == [
        (0.0, results[0].baseline_bpb, 0.0)  # type: ignore[union-attr]
    ] * 2
    assert check(Settings(home=home)) == []


def test_an_outage_pauses_the_study_and_a_resume_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    answer = '{"rationale": "less memory", "changes": [{"name": "beta1", "value": 0.97}]}'
    with running_server(reply=lambda _: answer) as server:
        server.dies_after = 0
        command = ["run", "--agent", "acme/bigram", "--base-url", server.url, "--tier", "smoke"]
        done = research(home, *command, "--trials", "1", "--placebo-share", "0", "--json")
        assert done.returncode == 4, done.stderr
        document = json.loads(done.stdout)
        assert (document["status"], document["reason"]) == ("paused", "unreachable")
        assert "once it is reachable" in done.stderr
        server.dies_after = None
        done = research(home, "resume", document["study"], "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["status"], document["n_valid"], document["gain_bpb"]) == ("complete", 1, 0.0)
    assert document["prompt_tokens"] > 0
    (row,) = json.loads(research(home, "board", "--json").stdout)["groups"][0]["rows"]
    assert (row["agent"], row["kind"]) == ("acme/bigram", "model")


def test_two_studies_run_side_by_side_and_one_is_stopped(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(home, *scripted(home, PROSE)) as first, start(home, *scripted(home, PROSE, seed=1)) as second:
        name = wait_for(second, "study ").split()[1]
        wait_for(second, "baseline:")
        busy = research(home, "resume", name)
        assert (busy.returncode, "another process is running study" in busy.stderr) == (1, True)
        assert research(home, "stop", name).returncode == 0
        second.communicate()
        first_said, _ = first.communicate()
    assert (first.returncode, second.returncode) == (0, 130)
    assert json.loads(first_said)["status"] == "complete"
    statuses = {
        s["seed"]: s["status"] for s in json.loads(research(home, "show", "--json").stdout)["studies"]
    }
    assert statuses == {0: "complete", 1: "interrupted"}
    assert check(Settings(home=home)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs needs root")
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs may be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False)


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_said_and_the_study_goes_on_afterwards(small_disk: Path) -> None:
    home, filler = small_disk / "home", small_disk / "filler"
    with start(home, *scripted(home, PROSE)) as driver:
        wait_for(driver, "baseline:")
        fill(filler)
        _, said = driver.communicate()
    assert driver.returncode == 1
    assert "o space left" in said
    assert "Traceback" not in said
    filler.unlink()
    done = research(home, "resume", the_study(home)[0].study_id, "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "complete"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("run --agent demo --tier cpo", 1, "no tier or task is called `cpo`"),
        ("run --agent demo --track parms", 1, "did you mean `params`"),
        ("run --agent tpe --trials 0", 1, "`--trials 0` must be at least 1"),
        ("run --agent tpe --seed -1", 1, "`--seed -1` must be"),
        ("run --agent tpe --placebo-share 1", 1, "`--placebo-share 1` must be"),
        ("run --agent tpe --tier smoke --track code", 2, "cannot work on the track `code`, only on `params`"),
        ("run --agent tpe --study-secret 5ec4e7", 2, "`--study-secret` is neither a secret nor a file"),
        ("run --agent demo --optimizer tpe", 2, "need `--track hybrid`"),
        ("run --agent demo --track hybrid --override-share 1.5", 1, "`--override-share 1.5` must be"),
        ("run --agent demo --track hybrid --optimiser cme", 1, "did you mean `cma`"),
        ("run --agent model --tier smoke", 2, "`model` is not an agent name"),
        ("run --agent scripted --tier smoke", 2, "agent `scripted` needs `--proposals FILE`"),
        ("run --agent tpe --tier smoke --program no-such.md", 2, "`no-such.md` cannot be read"),
        ("run --agent nobody/nothing --engine server", 1, "needs `--base-url`"),
        ("run --agent ./no-such-folder --tier smoke", 1, "no-such-folder"),
        ("run --agent x --base-url http://127.0.0.1:9/v1 --tier smoke", 4, "127.0.0.1:9"),
        ("baseline --agent demo", 1, "no agent is called `demo`"),
        ("show nope", 1, "no study is called `nope`"),
        ("resume nope", 1, "no study is called `nope`"),
        ("stop nope", 1, "no study is called `nope`"),
        ("attack --name nope", 1, "no attack is called `nope`"),
        ("run --trails 3", 2, "--trails"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, arguments: str, code: int, says: str) -> None:
    done = research(tmp_path / "home", *arguments.split())
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert study_folders(tmp_path / "home" / "studies") == []


def test_what_became_of_a_cheat_is_kept(tmp_path: Path) -> None:
    if not probe().is_trusted:
        pytest.skip("cheats are run in bubblewrap alone")
    home = tmp_path / "home"
    done = research(home, "attack", "--name", "long_script", "--json")
    assert done.returncode == 0, done.stderr
    (attack,) = json.loads(done.stdout)["attacks"]
    for prepare in (lambda: None, lambda: rebuild(Settings(home=home)) and publish(Settings(home=home))):
        prepare()
        with open_snapshot(Settings(home=home)) as snapshot:
            (row,) = snapshot.select("select name, outcome, how, tier, sandbox, is_whole from attacks").rows
        assert row == (*attack.values(), "smoke", "bubblewrap", False)


def test_an_empty_home_has_an_empty_board(tmp_path: Path) -> None:
    for command, key in (("board", "groups"), ("show", "studies")):
        done = research(tmp_path / "home", command, "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {key: []}), done.stderr
    assert "no study is complete yet" in research(tmp_path / "home", "board").stdout


@pytest.mark.parametrize("name", ["", "run", "resume", "baseline", "board", "show", "stop", "attack"])
def test_each_command_explains_itself(tmp_path: Path, name: str) -> None:
    done = research(tmp_path, *[name] if name else [], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"tracker research {name}".strip() in done.stdout
