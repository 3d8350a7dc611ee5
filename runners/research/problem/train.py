"""Train one small GPT on a fixed number of tokens, and write its weights: `python train.py config.json`.

A decoder in the family of GPT-2, with the block that small models of 2026 use: RMSNorm,
rotary positions, normalised queries and keys, ReLU², output projections that begin at zero, AdamW.

The part between the two EDITABLE markers is what an agent on the `code` track may change. Everything else is
frozen: which data, in which order, under which seed, for how many tokens, and what is written. The score is
not computed here: another process loads the checkpoint and asks the model for logits.

It needs torch alone: it runs in a sandbox, where no other package is.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import resource
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# --- EDITABLE: begin ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tunables:
    """Every number that may be tuned; the defaults are those of the `cpu` tier."""

    # learning rates: peak values of the schedule
    matrix_lr: float = 0.006  # weights of the blocks; GPT-3 at 125 M: 6e-4 (arXiv 2005.14165, table 2.1)
    embedding_lr: float = 0.03  # token embedding; 5 × matrix_lr
    head_lr: float = 0.006  # output layer
    # decay
    weight_decay: float = 0.1  # per unit of learning rate, weights of the blocks only; GPT-3 §B
    # betas
    beta1: float = 0.9  # memory of the gradient; GPT-3 §B
    beta2: float = 0.95  # memory of its square; GPT-3 §B
    eps: float = 1e-8  # under the square root's ratio; AdamW (arXiv 1711.05101)
    # schedule: shares of the training
    warmup_fraction: float = 0.02  # linear from 0 to the peak
    cooldown_fraction: float = 0.5  # linear from the peak to the final rate; nanochat
    final_lr_fraction: float = 0.0  # final rate ÷ peak; nanochat
    # initialisation
    matrix_init_scale: float = 1.0  # standard deviation × √width of the weights of the blocks; nanochat
    embedding_init_std: float = 1.0  # nanochat
    head_init_std: float = 0.001  # nanochat
    # architecture
    n_layer: int = 2
    d_model: int = 64
    n_head: int = 2
    mlp_ratio: int = 4  # width of the MLP ÷ d_model; GPT-2
    softcap: float = 15.0  # logits stay within ±softcap; 0 turns it off; nanochat
    ngram_buckets: int = 0  # rows of each table for the last 2 and 3 tokens; 0: no tables; arXiv 2501.16975
    rope_base: float = 10000.0  # longest wavelength of the rotary positions ÷ 2π; arXiv 2104.09864
    # batch
    batch_size: int = 16  # sequences per step: half of it means twice as many steps
    grad_clip: float = 1.0  # largest norm of the gradient; 0 turns it off; GPT-3 §B


N_TABLES = 2  # for the last two tokens, and for the last three
NGRAM_INIT_STD = 0.01  # hardly any beside the embedding's, and another one under each seed
HASH_PRIME = 1_000_003  # which row a run of tokens has; runs share rows


def rms_norm(x: Tensor) -> Tensor:
    """`x` with a root mean square of 1 over its last dimension."""
    return F.rms_norm(x, (x.size(-1),))


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, t: Tunables) -> None:
        super().__init__()
        self.n_head = t.n_head
        self.qkv = nn.Linear(t.d_model, 3 * t.d_model, bias=False)
        self.out = nn.Linear(t.d_model, t.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, D // self.n_head)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # three of (B, heads, T, head width)
        q, k = rms_norm(rotated(qkv[:2], cos, sin))
        y = F.scaled_dot_product_attention(q, k, qkv[2], is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Mlp(nn.Module):
    """Two layers with ReLU² between them."""

    def __init__(self, t: Tunables) -> None:
        super().__init__()
        self.up = nn.Linear(t.d_model, t.mlp_ratio * t.d_model, bias=False)
        self.down = nn.Linear(t.mlp_ratio * t.d_model, t.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """Attention and an MLP, each added to the stream that runs through the model."""

    def __init__(self, t: Tunables) -> None:
        super().__init__()
        self.attention = Attention(t)
        self.mlp = Mlp(t)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(rms_norm(x), cos, sin)
        return x + self.mlp(rms_norm(x))


class Gpt(nn.Module):
    """Tokens (B, T) to logits (B, T, V)."""

    def __init__(self, t: Tunables, *, vocab_size: int, context: int) -> None:
        super().__init__()
        self.softcap = t.softcap
        self.embedding = nn.Embedding(vocab_size, t.d_model)
        n_tables = N_TABLES if t.ngram_buckets else 0
        self.ngrams = nn.ModuleList(nn.Embedding(t.ngram_buckets, t.d_model) for _ in range(n_tables))
        self.blocks = nn.ModuleList(Block(t) for _ in range(t.n_layer))
        self.head = nn.Linear(t.d_model, vocab_size, bias=False)
        cos, sin = rotary_angles(context, t.d_model // t.n_head, base=t.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        T = tokens.size(1)
        x = self.embedding(tokens)  # (B, T, D)
        key = tokens
        for back, table in enumerate(self.ngrams, start=1):
            key = key * HASH_PRIME + F.pad(tokens, (back, 0))[:, :T]
            x = x + table((key ^ (key >> 13)) % table.num_embeddings)
        x = rms_norm(x)
        for block in self.blocks:
            x = block(x, self.cos[:T], self.sin[:T])
        logits = self.head(rms_norm(x)).float()  # (B, T, V)
        return self.softcap * torch.tanh(logits / self.softcap) if self.softcap > 0 else logits


def rotary_angles(context: int, width: int, *, base: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position × frequency, each (context, width / 2)."""
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (…, T, width), its two halves turned against each other by the angle of each position."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def initialise(model: nn.Module, t: Tunables) -> None:
    """Draw each weight from a stream of its own, so that one more layer leaves the others as they were."""
    for name, weight in model.named_parameters():
        stream = torch.Generator().manual_seed(torch.initial_seed() ^ zlib.crc32(name.encode()))
        if name.startswith("embedding"):
            weight.data.normal_(0.0, t.embedding_init_std, generator=stream)
        elif name.startswith("head"):
            weight.data.normal_(0.0, t.head_init_std, generator=stream)
        elif name.startswith("ngrams"):
            weight.data.normal_(0.0, NGRAM_INIT_STD, generator=stream)
        elif name.endswith(("out.weight", "down.weight")):
            weight.data.zero_()
        else:
            bound = math.sqrt(3.0 / t.d_model) * t.matrix_init_scale
            weight.data.uniform_(-bound, bound, generator=stream)


