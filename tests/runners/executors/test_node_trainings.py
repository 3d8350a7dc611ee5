"""Studies that train on a cluster: real nodes in processes of this machine, one of which is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from runners.child import repeating
from runners.executors import ray_cluster
from runners.executors.calls import CallStoppedError, NodeCall, call_mark, node_store
from runners.executors.supervisor import marked_processes
from runners.research.comparability import deciding_hash
from runners.research.corpora.build import corpus
from runners.research.node_training import NodeReply, NodeRequest, corpus_place, reply_to
from runners.research.problem import script as scripts
from runners.research.problem.tiers import Tier
from runners.research.problem.tiers import tier as tier_of
from runners.research.trainer import NodeTrainer
from runners.research.training.cache import BaselineError, key, train
from runners.research.training.pool import StoppedError
from runners.sandbox.run import Kind, Sandbox
from tests.builders.some_studies import study as some_study
from tests.builders.some_studies import trial as some_trial
from tests.conftest import IMPORTED_FROM, ROOT
from tracker.errors import DiskFullError, TrackerError, UnknownNameError, UsageError
from tracker.files.studies import Ledger
from tracker.records.studies import (
    Change,
    Split,
    Study,
    StudySecret,
    StudyStatus,
    Training,
    TrainingStatus,
)
from tracker.research.begin import StudyRequest, begin_study, resumed_study
from tracker.research.driver import StudyEnd, run_study
from tracker.serialization import dump_json, load_json
from tracker.settings import Settings

SHORT_SEED = 1  # of an agent on `digits` whose first proposal is soon rejected: nine trainings in all
SECRET = StudySecret("ab" * 32)
SPLITS = (Split.VAL, Split.SELECT)
TINY = replace(tier_of("digits"), train_tokens=4096)
clustered = [
    pytest.mark.executors,
    pytest.mark.timeout(1500),  # two dozen trainings on a busy machine
    pytest.mark.filterwarnings("ignore"),
]


class CannedNodes:
    """Nodes that answer with what they are given, in turn."""

    def __init__(self, *replies: NodeReply | type[CallStoppedError]) -> None:
        self.replies = list(replies)
        self.calls: list[NodeCall] = []
        self.ended: list[Path] = []

    def places(self, *, n_cards: int, per_node: int) -> int:
        return 4

    def call(
        self, call: NodeCall, folder: Path, on_warning: Callable[[str], None], *, interrupts: Sequence[float]
    ) -> bytes:
        self.calls.append(call)
        reply = self.replies.pop(0)
        if not isinstance(reply, NodeReply):
            raise reply
        if reply.training is None:
            return dump_json(reply)
        asked = load_json(NodeRequest, call.request, where="request")
        return dump_json(replace(reply, training=replace(reply.training, key=asked.key)))

    def end_calls(self, folder: Path) -> None:
        self.ended.append(folder)


def on_nodes(home: Path, *replies: NodeReply | type[CallStoppedError]) -> tuple[NodeTrainer, CannedNodes]:
    study = some_study(1, tier="digits", sandbox="bubblewrap", executor="ray")
    ledger = Ledger(home / "studies" / study.study_id)
    ledger.write_study(study)
    nodes = CannedNodes(*replies)
    return NodeTrainer(study, ledger, nodes, lambda _: None), nodes


def done(machine: str, status: TrainingStatus = TrainingStatus.OK, **bpb: float) -> NodeReply:
    return NodeReply("n1", machine, Training("", 1, status, bpb=bpb or {"val": 2.0, "select": 2.1}))


def test_node_training_is_kept_for_its_study_without_its_score_on_test(home: Path) -> None:
    reply = done("EPYC 9654", val=2.0, select=2.1, test=2.2)
    trainer, nodes = on_nodes(home, reply, reply)
    first = trainer.train(Change(), 1, TINY, splits=(*SPLITS, Split.TEST))
    assert (first.machine, first.bpb["test"]) == ("EPYC 9654", 2.2)
    again, _ = on_nodes(home)
    known = again.train(Change(), 1, TINY, splits=SPLITS)
    assert (known, known.bpb.keys()) == (replace(first, bpb=known.bpb), {"val", "select"})
    trainer.train(Change(), 1, TINY, splits=(*SPLITS, Split.TEST))
    assert len(nodes.calls) == 2, "what is measured on `test` is measured each time"


@pytest.mark.parametrize("status", [TrainingStatus.CAUGHT, TrainingStatus.TIMED_OUT])
def test_node_training_that_may_end_otherwise_is_done_again(home: Path, status: TrainingStatus) -> None:
    trainer, nodes = on_nodes(home, done("EPYC 9654", status), done("EPYC 9654"))
    found = [trainer.train(Change(), 1, TINY, splits=SPLITS).status for _ in range(3)]
    assert found == [status, TrainingStatus.OK, TrainingStatus.OK]
    assert len(nodes.calls) == 2


def test_node_trainings_of_two_processors_are_not_compared(home: Path) -> None:
    trainer, _ = on_nodes(home, done("EPYC 9654"))
    trainer.train(Change(), 1, TINY, splits=SPLITS)
    resumed, _ = on_nodes(home, done("Xeon 8480"))
    with pytest.raises(TrackerError, match=r"`n1` has `Xeon 8480`, the study used `EPYC 9654`") as raised:
        resumed.train(Change(), 2, TINY, splits=SPLITS)
    assert "on nodes of that kind" in raised.value.hint


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (
            NodeReply("n1", error="error", message="no sandbox", hint="install it"),
            TrackerError,
            "`n1`: no sa",
        ),
        (NodeReply("n1", error="baseline", message="it diverged"), BaselineError, "`n1`: it diverged"),
        (NodeReply("n1", error="disk_full", message="/tmp/t"), DiskFullError, "no space .* `n1:/tmp/t`"),
        (CallStoppedError, StoppedError, "^$"),
    ],
    ids=["error", "baseline", "disk", "stopped"],
)
def test_node_that_cannot_train_says_why_as_this_machine_would(
    home: Path, reply: NodeReply | type[CallStoppedError], error: type[Exception], says: str
) -> None:
    trainer, _ = on_nodes(home, reply)
    with pytest.raises(error, match=says) as raised:
        trainer.train(Change(), 1, TINY, splits=SPLITS)
    assert getattr(raised.value, "hint", "") == getattr(reply, "hint", "") or error is DiskFullError


def test_node_trainer_ends_calls_of_its_study_before_and_after(home: Path) -> None:
    trainer, nodes = on_nodes(home)
    left = Ledger(home / "studies" / some_study(1).study_id).calls_path / "left"
    left.mkdir(parents=True)
    trainer.end_left()
    trainer.end()
    assert nodes.ended == [left.parent] * 2
    assert not left.exists()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of a node whose temporary folder is empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return node_store()


def request(home: Path, store: Path, tier: Tier = TINY, **more: Any) -> NodeRequest:
    """A request to a node that has the corpus."""
    text = corpus(tier.corpus, home)
    place = store / corpus_place(text)
    for path in text.files():
        target = place / path.relative_to(text.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    common: dict[str, Any] = {
        "key": key(Change(), 1, tier, text.hash),
        "change": Change(),
        "seed": 1,
        "tier": tier,
        "splits": SPLITS,
        "corpus": corpus_place(text),
        "sandbox": "bubblewrap",
        "runs_code": False,
        "deciding_hash": "0",
    }
    return NodeRequest(**common | more)


def test_node_trains_the_shipped_script_beside_an_edited_one_and_keeps_both(home: Path, store: Path) -> None:
    edited = Change(script=scripts.shipped(TINY).replace(scripts.END, f"UNUSED = 1\n{scripts.END}"))
    wanted = request(home, store, sandbox="none", runs_code=True, deciding_hash=deciding_hash(TINY))
    text = corpus(TINY.corpus, home)
    of_edited = key(edited, 1, TINY, text.hash)
    reply = reply_to(replace(wanted, change=edited, key=of_edited))
    assert reply.training is not None, reply.message
    assert (reply.training.status, reply.training.key) == (TrainingStatus.OK, of_edited)
    assert {path.stem for path in (store / "trainings").glob("*.json")} == {wanted.key, of_edited}
    again = reply_to(wanted)
    assert again.training is not None
    assert again.training.bpb == reply.training.bpb, "the same numbers, since nothing uses the new line"
    assert not home.joinpath("trainings").exists()


def test_node_makes_the_language_of_a_training_that_this_machine_would_make(home: Path, store: Path) -> None:
    tier = replace(tier_of("smoke"), train_tokens=4096, eval_tokens=1024)
    here = train(Change(), 1, tier, splits=SPLITS, home=home, sandbox=Sandbox(Kind.NONE))
    there = reply_to(request(home, store, tier, sandbox="none", deciding_hash=deciding_hash(tier)))
    assert there.training is not None, there.message
    assert there.training.bpb == here.bpb


def test_node_with_another_version_refuses_to_train(home: Path, store: Path) -> None:
    reply = reply_to(request(home, store))
    assert (reply.training, reply.error) == (None, "error")
    assert "another version of this program or of torch" in reply.message
    assert "[research]" in reply.hint


def test_node_whose_corpus_was_changed_refuses_to_train(home: Path, store: Path) -> None:
    wanted = request(home, store)
    with (store / wanted.corpus / "train" / "train.bin").open("r+b") as file:
        file.write(b"changed")
    assert "have changed since they were written" in reply_to(wanted).message


def test_node_store_is_refused_if_others_can_read_it(store: Path) -> None:
    assert stat.S_IMODE(store.lstat().st_mode) == stat.S_IMODE(store.parent.lstat().st_mode) == 0o700
    store.parent.chmod(0o755)
    with pytest.raises(TrackerError, match="not a folder that only this user can read") as raised:
        node_store()
    assert "TMPDIR" in raised.value.hint


def test_node_mark_of_a_folder_stands_for_the_calls_below_it(tmp_path: Path) -> None:
    mark = call_mark(tmp_path / "calls" / "one")
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"TRACKER_WORKER": mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert [p.pid for p in marked_processes(str(tmp_path / "calls"))] == [child.pid]


def test_study_on_an_executor_without_calls_is_refused_before_it_is_begun(settings: Settings) -> None:
    plain = "tests.doubles.executors:PlainExecutor"
    with pytest.raises(UsageError, match="runs benches, but no trainings") as raised:
        begin_study(StudyRequest("random", tier="digits", executor=plain), settings)
    assert "--executor local" in raised.value.hint
    assert not settings.studies_path.exists()
    with pytest.raises(UnknownNameError, match="no executor is called `rey`"):
        StudyRequest("random", executor="rey")


def test_study_with_trials_of_this_machine_is_not_continued_on_a_cluster(settings: Settings) -> None:
    study = begun(settings, "digits", "local")
    Ledger(settings.studies_path / study.study_id).write_trial(some_trial(study))
    with pytest.raises(TrackerError, match="has trials of the executor `local`"):
        resumed_study(study.study_id, settings, executor="slurm")
    assert resumed_study(study.study_id, settings, executor="local").executor == "local"


# On clusters


def begun(settings: Settings, tier: str, executor: str, *, n_trials: int = 2) -> Study:
    request = StudyRequest(
        "random",
        tier=tier,
        n_trials=n_trials,
        placebo_share=0.0,
        secret=SECRET,
        has_transfer=False,
        executor=executor,
        seed=SHORT_SEED if tier == "digits" else 0,
    )
    return begin_study(request, settings)


def outcome(end: StudyEnd) -> Any:
    """All of a study that must not depend on where it trained."""
    assert end.study.result is not None, (end.study.detail, end.log_path.read_text()[-3000:])
    trials = [
        (
            trial.slot,
            trial.verdict,
            trial.proposal.change,
            [(pair.seed, pair.parent.bpb, pair.child.bpb) for pair in (*trial.pairs, *trial.confirmation)],
        )
        for trial in end.trials
    ]
    pairs = [(pair.parent.bpb, pair.child.bpb) for pair in end.study.result.test_pairs]
    return trials, replace(end.study.result, test_pairs=()), pairs


def alone(tmp_path: Path, tier: str, *, n_trials: int = 2) -> Any:
    """The outcome on this machine."""
    settings = Settings(home=tmp_path / "alone")
    return outcome(run_study(begun(settings, tier, "local", n_trials=n_trials), settings, lambda _: None))


def under_way(folder: Path) -> list[Path]:
    """The trainings that run now on the node with this temporary folder."""
    return [path for path in folder.rglob("config.json") if path.parents[2].name == "trainings"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Iterator[Any]:
    """Two nodes with room for two trainings each; each has a temporary folder of its own."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", IMPORTED_FROM)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr(ray_cluster, "PLACE_S", 3.0)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    here = {"TMPDIR": str(folders[0])}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "env_vars": here})
    monkeypatch.setenv("TRACKER_RAY_ADDRESS", found.address)
    found.second = found.add_node(num_cpus=2, env_vars={"TMPDIR": str(folders[1])})
    found.folders = folders
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


