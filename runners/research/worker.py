"""The process that works on one study: `python -m runners.research FOLDER`.

It holds the agent, asks it, trains in sandboxes and writes the study's files; it tells its parent what
happens in JSON lines on standard output. SIGTERM, SIGINT and the file `stop` end it at once: all that is
finished is on disk, and the training under way is the price.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from runners.child import Pipe, heartbeat, own_stdout, repeating
from runners.models.resolve import fetch_model
from runners.research.agents import Agent, open_agent
from runners.research.comparability import comparability_of
from runners.research.corpora.build import corpus
from runners.research.events import StudyEvent, encode
from runners.research.final_test import FinalTestCache
from runners.research.problem import script, space
from runners.research.problem.tiers import Tier
from runners.research.problem.tiers import tier as tier_of
from runners.research.seeds import StudySeeds
from runners.research.study import StudyContext, run_study
from runners.research.trainer import opened_trainer
from runners.research.training import cache as training
from runners.research.training.pool import StoppedError, TrainingPool
from runners.research.transfer import LargerSize, NotScalableError, larger_tier
from tracker.errors import EXIT_INTERRUPTED, DiskFullError, ModelError, TrackerError, UnreachableError
from tracker.files.studies import Ledger
from tracker.records.studies import (
    Change,
    Study,
    StudyStatus,
    Training,
)

LOOK_S = 1.0  # how soon the stop button is seen


class StudyStop:
    """Whether somebody asked us to end; a signal says so, and ends what the main thread waits for."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether to end."""
        return self._asked.is_set()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """End now; a second one while we put things away changes nothing."""
        if not self._asked.is_set():
            self._asked.set()
            raise KeyboardInterrupt


def main(argv: list[str]) -> int:
    """Work on the study; the exit code follows the contract of the command line."""
    ledger, pipe, stop = Ledger(Path(argv[1]).resolve()), Pipe(own_stdout()), StudyStop()
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.signal(signal.SIGINT, stop.on_signal)

    def say(event: StudyEvent) -> None:
        pipe.send(encode(event))

    with heartbeat(pipe, lambda: encode(StudyEvent("heartbeat"))), _button(ledger):
        code = work(ledger, stop, say)
    if code == EXIT_INTERRUPTED:
        # Sandboxes die with us. Ended before us, a training under way would be kept as one that failed.
        sys.stderr.flush()
        os._exit(code)
    return code


def work(ledger: Ledger, stop: StudyStop, say: Callable[[StudyEvent], None]) -> int:
    """Run the study; `study.json` says how it ended."""
    try:
        study = replace(ledger.read_study(), status=StudyStatus.RUNNING, pid=os.getpid())
        ledger.write_study(replace(study, reason=None, detail=None, ended_at=None))
        with _opened(study, ledger, stop, say) as context:
            done = run_study(ledger, context)
        say(StudyEvent("ended", status=done.status.value))
        return 0
    except (TrackerError, StoppedError, KeyboardInterrupt) as error:
        with suppress(DiskFullError):  # the parent will see to it
            ended = as_ended(ledger.read_study(), error)
            ledger.write_study(ended)
            say(StudyEvent("ended", status=ended.status.value, message=ended.detail or ""))
        return error.exit_code if isinstance(error, TrackerError) else EXIT_INTERRUPTED


def as_ended(study: Study, error: BaseException) -> Study:
    """The study as it ended by this error; all but a failure of the model or of ours is meant to go on."""
    status, reason = StudyStatus.FAILED, "error"
    if isinstance(error, UnreachableError):
        status, reason = StudyStatus.PAUSED, "unreachable"
    elif isinstance(error, DiskFullError):
        status, reason = StudyStatus.INTERRUPTED, "disk_full"
    elif isinstance(error, ModelError):
        reason = error.reason
    elif not isinstance(error, TrackerError):
        status, reason = StudyStatus.INTERRUPTED, "interrupted"
    hint = getattr(error, "hint", "")
    detail = f"{error} ({hint})" if hint else str(error)
    return replace(study, status=status, reason=reason, detail=detail or None, ended_at=datetime.now(UTC))


@contextmanager
def _opened(
    study: Study, ledger: Ledger, stop: StudyStop, say: Callable[[StudyEvent], None]
) -> Iterator[StudyContext]:
    """All that the study works with, under the facts that it was begun with."""
    home = ledger.folder.parent.parent
    tier = tier_of(study.tier, home)
    facts = comparability_of(tier, home, program=study.program if study.has_own_program else None)
    facts.refuse(study)
    seeds = StudySeeds(ledger.read_secret())
    corpus_hash = corpus(tier.corpus, home).hash

    def warn(message: str) -> None:
        say(StudyEvent("warning", message=message))

    def pool_of(tier: Tier) -> TrainingPool:
        def train(change: Change, seed: int, *, splits: Sequence[str]) -> Training:
            return trainer.train(change, seed, tier, splits=splits)

        def identity(change: Change) -> str:
            return training.key(change, 0, tier, corpus_hash)

        return TrainingPool(
            FinalTestCache(train, ledger, identity),
            n_at_once=trainer.n_at_once(tier),
            identity=identity,
            is_stopped=stop,
            on_training=on_training,
        )

    def on_training(done: Training) -> None:
        say(StudyEvent("training", status=done.status.value, seed=done.seed, duration_s=done.train_s))

    with opened_trainer(study, ledger, tier, warn) as trainer:
        pool, size = pool_of(tier), None
        with suppress(NotScalableError):
            larger = larger_tier(tier)
            size = LargerSize(tier, larger, pool_of(larger))
        agent = _agent(study, ledger, say)
        try:
            yield StudyContext(
                tier=tier,
                space=space.tunables(tier),
                agent=agent,
                seeds=seeds,
                pool=pool,
                identity=lambda change: training.key(change, 0, tier, corpus_hash),
                categories=lambda parent, child: space.categories(parent, child, tier),
                shipped_script=script.shipped(tier),
                say=say,
                size=size,
            )
        finally:
            pool.close()
            if size is not None:
                size.pool.close()
            agent.close()


def _agent(study: Study, ledger: Ledger, say: Callable[[StudyEvent], None]) -> Agent:
    started = time.monotonic()
    say(StudyEvent("opening", message=study.agent.name))
    spec = study.agent
    if spec.model and spec.settings:
        study = replace(study, agent=replace(spec, model=fetch_model(spec.model, spec.settings)))
    agent = open_agent(study, ledger.folder)
    say(StudyEvent("ready", message=study.agent.name, duration_s=time.monotonic() - started))
    return agent


def _button(ledger: Ledger) -> AbstractContextManager[None]:
    """Treat the file `stop` as a SIGTERM until the block ends."""

    def look() -> None:
        if ledger.stop_path.exists():
            os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing

    return repeating(look, every_s=LOOK_S, name="stop-button")
