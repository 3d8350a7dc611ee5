"""Train a small network on a table and predict classes: `python train.py config.json`.

The part between the two EDITABLE markers is what an agent on the `code` track may change. Everything else is
frozen: which rows, under which seed, and what is written. The score is not computed here: the labels of the
rows to predict are not in this process.

It needs torch alone: it runs in a sandbox, where no other package is.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# --- EDITABLE: begin ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tunables:
    """Every number that may be tuned."""

    lr: float = 0.001  # peak learning rate
    weight_decay: float = 0.01  # per unit of learning rate
    beta1: float = 0.9  # memory of the gradient
    beta2: float = 0.999  # memory of its square
    warmup_fraction: float = 0.05  # linear from 0 to the peak
    init_scale: float = 1.0  # of the initial weights
    width: int = 128
    n_hidden: int = 2  # layers
    dropout: float = 0.1
    label_smoothing: float = 0.0
    noise: float = 0.2  # standard deviation added to the inputs while training
    batch_size: int = 32
    n_epochs: int = 30


class Network(nn.Module):
    """Rows (B, F) to logits (B, C)."""

    def __init__(self, t: Tunables, *, n_features: int, n_classes: int) -> None:
        super().__init__()
        sizes = [n_features, *[t.width] * t.n_hidden, n_classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = t.dropout
        for layer in self.layers:
            layer.weight.data.mul_(t.init_scale)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.dropout(F.relu(layer(x)), self.dropout, self.training)
        return self.layers[-1](x)


def predicted(rows: Tensor, labels: Tensor, asked: Tensor, n_classes: int, t: Tunables) -> Tensor:
    """Log-probabilities (M, C) of the classes of the rows `asked`, after training on `rows` and `labels`."""
    mean, deviation = rows.mean(0), rows.std(0) + 1e-3
    rows, asked = (rows - mean) / deviation, (asked - mean) / deviation
    model = Network(t, n_features=rows.shape[1], n_classes=n_classes)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=t.lr, weight_decay=t.weight_decay, betas=(t.beta1, t.beta2)
    )
    n_steps = max(1, t.n_epochs * len(rows) // t.batch_size)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(t.n_epochs + 1)])
    for step in range(n_steps):
        chosen = order[step * t.batch_size : (step + 1) * t.batch_size]
        progress = step / n_steps
        scale = min(1.0, progress / t.warmup_fraction) if t.warmup_fraction else 1.0
        for group in optimizer.param_groups:
            group["lr"] = t.lr * scale * 0.5 * (1 + math.cos(math.pi * progress))
        x = rows[chosen] + t.noise * torch.randn(len(chosen), rows.shape[1])
        loss = F.cross_entropy(model(x), labels[chosen], label_smoothing=t.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return F.log_softmax(model(asked), dim=-1)


# --- EDITABLE: end -----------------------------------------------------------------------------------------

EXIT_DIVERGED = 21  # a prediction is not finite


def main(config_path: str) -> int:
    """The exit code; what went wrong stands on standard error."""
    job: dict[str, Any] = json.loads(Path(config_path).read_text())
    torch.set_num_threads(1)  # equal seeds give equal bits
    torch.manual_seed(job["seed"])
    n_features, n_classes, n_train = job["n_features"], job["n_classes"], job["n_train"]
    table = torch.frombuffer(bytearray(Path(job["data"]).read_bytes()), dtype=torch.float32)
    train = table[: n_train * (n_features + 1)].view(n_train, n_features + 1)
    asked = table[n_train * (n_features + 1) :].view(-1, n_features)
    t = Tunables(**job["params"])
    found = predicted(train[:, :-1].clone(), train[:, -1].long(), asked.clone(), n_classes, t).float()
    if not torch.isfinite(found).all():
        print("diverged: a prediction is not finite", file=sys.stderr, flush=True)
        return EXIT_DIVERGED
    content = bytes(found.contiguous().view(torch.uint8).flatten().tolist())
    Path(job["out"], "predictions.bin").write_bytes(content)
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
