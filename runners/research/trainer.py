"""Where a study trains: on this machine, or through calls to the nodes of an executor.

On a node a training is done as here, with a cache, locks and a corpus of its own: the shipped script, with
whose CPU seconds those of an edited script are compared, trains on the same node, and one script of an agent
runs at a time on each. Only this side writes into the home. Results of different processors or cards cannot
be compared, so all nodes of a study must have the same.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from runners.executors import DEFAULT_EXECUTOR, Executor, open_executor
from runners.executors.calls import CallStoppedError, NodeCall, RunsCalls
from runners.research.comparability import deciding_hash
from runners.research.corpora.build import corpus
from runners.research.node_training import NodeReply, NodeRequest, corpus_place
from runners.research.problem.tiers import Tier
from runners.research.training import cache
from runners.research.training.pool import StoppedError
from runners.research.training.slots import N_ON_CPU, slots_here
from runners.sandbox import run as sandbox
from tracker.errors import DiskFullError, TrackerError, UsageError
from tracker.files.studies import Ledger
from tracker.records.studies import Change, Study, Track, Training, TrainingStatus
from tracker.serialization import dump_json, load_json
from tracker.settings import Settings, load_settings

MODULE = "runners.research.node_training"


class Trainer(Protocol):
    """Trains changes of one study."""

    def train(self, change: Change, seed: int, tier: Tier, *, splits: Sequence[str]) -> Training:
        """The training with its bits per byte of `splits`, from a cache if it is known.

        Raises:
            StoppedError: the study is to end.
            TrackerError: something of ours is missing, here or on a node.
        """
        ...

    def n_at_once(self, tier: Tier) -> int:
        """How many trainings can run at the same time.

        Raises:
            TrackerError: none can.
        """
        ...


class LocalTrainer:
    """Trains in sandboxes of this machine."""

    def __init__(self, study: Study, home: Path, *, needs_gpu: bool) -> None:
        """Find the sandbox.

        Raises:
            TrackerError: what works here is weaker than what the study needs.
        """
        self._home = home
        self._sandbox = sandbox.for_study(
            study.sandbox, runs_code=study.track is Track.CODE, needs_gpu=needs_gpu
        )

    def train(self, change: Change, seed: int, tier: Tier, *, splits: Sequence[str]) -> Training:
        """The training from the home's cache, or run now and kept there."""
        return cache.cached(change, seed, tier, splits=splits, home=self._home, sandbox=self._sandbox)

    def n_at_once(self, tier: Tier) -> int:
        """The places on this machine."""
        return len(slots_here(tier.device))


class NodeTrainer:
    """Trains on the nodes of an executor; what they did is kept in the folder of the study."""

    def __init__(self, study: Study, ledger: Ledger, place: RunsCalls, say: Callable[[str], None]) -> None:
        self._study, self._ledger, self._place, self._say = study, ledger, place, say
        self._home = ledger.folder.parent.parent
        self._interrupts: list[float] = []
        self._lock = threading.Lock()
        self._machine = ledger.node_machine()

    def train(self, change: Change, seed: int, tier: Tier, *, splits: Sequence[str]) -> Training:
        """The training from the study's folder, or from a node."""
        text = corpus(tier.corpus, self._home)
        name = cache.key(change, seed, tier, text.hash)
        known = self._ledger.node_training(name)
        if known is not None and (known.status is not TrainingStatus.OK or set(splits) <= known.bpb.keys()):
            return known
        place = corpus_place(text)
        request = NodeRequest(
            key=name,
            change=change,
            seed=seed,
            tier=tier,
            splits=tuple(str(split) for split in splits),
            corpus=place,
            sandbox=self._study.sandbox,
            runs_code=self._study.track is Track.CODE,
            deciding_hash=deciding_hash(tier),
        )
        folder = self._ledger.calls_path / f"{name}-{secrets.token_hex(4)}"
        files = {f"{place}/{path.relative_to(text.folder).as_posix()}": path for path in text.files()}
        call = NodeCall(MODULE, dump_json(request), files, n_cards=int(tier.device != "cpu"))
        try:
            answer = self._place.call(call, folder, self._say, interrupts=self._interrupts)
        except CallStoppedError as error:
            raise StoppedError from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._checked(load_json(NodeReply, answer, where="the answer of a node"), name)

    def n_at_once(self, tier: Tier) -> int:
        """The places on all nodes."""
        return self._place.places(n_cards=int(tier.device != "cpu"), per_node=N_ON_CPU)

    def end_left(self) -> None:
        """Stop what an earlier process of this study left on nodes."""
        self._place.end_calls(self._ledger.calls_path)
        shutil.rmtree(self._ledger.calls_path, ignore_errors=True)

    def end(self) -> None:
        """Give up what is under way, here and on the nodes."""
        self._interrupts += [time.monotonic()] * 2
        self._place.end_calls(self._ledger.calls_path)

    def _checked(self, reply: NodeReply, key: str) -> Training:
        """The training of a reply, which is kept.

        Raises:
            TrackerError: the node could not do it, or is of another kind than those before.
        """
        if reply.error == "disk_full":
            raise DiskFullError(f"{reply.node}:{reply.message}")
        message = f"node `{reply.node}`: {reply.message}"
        if reply.error == "baseline":
            raise cache.BaselineError(message, hint=reply.hint)
        if reply.training is None or reply.training.key != key:
            raise TrackerError(message, hint=reply.hint)
        training = replace(reply.training, machine=reply.machine)
        with self._lock:
            self._machine = self._machine or reply.machine
            if reply.machine != self._machine:
                message = f"node `{reply.node}` has `{reply.machine}`, the study used `{self._machine}`"
                hint = "their results cannot be compared: resume it on nodes of that kind alone"
                raise TrackerError(message, hint=hint)
        if (kept := cache.to_keep(training)) is not None:
            self._ledger.write_node_training(kept)
        return training


def calls_of(name: str, settings: Settings) -> RunsCalls:
    """The executor `name`, which must be one that trains on nodes.

    Raises:
        UnknownNameError: there is no such executor.
        TrackerError: it cannot be used here, or runs benches alone.
    """
    place: Executor = open_executor(name, settings)
    if not hasattr(place, "call"):
        message = f"the executor `{name}` runs benches, but no trainings"
        raise UsageError(message, hint="add `--executor local`, or ray or slurm")
    return cast("RunsCalls", place)


@contextlib.contextmanager
def opened_trainer(
    study: Study, ledger: Ledger, tier: Tier, say: Callable[[str], None] = lambda _: None
) -> Iterator[Trainer]:
    """The trainer of the study's worker: what an earlier one left on nodes ends, and what this one leaves.

    Raises:
        TrackerError: its executor, or the sandbox that it needs, cannot be used here.
    """
    trainer = trainer_of(study, ledger, tier, say)
    if not isinstance(trainer, NodeTrainer):
        yield trainer
        return
    trainer.end_left()
    try:
        yield trainer
    finally:
        trainer.end()


def trainer_of(
    study: Study, ledger: Ledger, tier: Tier, say: Callable[[str], None] = lambda _: None
) -> LocalTrainer | NodeTrainer:
    """What trains for the study; see `opened_trainer`."""
    home = ledger.folder.parent.parent
    if study.executor == DEFAULT_EXECUTOR:
        return LocalTrainer(study, home, needs_gpu=tier.device != "cpu")
    return NodeTrainer(study, ledger, calls_of(study.executor, load_settings(home)), say)