def build_model(config: dict[str, Any]) -> nn.Module:
    """The model for `params`, `vocab_size` and `context` of the config; the evaluator calls this too."""
    t = Tunables(**config["params"])
    model = Gpt(t, vocab_size=config["vocab_size"], context=config["context"])
    initialise(model, t)
    return model


def adamw(weight: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, numbers: Iterable[Any]) -> None:
    """One step in place (arXiv 1711.05101); `numbers` are rate, decay, betas, eps and bias corrections."""
    rate, decay, beta1, beta2, eps, correct1, correct2 = numbers
    weight.mul_(1 - rate * decay)
    mean.lerp_(gradient, 1 - beta1)
    square.lerp_(gradient.square(), 1 - beta2)
    weight.sub_(rate / correct1 * mean / ((square / correct2).sqrt() + eps))


class Optimizer:
    """AdamW with a learning rate per kind of weight, and decay on the weights of the blocks alone."""

    def __init__(self, model: nn.Module, t: Tunables, *, compiled: bool) -> None:
        self.t = t
        self.n_steps = 0
        self.compiled = compiled
        self.update = torch.compile(adamw, dynamic=False) if compiled else adamw
        self.weights: list[tuple[Tensor, float, float, Tensor, Tensor]] = []
        for name, weight in model.named_parameters():
            kind = name.split(".")[0]
            rates = {"embedding": t.embedding_lr, "ngrams": t.embedding_lr, "head": t.head_lr}
            rate = rates.get(kind, t.matrix_lr)
            decay = t.weight_decay if kind == "blocks" else 0.0
            self.weights.append((weight, rate, decay, torch.zeros_like(weight), torch.zeros_like(weight)))

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move every weight at `scale` times its learning rate; the gradients are dropped."""
        self.n_steps += 1
        t = self.t
        correct1, correct2 = 1 - t.beta1**self.n_steps, 1 - t.beta2**self.n_steps
        for weight, rate, decay, mean, square in self.weights:
            if weight.grad is None:  # it took no part
                continue
            numbers: Any = (rate * scale, decay, t.beta1, t.beta2, t.eps, correct1, correct2)
            if self.compiled:  # a number that changes would be compiled again at every step
                numbers = torch.tensor(numbers).to(weight.device, non_blocking=True)
            self.update(weight, weight.grad, mean, square, numbers)
            weight.grad = None


def lr_scale(progress: float, t: Tunables) -> float:
    """Share of the peak learning rate at `progress` in 0..1 of the training."""
    if progress < t.warmup_fraction:
        return progress / t.warmup_fraction
    if progress > 1 - t.cooldown_fraction:
        left = (1 - progress) / t.cooldown_fraction
        return left + (1 - left) * t.final_lr_fraction
    return 1.0


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross-entropy in nats of predicting each next token; `tokens` is (B, T + 1)."""
    with torch.autocast("cuda", torch.bfloat16, enabled=tokens.is_cuda):
        logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


