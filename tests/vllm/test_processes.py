"""No process of vLLM's outlives its engine. The last test ends the engine of the whole run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import psutil
import pytest

from runners.engines import Engine, GenerationRequest
from tests.vllm.test_loading import children_named_vllm
from tracker.errors import EngineError
from tracker.records import Model

GONE_S = 20  # for the kernel's signal to reach a process in a long computation

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_ended_takes_its_processes_along(model: Model, number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "tests.vllm.hold_engine", str(model.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        processes = [psutil.Process(pid) for pid in json.loads(worker.stdout.readline())]
        worker.send_signal(number)
        worker.wait()
    assert len(processes) >= 1
    assert psutil.wait_procs(processes, timeout=GONE_S)[1] == []


def test_an_engine_that_dies_says_so_and_leaves_nothing(vllm_engine: Engine) -> None:
    stream = vllm_engine.generate([GenerationRequest("Once upon a time", n) for n in (1, 4000)])
    next(stream)
    for pid in children_named_vllm():
        psutil.Process(pid).kill()
    with pytest.raises(EngineError, match="stopped answering") as caught:
        list(stream)
    assert caught.value.reason == "engine_died"
    vllm_engine.close()
    vllm_engine.close()
    assert children_named_vllm() == []