class TestOnRay:
    pytestmark = clustered

    def test_a_node_is_killed_in_the_middle_and_the_study_equals_the_local_one(
        self, cluster: Any, settings: Settings, tmp_path: Path
    ) -> None:
        expected = alone(tmp_path, "smoke")
        killed: list[Path] = []

        def kill() -> None:
            if not killed and (found := under_way(cluster.folders[1])):
                killed.extend(found)
                cluster.remove_node(cluster.second, allow_graceful=False)

        events = []
        with repeating(kill, every_s=0.1, name="killer"):
            end = run_study(begun(settings, "smoke", "ray"), settings, events.append)
        assert outcome(end) == expected
        assert killed
        assert [event.message for event in events if "a node was lost" in event.message]
        machines = {pair.child.machine for trial in end.trials for pair in trial.pairs}
        assert machines == {end.study.hardware["cpu"]}
        files = [path for path in cluster.folders[0].rglob("*.bin") if path.parent.name == "held_out"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert len(files) == 3

    def test_a_driver_that_is_killed_leaves_nothing_behind_and_the_study_is_resumed(
        self, cluster: Any, settings: Settings, tmp_path: Path
    ) -> None:
        study = begun(settings, "digits", "ray", n_trials=1)
        code = (
            "from tracker.research.begin import resumed_study\n"
            "from tracker.research.driver import run_study\n"
            "from tracker.settings import load_settings\n"
            f"study = resumed_study({study.study_id!r}, load_settings())\n"
            "run_study(study, load_settings(), lambda event: print(event.event, flush=True))"
        )
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as driver:
            assert driver.stdout is not None
            assert any(line == b"training\n" for line in driver.stdout)
            worker = psutil.Process(driver.pid).children()
            for process in (psutil.Process(driver.pid), *worker):
                process.kill()
        kept = {path: path.stat().st_mtime_ns for path in trainings_of(settings, study)}
        assert kept
        left = [p for p in psutil.process_iter() if is_node_training(p)]
        psutil.wait_procs(left, timeout=30)
        assert not [p for p in psutil.process_iter() if is_node_training(p)]
        end = run_study(resumed_study(study.study_id, settings), settings, lambda _: None)
        assert outcome(end) == alone(tmp_path, "digits", n_trials=1)
        assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was done is not repeated"

    def test_a_study_that_is_stopped_ends_its_trainings_on_the_nodes(
        self, cluster: Any, settings: Settings
    ) -> None:
        study = begun(settings, "smoke", "ray")
        ledger = Ledger(settings.studies_path / study.study_id)

        def stop() -> None:
            if under_way(cluster.folders[0]) and under_way(cluster.folders[1]):
                ledger.stop_path.touch()

        with repeating(stop, every_s=0.1, name="stop"):
            end = run_study(study, settings, lambda _: None)
        assert (end.study.status, end.exit_code) == (StudyStatus.INTERRUPTED, 130)
        psutil.wait_procs([p for p in psutil.process_iter() if is_node_training(p)], timeout=30)
        assert not [p for p in psutil.process_iter() if is_node_training(p)]

    def test_joining_keeps_our_answer_to_sigterm(self, cluster: Any, settings: Settings) -> None:
        def own(*_: object) -> None:
            """Ours."""

        before = signal.signal(signal.SIGTERM, own)
        try:
            place = ray_cluster.RayExecutor(Settings(home=settings.home))
            assert place.places(n_cards=0, per_node=1) == 2
            assert signal.getsignal(signal.SIGTERM) is own
            with pytest.raises(TrackerError, match="has a free card"):
                place.places(n_cards=1, per_node=1)
        finally:
            signal.signal(signal.SIGTERM, before)


@pytest.mark.executors
@pytest.mark.timeout(300)
def test_ray_cluster_that_is_out_of_reach_ends_a_study_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("TRACKER_RAY_ADDRESS", "127.0.0.1:1")
    end = run_study(begun(settings, "digits", "ray"), settings, lambda _: None)
    assert (end.study.status, end.exit_code) == (StudyStatus.FAILED, 1)
    assert "no Ray cluster at `127.0.0.1:1`" in (end.study.detail or "")
    assert "TRACKER_RAY_ADDRESS" in (end.study.detail or "")


class TestThroughSlurm:
    pytestmark = clustered

    @pytest.fixture
    def slurm(self, monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Settings:
        """submitit's local cluster in the place of Slurm."""
        pytest.importorskip("submitit")
        monkeypatch.setenv("TRACKER_SLURM", '{"cluster": "local", "timeout_min": 10}')
        (tmp_path / "node").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
        return Settings(home=home)

    def test_a_job_that_is_lost_is_submitted_again_and_the_study_equals_the_local_one(
        self, slurm: Settings, tmp_path: Path
    ) -> None:
        expected = alone(tmp_path, "digits", n_trials=1)
        study = begun(slurm, "digits", "slurm", n_trials=1)
        calls = Ledger(slurm.studies_path / study.study_id).calls_path
        killed: list[psutil.Process] = []

        def kill() -> None:
            for process in () if killed else marked_processes(str(calls)):
                if is_node_training(process):
                    with suppress(psutil.Error):
                        above = [p for p in process.parents() if "submitit" in str(p.cmdline())]
                        killed.extend(above)
                        for each in [*above, process]:
                            each.kill()
                    break

        events = []
        with repeating(kill, every_s=0.1, name="killer"):
            end = run_study(study, slurm, events.append)
        assert outcome(end) == expected
        assert killed
        assert [event.message for event in events if "Slurm ended job" in event.message]
        assert not list(calls.glob("*"))

    def test_a_node_without_bubblewrap_ends_the_study_with_a_hint(
        self, slurm: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        end = run_study(begun(slurm, "digits", "slurm"), slurm, lambda _: None)
        assert (end.study.status, end.exit_code) == (StudyStatus.FAILED, 1)
        assert "the study needs the sandbox `bubblewrap`" in (end.study.detail or "")
        assert "apt install bubblewrap" in (end.study.detail or "")


def trainings_of(settings: Settings, study: Study) -> list[Path]:
    return sorted((settings.studies_path / study.study_id / "trainings").glob("*.json"))


def is_node_training(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "runners.research.node_training" in process.cmdline()
    return False
