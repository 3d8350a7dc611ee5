"""Sequences that are handed out by a pipe: the same batches, and the pace as our side sees it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from runners.research.problem import script as scripts
from runners.research.problem import train
from runners.research.problem.tiers import SMOKE
from runners.research.training import cache
from runners.research.training.attempt import LAUNCH
from runners.research.training.handout import CARD_HEAD_SHARE, CARD_PIPE_BYTES, LET_IN, Handout
from runners.sandbox.run import Sandbox, SandboxSpec, find, make_readable
from tracker.interpreter import python_command
from tracker.records.studies import Change, TrainingStatus

SIZE = 40 * CARD_PIPE_BYTES


@pytest.mark.parametrize("token_bytes", [1, 2])
def test_handout_gives_the_batches_of_the_file(
    token_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(1).integers(0, 200, size=23 * 9, dtype=f"<u{token_bytes}").tobytes()
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    job = train.Job(str(path), "", 1, 0, context=8, vocab_size=200, token_bytes=token_bytes, micro_batch=2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    handed = [torch.cat(parts) for parts in train.batches(replace(job, data=train.HANDED_OUT), 5)]
    read = [torch.cat(parts) for parts in train.batches(job, 5)]
    assert len(handed) == len(read) == 4
    assert torch.equal(torch.stack(handed), torch.stack(read))


@contextmanager
def handing_out(path: Path) -> Iterator[tuple[Handout, IO[bytes]]]:
    path.write_bytes(bytes(SIZE))
    reading, writing = os.pipe()
    handout = Handout(path, CARD_HEAD_SHARE, CARD_PIPE_BYTES)
    handout.begin(os.fdopen(writing, "wb", buffering=0), lambda: 25.0)
    with os.fdopen(reading, "rb") as file:
        yield handout, file


def test_handout_counts_only_what_comes_after_the_head(tmp_path: Path) -> None:
    with handing_out(tmp_path / "data.bin") as (handout, file):
        file.read(int(CARD_HEAD_SHARE * SIZE) - CARD_PIPE_BYTES)
        assert handout.head_s is None, "what is in the pipe is not yet taken"
        assert len(file.read()) == SIZE - int(CARD_HEAD_SHARE * SIZE) + CARD_PIPE_BYTES
    assert handout.steps_s(60.0) == 35.0
    assert handout.head_s == 25.0


def test_handout_to_a_program_that_reads_nothing_counts_all_of_its_time(tmp_path: Path) -> None:
    with handing_out(tmp_path / "data.bin") as (handout, _):
        pass
    assert handout.steps_s(7.0) == 7.0
    assert handout.head_s is None


def test_handout_the_clock_starts_before_there_is_text_to_compute_on(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"abc" * 5000)
    reading, writing = os.pipe()
    handout = Handout(tmp_path / "data.bin")
    seconds = iter([20.0, 25.0])
    handout.begin(os.fdopen(writing, "wb", buffering=0), lambda: next(seconds))
    assert os.read(reading, 4096) == LET_IN
    assert os.read(reading, 4096) == b"a", "a page that nobody has read whole would be there to train on"
    with os.fdopen(reading, "rb") as file:
        assert file.read() == (b"abc" * 5000)[1:]
    assert (handout.steps_s(60.0), handout.let_in_s, handout.head_s) == (35.0, 20.0, 25.0)


def test_handout_a_budget_in_seconds_ends_the_text(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(20_000))
    reading, writing = os.pipe()
    seconds = iter([9.0, 10.0, 10.5, 11.0, 11.5, 12.0])
    handout = Handout(tmp_path / "data.bin", most_s=1.5)
    handout.begin(os.fdopen(writing, "wb", buffering=0), lambda: next(seconds))
    with os.fdopen(reading, "rb") as file:
        assert file.read(1) == LET_IN
        assert len(file.read()) == 1 + 2 * 4096
    assert (handout.steps_s(11.8), handout.head_s) == (pytest.approx(1.8), 10.0)


def test_handout_ends_when_a_program_ends_without_reading(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"abc")
    reading, writing = os.pipe()
    handout = Handout(tmp_path / "data.bin")
    handout.begin(os.fdopen(writing, "wb", buffering=0), lambda: 25.0)
    os.close(reading)
    assert (handout.steps_s(7.0), handout.head_s) == (7.0, None)


@pytest.mark.sandbox
def test_handout_a_training_with_a_budget_in_seconds_takes_as_much_text_as_it_can(tmp_path: Path) -> None:
    tier = replace(SMOKE, compute_s=0.2)
    done = cache.train(Change(), 3, tier, splits=("val",), home=tmp_path, sandbox=find())
    assert done.status is TrainingStatus.OK, done.detail
    assert 0 < done.n_tokens < tier.train_tokens
    assert done.evidence["steps_s"] < 0.2 + 0.4


@pytest.mark.sandbox
def test_handout_in_the_sandbox_gives_the_training_of_the_file(tmp_path: Path) -> None:
    n_bytes = SMOKE.train_tokens // SMOKE.context * (SMOKE.context + 1)
    data = np.random.default_rng(1).integers(0, SMOKE.vocab_size, size=n_bytes, dtype="u1").tobytes()
    sandbox = find()
    weights = [
        trained(sandbox, tmp_path / name, data, is_handed_out=name == "handed") for name in ("handed", "read")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def trained(sandbox: Sandbox, work: Path, data: bytes, *, is_handed_out: bool) -> dict[str, torch.Tensor]:
    """The weights of a training of the tier `smoke`."""
    work.mkdir()
    work.chmod(0o755)
    out = work / "out"
    out.mkdir()
    inputs = {name: work / name for name in ("script.py", "config.json", "data.bin")}
    inputs["script.py"].write_text(scripts.shipped(SMOKE))
    inputs["data.bin"].write_bytes(data)
    config = {
        "data": train.HANDED_OUT if is_handed_out else sandbox.inside("data.bin", inputs["data.bin"]),
        "out": sandbox.inside_out(out), "seed": 3, "train_tokens": SMOKE.train_tokens,
        "context": SMOKE.context, "vocab_size": SMOKE.vocab_size, "token_bytes": 1,
        "params": dict(SMOKE.params),
    }  # fmt: skip
    inputs["config.json"].write_text(json.dumps(config))
    inputs["launch.py"] = Path(shutil.copyfile(LAUNCH, work / "launch.py"))
    given = {name: path for name, path in inputs.items() if name != "data.bin" or not is_handed_out}
    make_readable(given.values())
    inside = [sandbox.inside(name, inputs[name]) for name in ("launch.py", "script.py", "config.json")]
    argv = python_command(inside[0], "", *inside[1:])
    spec = SandboxSpec(given, out, SMOKE.limits, {"OMP_NUM_THREADS": "1"})
    process = sandbox.start(argv, spec, with_pipes=True, reads_stdout=True)
    assert process.process.stdin is not None
    handout = Handout(inputs["data.bin"])
    handout.begin(process.process.stdin, process.cpu_now_s)
    end = process.wait()
    assert end.returncode == 0, end.stderr_tail
    if is_handed_out:
        steps_s = handout.steps_s(end.cpu_s)
        assert 0.0 < steps_s < end.cpu_s
        assert handout.head_s == pytest.approx(end.cpu_s - steps_s)
        assert 0.0 < handout.let_in_s <= handout.head_s
    copy = work / "checkpoint.pt"
    shutil.copyfile(out / "checkpoint.pt", copy)
    found: dict[str, torch.Tensor] = torch.load(copy, weights_only=True)["state"]
    return found
