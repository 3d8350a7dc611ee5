"""When a worker counts as hung: time alone ends nothing as long as its engine computes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runners.engines import GenerationRequest, open_engine
from runners.engines.steps import n_steps
from runners.executors.supervisor import WorkerWatch
from tests.builders.tiny_models import save_random, tiny_tokenizer
from tracker.records import EngineSettings

LIMIT_S = 600.0
LONG_S = 1300.0  # without a finished answer: a thinking model on a small card


def quiet_for(watch: WorkerWatch, seconds: float) -> None:
    watch.last_progress = time.monotonic() - seconds


def test_worker_watch_an_answer_of_1300_s_is_not_killed_while_steps_go_on() -> None:
    watch = WorkerWatch(LIMIT_S)
    for n in range(1, 260):  # a heartbeat every five seconds
        quiet_for(watch, LONG_S)
        watch.note_sign()
        watch.note_steps(40 * n)
        assert watch.problem(os.getpid()) is None


def test_worker_watch_an_engine_that_stands_still_is_hung_although_its_process_lives() -> None:
    watch = WorkerWatch(LIMIT_S)
    watch.note_steps(40)
    quiet_for(watch, LIMIT_S + 5)
    watch.note_sign()
    watch.note_steps(40)
    assert watch.problem(os.getpid()) == "the worker made no progress for 600 s"


def test_worker_watch_every_token_of_an_answer_is_a_step(tmp_path: Path) -> None:
    engine = open_engine(save_random(tmp_path, tiny_tokenizer()), EngineSettings(engine="transformers"))
    before = n_steps()
    (found,) = engine.generate([GenerationRequest("the fox", 12, sampling={"min_new_tokens": 12})])
    engine.close()
    assert found[1].output_tokens == 12
    assert n_steps() - before >= 11
