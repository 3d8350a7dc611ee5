"""The last layer in float32: numbers in bfloat16 are 0.125 apart between 16 and 32, so that choices tie."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tracker.errors import EngineError


class Float32Head(torch.nn.Module):  # type: ignore[misc]
    """A linear layer whose product is computed and returned in float32, from copies of its weights."""

    def __init__(self, head: torch.nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", head.weight.detach().float(), persistent=False)
        bias = None if head.bias is None else head.bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits (…, V) of `hidden` (…, D)."""
        return functional.linear(hidden.float(), self.weight, self.bias)


def use_float32_head(model: Any) -> None:
    """Replace the last layer of `model`, unless it is in float32 already.

    Raises:
        EngineError: it is no plain linear layer (reason `unsupported`).
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        message = f"the last layer is a `{type(head).__name__}`, which cannot be computed in float32"
        raise EngineError(message, reason="unsupported", hint="leave out `--head-dtype`")
    if head.weight.dtype != torch.float32:
        model.set_output_embeddings(Float32Head(head))
