"""Training speed of the auto-research script compared with a plain GPT-2 of the same shape.

`python -m benchmarks.research_training [--tier T] [--rounds N] [--steps N]`. Both alternate in one process.
Plain: GPT2LMHeadModel of transformers with torch's AdamW and clipping, on the same batches. On a CPU the time
is the CPU time of this process on one thread, so that other processes have no effect; on a card it is the
wall time, and the script's model FLOPs utilization is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.research_effects import module_of
from runners.research.problem import script, space
from runners.research.problem.tiers import TIERS, Tier
from tracker.records.studies import Change

Step = Callable[[list[torch.Tensor]], object]


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    n_params: int
    step: Step


def ours(at: Tier, module: Any) -> Contestant:
    t = module.Tunables()
    config = {"params": {}, "vocab_size": at.vocab_size, "context": at.context}
    model = module.build_model(config).to(at.device)
    trainer = module.Trainer(model, t, compiled=at.compile)
    size = sum(weight.numel() for weight in model.parameters())
    return Contestant("the script", size, lambda parts: trainer.step(parts, 0.3))


def plain(at: Tier) -> Contestant:
    from transformers import GPT2Config, GPT2LMHeadModel

    values = space.values(Change(), at)
    config = GPT2Config(
        vocab_size=at.vocab_size, n_positions=at.context, n_embd=values["d_model"],
        n_layer=values["n_layer"], n_head=values["n_head"],
        n_inner=values["mlp_ratio"] * values["d_model"],
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(at.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, fused=at.device == "cuda")
    forward = torch.compile(model, dynamic=False) if at.compile else model
    cross_entropy = torch.nn.functional.cross_entropy

    def step(parts: list[torch.Tensor]) -> None:
        for tokens in parts:
            with torch.autocast("cuda", torch.bfloat16, enabled=at.device == "cuda"):
                logits = forward(tokens[:, :-1]).logits
            loss = cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten()) / len(parts)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Contestant("plain GPT-2", sum(weight.numel() for weight in model.parameters()), step)


def now(at: Tier) -> float:
    if at.device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="cpu", choices=TIERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    at = TIERS[arguments.tier]
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    module = module_of(script.shipped(at))
    contestants = [ours(at, module), plain(at)]
    batch_size = module.Tunables().batch_size
    rows = torch.randint(0, at.vocab_size, (batch_size, at.context + 1)).to(at.device)
    parts = list(rows.split(at.micro_batch or batch_size))
    speeds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for _ in range(1 + arguments.rounds):  # the first round warms up
        for contestant in contestants:
            started = now(at)
            for _ in range(arguments.steps):
                contestant.step(parts)
            n_tokens = arguments.steps * batch_size * at.context
            speeds[contestant.name].append(n_tokens / (now(at) - started))
    kind = "second" if at.device == "cuda" else "CPU second"
    for contestant in contestants:
        measured = speeds[contestant.name][1:]
        print(
            f"{contestant.name}: {contestant.n_params:,} parameters, {statistics.median(measured):,.0f} "
            f"tokens per {kind} ({min(measured):,.0f} to {max(measured):,.0f})"
        )
    each = [a / b for a, b in zip(*(speeds[c.name][1:] for c in contestants), strict=True)]
    print(f"ratio: {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})")
    if at.device == "cuda":
        job = module.Job("", "", 0, 0, at.context, at.vocab_size, 1, device=at.device)
        peak = module.peak_flops(job)
        model = module.build_model({"params": {}, "vocab_size": at.vocab_size, "context": at.context})
        flops = module.flops_per_token(model, module.Tunables(), at.context)
        speed = statistics.median(speeds["the script"][1:])
        print(f"{torch.cuda.get_device_name()}: MFU {f'{speed * flops / peak:.1%}' if peak else 'unknown'}")


if __name__ == "__main__":
    main()
