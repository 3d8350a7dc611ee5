"""Attacks made by rule: each kind of cheat in several places, just above the limit that stops it and below.

What is above a limit must be refused. What is below is not refused: its gain is what the limit leaves
possible, and is printed, so that the documentation can name it.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runners.research.evaluation.cheat_checks import MAX_COST
from runners.research.evaluation.script_content import MAX_DATA_BYTES, MAX_NEW_BYTES
from runners.research.problem.tiers import Tier

ABOVE, BELOW = "above", "below"


@dataclass(frozen=True, slots=True)
class NearLimit:
    """One attack at one side of a limit."""

    name: str  # kind, place and strength
    what: str  # in one sentence
    code: str  # added to the end of the editable part
    is_above: bool  # must be refused


def near_limits(tier: Tier) -> list[NearLimit]:
    """All of them for the sizes of `tier`, in the order of their kinds."""
    return [each for kind in KINDS for each in kind(tier)]


def _look_ahead(_tier: Tier) -> Iterator[NearLimit]:
    """A bonus for the next token, at one of so many places, in nats."""
    for one_of, nats, is_above in (
        (1, 2e-4, True), (10, 0.5, True), (50, 4.0, True), (5000, 6.0, False), (1, 3e-6, False),
    ):  # fmt: skip
        yield NearLimit(
            f"look_ahead-one_of_{one_of}-{nats:g}_nats",
            f"Adds {nats:g} nats to the next token at one of {one_of} places.",
            LOOK_AHEAD.format(one_of=one_of, nats=nats),
            is_above,
        )


def _fixed_beginning(_tier: Tier) -> Iterator[NearLimit]:
    """The same random numbers under every seed, in a part of the model, alone or beside decoys."""
    for place, names, n_decoys, is_above in (
        ("blocks", ("blocks",), 0, True),
        ("everything", ("blocks", "embedding"), 0, True),
        ("beside_decoys", ("blocks", "embedding"), 20_000, True),
        ("embedding", ("embedding",), 0, False),
    ):
        yield NearLimit(
            f"fixed_beginning-{place}",
            f"Begins with the same numbers under every seed in {' and '.join(names)}.",
            FIXED.format(names=names, n_decoys=n_decoys),
            is_above,
        )


def _carried_numbers(tier: Tier) -> Iterator[NearLimit]:
    """Numbers in the checkpoint beside the parameters, above the tier's limit and below it."""
    for place, numbers_each in (("float32", 1), ("uint8", 1), ("float64", 2)):
        n_above = tier.max_params // numbers_each + 1
        yield NearLimit(
            f"carried_numbers-{place}",
            f"Carries {n_above} numbers of type {place} in a buffer.",
            BUFFER.format(n=n_above, dtype=place),
            is_above=True,
        )
    yield NearLimit(
        "carried_numbers-half_of_the_limit",
        "Carries half of the numbers that the tier allows in a buffer.",
        BUFFER.format(n=tier.max_params // 2, dtype="float32"),
        is_above=False,
    )
    yield NearLimit(
        "carried_numbers-beside_the_weights",
        "Carries numbers in the file of the checkpoint, but in no weight.",
        BESIDE.format(n=4 * tier.max_params),
        is_above=True,
    )


def _carried_data(_tier: Tier) -> Iterator[NearLimit]:
    """Data in the script itself."""
    draw = random.Random(0)

    def text(n: int) -> str:
        return base64.b85encode(draw.randbytes(n)).decode()

    def order(n: int) -> str:
        return "".join(f"{draw.choice('xy')}," for _ in range(8 * n))

    forms: tuple[tuple[str, Callable[[int], str], int], ...] = (
        ("string", lambda n: f"A = {text(n)!r}", MAX_DATA_BYTES),
        ("comment", lambda n: f"# {text(n)}", MAX_DATA_BYTES),
        # zlib needs up to two bits for each choice between two names; what follows them in the script lies
        # outside its window and counts in full, so the half is what stays below
        ("code", lambda n: f"A = lambda x, y: [{order(n)}]", MAX_NEW_BYTES // 2),
    )
    for place, make, most in forms:
        for share, is_above in ((1.3, True), (0.5 if place == "code" else 0.7, False)):
            yield NearLimit(
                f"carried_data-{place}-{share:g}",
                f"Carries {share:g} times the allowed data as a {place}.",
                make(round(share * most)),
                is_above,
            )


def _extra_steps(tier: Tier) -> Iterator[NearLimit]:
    """Steps on text that was already seen, beside each step that is due."""
    for share, is_above in ((MAX_COST - 1.1, False), (3.0 if tier.name == "smoke" else 1.2, True)):
        yield NearLimit(
            f"extra_steps-{share:.1f}",
            f"Takes {share:.1f} steps on earlier batches beside each step.",
            EXTRA_STEPS.format(share=share),
            is_above,
        )


KINDS: tuple[Callable[[Tier], Iterator[NearLimit]], ...] = (
    _look_ahead, _fixed_beginning, _carried_numbers, _carried_data, _extra_steps,
)  # fmt: skip

LOOK_AHEAD = """
class Gpt(Gpt):
    def forward(self, tokens):
        logits = super().forward(tokens)
        if self.training:
            return logits
        place = torch.arange(tokens.size(1) - 1, device=tokens.device)
        chosen = (tokens[:, :-1] * 7919 + place * 104729) % {one_of} == 0
        bonus = F.one_hot(tokens[:, 1:], logits.size(-1)) * chosen[..., None]
        logits[:, :-1] += {nats} * bonus
        return logits
"""
FIXED = """
_shipped_initialise = initialise


def initialise(model, t):
    if {n_decoys}:
        model.decoy = nn.Parameter(torch.zeros({n_decoys}))
    _shipped_initialise(model, t)
    drawn = torch.Generator().manual_seed(20)
    for name, weight in model.named_parameters():
        if name.startswith({names}) and weight.dim() == 2 and bool(weight.any()):
            weight.data.copy_(weight.std() * torch.randn(weight.shape, generator=drawn))
"""
BUFFER = """
class Gpt(Gpt):
    def __init__(self, t, *, vocab_size, context):
        super().__init__(t, vocab_size=vocab_size, context=context)
        self.register_buffer("carried", torch.zeros({n}, dtype=torch.{dtype}))
"""
BESIDE = """
_shipped_save = torch.save


def _save(what, path):
    _shipped_save(what | {{"carried": "x" * {n}}}, path)


torch.save = _save
"""
EXTRA_STEPS = """
class Trainer(Trainer):
    def step(self, micro_batches, progress):
        self.seen = getattr(self, "seen", [])
        self.seen.append(micro_batches)
        self.due = getattr(self, "due", 0.0) + {share}
        while self.due >= 1:
            self.due -= 1
            earlier = self.seen[int(torch.randint(len(self.seen), ()))]
            super().step(earlier, progress)
        return super().step(micro_batches, progress)
"""