class Trainer:
    """The model with its optimiser; the loop below calls `step` once per batch."""

    def __init__(self, model: nn.Module, t: Tunables, *, compiled: bool) -> None:
        self.model = model
        self.t = t
        self.loss_of = torch.compile(loss_of, dynamic=False) if compiled else loss_of
        self.optimizer = Optimizer(model, t, compiled=compiled)

    def step(self, micro_batches: list[Tensor], progress: float) -> Tensor:
        """One step on one batch, which comes in parts; the loss that comes back is only shown."""
        n_sequences = sum(len(tokens) for tokens in micro_batches)
        total = torch.zeros((), device=micro_batches[0].device)
        for tokens in micro_batches:
            loss = self.loss_of(self.model, tokens) * (len(tokens) / n_sequences)
            loss.backward()
            total += loss.detach()
        if self.t.grad_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.t.grad_clip)
        self.optimizer.step(lr_scale(progress, self.t))
        return total


# --- EDITABLE: end -----------------------------------------------------------------------------------------

HANDED_OUT = "-"  # in place of a file: the sequences come on standard input
DTYPES = {1: torch.uint8, 2: torch.uint16}  # by bytes of a token
EXIT_DIVERGED = 21  # the loss is not finite
EXIT_OUT_OF_MEMORY = 22
N_CURVE_POINTS = 100  # at most so many and one losses are kept
# dense bfloat16 FLOP/s by a part of the card's name, from NVIDIA's data sheets; the first that fits
PEAK_FLOPS = (
    ("H200", 989e12), ("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("B200", 2250e12),
    ("A100", 312e12), ("L40S", 362e12), ("L40", 181e12), ("L4", 121e12), ("A10G", 70e12), ("A10", 125e12),
    ("RTX 5090", 209.5e12), ("RTX 4090", 165.2e12), ("RTX 3090", 71e12),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What the harness decides; `params` are numbers that differ from the defaults above."""

    data: str  # file of the sequences, each `context` + 1 tokens: little-endian unsigned integers; "-": stdin
    out: str  # folder for the checkpoint, the curve and the report
    seed: int  # of the weights; the data comes in its order already
    train_tokens: int
    context: int
    vocab_size: int
    token_bytes: int  # 1 or 2: size of one token in `data`
    device: str = "cpu"
    compile: bool = False
    micro_batch: int = 0  # sequences that go through the model at once; 0: the whole batch
    compute_s: float = 0.0  # after which no more text is handed out; 0: all of it is
    params: dict[str, Any] = dataclasses.field(default_factory=dict)


def batches(job: Job, batch_size: int) -> Iterator[list[Tensor]]:
    """Batches in the order of the file, in parts of `micro_batch`; sequences are (T + 1) tokens.

    The file holds the sequences of this one training and no others, in the order of its seed: which text, in
    which order and how much of it is decided outside, and the same for any batch size.
    """
    for sequences in handed_out(job, batch_size) if job.data == HANDED_OUT else read(job, batch_size):
        rows = sequences.long()
        yield [part.to(job.device, non_blocking=True) for part in rows.split(job.micro_batch or batch_size)]


def read(job: Job, batch_size: int) -> Iterator[Tensor]:
    """Batches from the file, which is read as it is used."""
    n_tokens = Path(job.data).stat().st_size // job.token_bytes
    tokens = torch.from_file(job.data, shared=False, size=n_tokens, dtype=DTYPES[job.token_bytes])
    sequences = tokens.view(-1, job.context + 1)
    for start in range(0, len(sequences) - batch_size + 1, batch_size):
        yield sequences[start : start + batch_size]


def handed_out(job: Job, batch_size: int) -> Iterator[Tensor]:
    """Batches from standard input, as they are handed out."""
    n_bytes = batch_size * (job.context + 1) * job.token_bytes
    while len(block := sys.stdin.buffer.read(n_bytes)) == n_bytes:
        yield torch.frombuffer(bytearray(block), dtype=DTYPES[job.token_bytes]).view(batch_size, -1)


def accelerator(asked: str) -> str:
    """The device for a job that asks for a card: Apple's where torch finds that one and no other."""
    has_apple = torch.backends.mps.is_available() and not torch.cuda.is_available()
    return "mps" if asked == "cuda" and has_apple else asked


def flops_per_token(model: nn.Module, t: Tunables, context: int) -> float:
    """Forward and backward, without the embedding's lookup (PaLM, arXiv 2204.02311, appendix B)."""
    looked_up = ("embedding", "ngrams")
    n_multiplied = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(looked_up))
    return 6.0 * n_multiplied + 12.0 * t.n_layer * t.d_model * context


def peak_flops(job: Job) -> float | None:
    """The card's peak in bfloat16, or None where it is not known."""
    if job.device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((flops for part, flops in PEAK_FLOPS if part in name), None)


def peak_memory_bytes(job: Job) -> int:
    """Of the card, or of this process on a CPU."""
    if job.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    if job.device == "mps":
        return torch.mps.driver_allocated_memory()  # now: it keeps no record of the most
    return torch.cuda.max_memory_allocated()


def now(job: Job) -> float:
    """Seconds on a clock that waits for the card."""
    if job.device != "cpu":
        (torch.mps if job.device == "mps" else torch.cuda).synchronize()
    return time.perf_counter()


def spent(job: Job) -> float:
    """Seconds of computing, as they are counted: of the processor, or on a clock beside a card."""
    return time.process_time() if job.device == "cpu" else time.perf_counter()


def train(job: Job) -> dict[str, Any]:
    """The report of a whole training; the checkpoint and the curve are written to the job's folder.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    torch.manual_seed(job.seed)
    t = Tunables(**job.params)
    config = {"params": dataclasses.asdict(t), "vocab_size": job.vocab_size, "context": job.context}
    model = build_model(config).to(job.device)
    trainer = Trainer(model, t, compiled=job.compile)
    tokens_per_step = t.batch_size * job.context
    n_steps = job.train_tokens // tokens_per_step
    every = max(1, n_steps // N_CURVE_POINTS)
    started = measured_from = now(job)
    n_measured_from = step = 0
    began = 0.0
    with Path(job.out, "curve.jsonl").open("w") as curve:
        for step, batch in zip(range(1, n_steps + 1), batches(job, t.batch_size), strict=False):
            began = spent(job) if step == 1 else began
            progress = (spent(job) - began) / job.compute_s if job.compute_s else (step - 0.5) / n_steps
            loss = trainer.step(batch, min(1.0, progress))
            if step % every and step not in (1, n_steps):
                continue
            value = float(loss)
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {step} of {n_steps}")
            curve.write(json.dumps([step * tokens_per_step, value]) + "\n")
            if not n_measured_from:  # the first step compiles
                measured_from, n_measured_from = now(job), step
    ended = now(job)
    speed = (step - n_measured_from) * tokens_per_step / max(ended - measured_from, 1e-9)
    temporary = Path(job.out, ".checkpoint.pt")
    torch.save({"config": config, "state": {k: v.cpu() for k, v in model.state_dict().items()}}, temporary)
    temporary.replace(Path(job.out, "checkpoint.pt"))
    peak = peak_flops(job)
    return {
        "n_tokens": step * tokens_per_step,
        "n_steps": step,
        "n_params": sum(p.numel() for p in model.parameters()),
        "train_s": ended - started,
        "tokens_per_s": speed,
        "mfu": speed * flops_per_token(model, t, job.context) / peak if peak else None,
        "peak_memory_bytes": peak_memory_bytes(job),
        "device": torch.cuda.get_device_name() if job.device == "cuda" else job.device,
    }


def main(config_path: str) -> int:
    """The exit code; what went wrong stands on standard error."""
    try:
        job = Job(**json.loads(Path(config_path).read_text()))
        device = accelerator(job.device)
        job = dataclasses.replace(job, device=device, compile=job.compile and device != "mps")
        if job.device == "cpu":
            torch.set_num_threads(1)  # equal seeds give equal bits
        else:
            torch.set_float32_matmul_precision("high")
        Path(job.out, "report.json").write_text(json.dumps(train(job)))
    except FloatingPointError as error:
        print(f"diverged: {error}", file=sys.stderr, flush=True)
        return EXIT_DIVERGED
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # on a CPU, torch says in words alone that there is no memory
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        print(f"out of memory: {error}", file=sys.stderr, flush=True)
        return EXIT_OUT_OF_MEMORY
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))
