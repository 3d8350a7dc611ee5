"""Trainings of auto-research: the same twice, in the sandbox, and compiled with their speed."""

from __future__ import annotations

import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.findings import Findings
from benchmarks.gpu_check.programs import run_program
from runners.research.problem import train
from runners.research.problem.tiers import GPU, GPU_SMALL, SMOKE, Tier
from tracker.interpreter import python_command, python_environment

SCRIPT = Path(train.__file__)
GATE_NATS = 0.002  # on a card, smaller gains could pass unseen: `docs/auto-research.md`, "What is refused"
SHORT_STEPS = 300  # of the tier `gpu-small`: 10 s of the 25 s that its 768 take on an H100 by estimate
GPT2_STEPS = 30  # of the tier `gpu`, of 1,024


@dataclass(frozen=True, slots=True)
class Trained:
    """One finished training."""

    losses: tuple[float, ...]
    report: dict[str, Any]
    wall_s: float


def check_training(findings: Findings, device: str) -> None:
    """The tier `smoke` twice with one seed."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (trained(Path(folder, name), SMOKE, device) for name in ("first", "second"))
    findings.figure("start_up_s", round(first.wall_s - first.report["train_s"], 1))
    findings.figure("losses_are_equal", "yes" if first.losses == second.losses else "no")
    worst = max(abs(a - b) for a, b in zip(first.losses, second.losses, strict=True))
    most = 0.0 if device == "cpu" else GATE_NATS
    findings.decide("same_losses", worst <= most, f"at most {worst:.1e} nats apart, {most:g} allowed")
    _decide_learning(findings, "loss_falls", first)


def check_compiled(findings: Findings, device: str) -> None:
    """The tier `gpu-small` with fewer steps: its speed, and how long it takes to start."""
    _decide_learning(findings, "compiles", _timed(findings, GPU_SMALL, device, n_steps=SHORT_STEPS))


def check_gpt2(findings: Findings, device: str) -> None:
    """The tier `gpu`, GPT-2 124M, with few steps: its speed, and what a whole training would take."""
    done = _timed(findings, GPU, device, n_steps=GPT2_STEPS)
    whole_s = GPU.train_tokens / done.report["tokens_per_s"]
    findings.figure("whole_training_min", round(whole_s / 60, 1))
    _decide_learning(findings, "gpt2_learns", done)


def _timed(findings: Findings, tier: Tier, device: str, *, n_steps: int) -> Trained:
    tokens = n_steps * int(tier.params["batch_size"]) * tier.context
    with tempfile.TemporaryDirectory() as folder:
        done = trained(Path(folder, "timed"), tier, device, train_tokens=tokens)
    report = done.report
    for name in ("tokens_per_s", "mfu", "train_s", "n_params"):
        findings.figure(name, report[name])
    findings.figure("peak_mib", report["peak_memory_bytes"] >> 20)
    findings.figure("wall_s", round(done.wall_s, 1))
    findings.figure("start_up_and_compiling_s", round(done.wall_s - tokens / report["tokens_per_s"], 1))
    return done


def check_sandbox(findings: Findings, device: str) -> None:
    """A training where the files, the network and the environment are hidden."""
    from runners.sandbox.run import EndStatus, SandboxSpec, find, make_readable

    tier = SMOKE if device == "cpu" else GPU_SMALL
    sandbox = find()
    findings.figure("sandbox", str(sandbox.kind))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o755)
        write_inputs(
            work, tier, device, train_tokens=4 * int(tier.params["batch_size"]) * tier.context,
            data=sandbox.inside("data.bin", work / "data.bin"), out=sandbox.inside_out(work / "out"),
        )  # fmt: skip
        (work / "script.py").write_bytes(SCRIPT.read_bytes())
        inputs = {name: work / name for name in ("script.py", "config.json", "data.bin")}
        make_readable(inputs.values())
        spec = SandboxSpec(
            inputs, work / "out", tier.limits, {"OMP_NUM_THREADS": "1"}, needs_gpu=device != "cpu"
        )
        end = sandbox.run(
            python_command(*(sandbox.inside(n, inputs[n]) for n in ("script.py", "config.json"))), spec
        )
        is_written = (work / "out" / "checkpoint.pt").exists()
    said = (end.stderr_tail.strip().splitlines() or [f"exit code {end.returncode}"])[-1]
    good = end.status is EndStatus.ENDED and end.returncode == 0 and is_written
    findings.figure("sandbox_wall_s", round(end.wall_s, 1))
    findings.decide("sandboxed", good, f"{sandbox.kind}" if good else f"{end.status}: {said}")


def trained(folder: Path, tier: Tier, device: str, *, train_tokens: int | None = None) -> Trained:
    """Run the shipped script on text in which each byte follows from the one before."""
    folder.mkdir()
    out = folder / "out"
    write_inputs(folder, tier, device, train_tokens=train_tokens, data=str(folder / "data.bin"), out=str(out))
    started = time.monotonic()
    run_program(python_command(str(SCRIPT), str(folder / "config.json")), python_environment())
    wall_s = time.monotonic() - started
    curve = [json.loads(line) for line in (out / "curve.jsonl").read_text().splitlines()]
    return Trained(tuple(loss for _, loss in curve), json.loads((out / "report.json").read_text()), wall_s)


def write_inputs(
    folder: Path, tier: Tier, device: str, *, train_tokens: int | None, data: str, out: str
) -> None:
    """The data and the configuration of a training; `data` and `out` are the script's own paths."""
    n_tokens = train_tokens or tier.train_tokens
    (folder / "out").mkdir()
    step = random.Random(1).randbytes(
        1 << 16
    )  # 0 or 1 more than the token before: learned within a few steps
    token, text = 0, bytearray()
    while len(text) < 1 << 16:
        token = (token + 1 + (step[len(text)] & 1)) % min(tier.vocab_size, 256)
        text.append(token)
    n_bytes = n_tokens // tier.context * (tier.context + 1)
    (folder / "data.bin").write_bytes((bytes(text) * (n_bytes // len(text) + 1))[:n_bytes])
    config = {
        "data": data, "out": out, "seed": 1, "train_tokens": n_tokens, "context": tier.context,
        "vocab_size": tier.vocab_size, "token_bytes": 1, "device": device,
        "compile": device != "cpu" and tier.compile, "micro_batch": tier.micro_batch,
        "params": dict(tier.params),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def _decide_learning(findings: Findings, assumption: str, done: Trained) -> None:
    first, last = done.losses[0], done.losses[-1]
    findings.decide(assumption, last < 0.8 * first, f"loss {first:.3f} to {last:.3f}")
