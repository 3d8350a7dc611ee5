"""Small models in float32 on the device, against float64 on the CPU."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.gpu_check.findings import Findings
from runners.research.problem import train
from runners.research.problem.tiers import CPU

# Logits here are of order 1, float32 has 1.2e-7 per operation; TF32, which must not be in use, has 1e-3.
TOLERANCE = 1e-4
N_WRITTEN = 32  # tokens


def check_float32(findings: Findings, device: str) -> None:
    """The GPT of research, the shape of the tier `cpu`."""
    torch.manual_seed(1)
    config = {
        "params": {**CPU.params, "head_init_std": 0.5},
        "vocab_size": CPU.vocab_size,
        "context": CPU.context,
    }
    model = train.build_model(config)
    for weight in model.parameters():  # the output projections begin at zero and would hide the blocks
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    tokens = torch.randint(CPU.vocab_size, (4, CPU.context))
    with torch.no_grad():
        exact = model.double()(tokens)
        found = model.float().to(device)(tokens.to(device))
    _compare(findings, "gpt_logits", exact, found)


def check_transformers(findings: Findings, device: str) -> None:
    """A Llama with random weights: its logits, and what it writes greedily."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    shape: dict[str, Any] = {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.2,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    tokens = torch.randint(512, (2, 96))
    with torch.no_grad():
        exact_model = model.double()
        exact, written = exact_model(tokens).logits, _written(exact_model, tokens)
        model = model.float().to(device)
        found = model(tokens.to(device)).logits
        _compare(findings, "llama_logits", exact, found)
        ours = _written(model, tokens.to(device)).cpu()
    n_equal = int((ours == written).sum())
    findings.decide("llama_greedy", n_equal == written.numel(), f"{n_equal} of {written.numel()} tokens")


def _written(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The tokens that it writes greedily after `tokens`, each from the whole text so far."""
    text = tokens
    for _ in range(N_WRITTEN):
        text = torch.cat([text, model(text).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return text[:, tokens.size(1) :]


def _compare(findings: Findings, assumption: str, exact: torch.Tensor, found: torch.Tensor) -> None:
    scale = float(exact.std())
    worst = float((exact - found.cpu().double()).abs().max()) / scale
    findings.figure(f"{assumption}_difference", float(f"{worst:.2e}"))
    findings.decide(assumption, worst <= TOLERANCE, f"at most {worst:.1e} of their standard deviation")
