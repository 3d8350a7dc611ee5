"""The typed space of the `params` track: which numbers may change, between which bounds, and what they mean.

Pure: values in, values or a sentence out. The sentences are made to be shown to a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from runners.research.problem import script
from runners.research.problem.tiers import Tier
from runners.research.problem.tunables import Number, Tunable
from tracker.records.studies import CATEGORIES, Change, Params

MIN_STEPS = 20  # fewer show nothing
N_TABLES = 2  # of the script, if `ngram_buckets` is not 0


Text = tuple[str, str]  # what it means, source of the default


def _linear(name: str, category: str, low: float, high: float, text: Text) -> Tunable:
    return Tunable(name, "float", _DEFAULTS[name], category, *text, low=low, high=high)


def _log(name: str, category: str, low: float, high: float, text: Text) -> Tunable:
    return Tunable(name, "float", _DEFAULTS[name], category, *text, low=low, high=high, log=True)


def _choice(name: str, category: str, choices: tuple[Number, ...], text: Text) -> Tunable:
    kind = "int" if all(isinstance(c, int) for c in choices) else "float"
    return Tunable(name, kind, _DEFAULTS[name], category, *text, choices=choices)


# the same numbers as the script's block on top; a test holds the two together
_DEFAULTS: Mapping[str, Number] = {
    "matrix_lr": 0.006, "embedding_lr": 0.03, "head_lr": 0.006,
    "weight_decay": 0.1,
    "beta1": 0.9, "beta2": 0.95, "eps": 1e-8,
    "warmup_fraction": 0.02, "cooldown_fraction": 0.5, "final_lr_fraction": 0.0,
    "matrix_init_scale": 1.0, "embedding_init_std": 1.0, "head_init_std": 0.001,
    "n_layer": 2, "d_model": 64, "n_head": 2, "mlp_ratio": 4, "softcap": 15.0,
    "ngram_buckets": 0, "rope_base": 10000.0,
    "batch_size": 16, "grad_clip": 1.0,
}  # fmt: skip
GPT3 = "GPT-3, arXiv 2005.14165"
NANOCHAT = "karpathy/nanochat"
SPACE: tuple[Tunable, ...] = (
    _log("matrix_lr", "learning_rate", 1e-4, 0.1,
         ("peak learning rate of the weights inside the blocks", "docs/benchmarks.md")),
    _log("embedding_lr", "learning_rate", 1e-4, 1.0,
         ("peak learning rate of the token embedding", "5 × matrix_lr")),
    _log("head_lr", "learning_rate", 1e-4, 0.1,
         ("peak learning rate of the output layer", "equal to matrix_lr")),
    _log("weight_decay", "decay", 0.001, 5.0,
         ("AdamW's weight decay, on the weights inside the blocks", GPT3)),
    _linear("beta1", "betas", 0.5, 0.98, ("AdamW's decay rate of the mean gradient", GPT3)),
    _linear("beta2", "betas", 0.8, 0.9995, ("AdamW's decay rate of the mean squared gradient", GPT3)),
    _log("eps", "betas", 1e-12, 1e-4,
         ("AdamW's small constant in the denominator", "arXiv 1711.05101")),
    _linear("warmup_fraction", "schedule", 0.0, 0.5,
         ("fraction of training during which the learning rate rises from 0", "docs/benchmarks.md")),
    _linear("cooldown_fraction", "schedule", 0.0, 1.0,
         ("fraction of training, at its end, during which the learning rate falls", NANOCHAT)),
    _linear("final_lr_fraction", "schedule", 0.0, 0.5,
         ("final learning rate as a fraction of the peak", NANOCHAT)),
    _log("matrix_init_scale", "initialisation", 0.1, 4.0,
         ("scale of the initial weights inside the blocks; 1: deviation of 1/sqrt(d_model)", NANOCHAT)),
    _log("embedding_init_std", "initialisation", 0.01, 4.0,
         ("standard deviation of the initial token embedding", NANOCHAT)),
    _log("head_init_std", "initialisation", 1e-5, 0.3,
         ("standard deviation of the initial output layer", NANOCHAT)),
    _choice("n_layer", "architecture", (1, 2, 3, 4), ("number of blocks", "docs/benchmarks.md")),
    _choice("d_model", "architecture", (32, 48, 64, 80, 96), ("width of the model", "docs/benchmarks.md")),
    _choice("n_head", "architecture", (1, 2, 4, 8), ("number of attention heads", "docs/benchmarks.md")),
    _choice("mlp_ratio", "architecture", (1, 2, 3, 4, 6, 8), ("width of the MLP ÷ d_model", "GPT-2")),
    _choice("softcap", "architecture", (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0),
            ("logits are capped at plus or minus this by a tanh; 0 disables it", NANOCHAT)),
    _choice("ngram_buckets", "architecture", (0, 64, 128, 256),
            ("rows of each of two tables that add a vector for the last 2 and 3 tokens; 0: none",
             "arXiv 2501.16975")),
    _log("rope_base", "architecture", 10.0, 1e6,
         ("base of the rotary position encoding", "arXiv 2104.09864")),
    _choice("batch_size", "batch", (4, 8, 16, 32, 64),
            ("sequences per step; halving it doubles the number of steps", "docs/benchmarks.md")),
    _choice("grad_clip", "batch", (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0),
            ("maximum norm of the gradient; 0 disables clipping", GPT3)),
)  # fmt: skip


def tunables(tier: Tier) -> tuple[Tunable, ...]:
    """The space with the defaults and the choices of `tier`."""
    return tuple(
        dataclasses.replace(
            tunable,
            default=tier.params.get(tunable.name, tunable.default),
            choices=tier.choices.get(tunable.name, tunable.choices),
        )
        for tunable in tier.numbers or SPACE
    )


def validate(params: Mapping[str, object], tier: Tier) -> Params:
    """The parameters that differ from the defaults of `tier`, cleaned.

    Raises:
        ValueError: something is outside the space; one sentence per problem.
    """
    known = {tunable.name: tunable for tunable in tunables(tier)}
    problems = [_unknown(name, known) for name in params if name not in known]
    problems += [p for name, v in params.items() if name in known and (p := known[name].problem(v))]
    if problems:
        raise ValueError("; ".join(problems))
    cleaned = {name: known[name].cleaned(value) for name, value in params.items()}  # type: ignore[arg-type]
    values = {name: tunable.default for name, tunable in known.items()} | cleaned
    if problems := [] if tier.numbers else _conflicts(values, tier):
        raise ValueError("; ".join(problems))
    return normalised(cleaned, tier)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f", did you mean `{near[0]}`?" if near else f", there are {', '.join(known)}"
    return f"there is no number called `{name}`{hint}"


def _conflicts(values: Mapping[str, Number], tier: Tier) -> list[str]:
    """Conflicts between values, one sentence each."""
    found = []
    d_model, n_head, batch = values["d_model"], values["n_head"], values["batch_size"]
    if d_model % (2 * n_head):
        found.append(f"`d_model` must be a multiple of 2 × `n_head`, got {d_model} and {n_head}")
    if values["warmup_fraction"] + values["cooldown_fraction"] > 1.0:
        found.append(
            "`warmup_fraction` + `cooldown_fraction` must be at most 1, got "
            f"{values['warmup_fraction']} + {values['cooldown_fraction']}"
        )
    if (n_steps := tier.train_tokens // (int(batch) * tier.context)) < MIN_STEPS:
        found.append(f"`batch_size` {batch} leaves {n_steps} steps, and at least {MIN_STEPS} are needed")
    if (size := n_params(values, tier)) > tier.max_params:
        found.append(
            f"the model would have {size:,} parameters, and at most {tier.max_params:,} are allowed: "
            "make `d_model`, `n_layer` or `mlp_ratio` smaller"
        )
    return found


def n_params(values: Mapping[str, Number], tier: Tier) -> int:
    """Parameters of the shipped model with these numbers."""
    width = int(values["d_model"])
    block = (4 + 2 * int(values["mlp_ratio"])) * width * width
    tables = N_TABLES * int(values["ngram_buckets"])
    return int(values["n_layer"]) * block + (2 * tier.vocab_size + tables) * width


def normalised(params: Params, tier: Tier) -> Params:
    """`params` without those that equal the defaults of `tier`, in the order of the space."""
    known = [t for t in tunables(tier) if t.name in params]
    return {t.name: params[t.name] for t in known if params[t.name] != t.default}


def values(change: Change, tier: Tier) -> dict[str, Any]:
    """Every number that `change` is trained with: the script's own, and over them the proposed ones.

    Raises:
        SyntaxError, ValueError: the edited script has no readable block of numbers.
    """
    return script.numbers(change.script or script.shipped(tier)) | dict(change.params)


def diff(parent: Change, child: Change, tier: Tier) -> tuple[str, ...]:
    """Names of the numbers that differ, whether changed by `params` or in the script."""
    before, after = values(parent, tier), values(child, tier)
    return tuple(name for name in before | after if before.get(name) != after.get(name))


# which part of the script speaks for which category; anything else is architecture
_PARTS = {
    "initialise": "initialisation",
    "adamw": "betas",
    "Optimizer": "betas",
    "lr_scale": "schedule",
    "Trainer": "batch",
}


def categories(parent: Change, child: Change, tier: Tier) -> tuple[str, ...]:
    """The categories that the child changes, in the order of `CATEGORIES`."""
    of = {tunable.name: tunable.category for tunable in tunables(tier)}
    touched = {of.get(name, "architecture") for name in diff(parent, child, tier)}
    if parent.script != child.script:
        before = script.definitions(parent.script or script.shipped(tier))
        after = script.definitions(child.script or script.shipped(tier))
        changed = {name for name in before | after if before.get(name) != after.get(name)} - {script.BLOCK}
        touched |= {_PARTS.get(name, "architecture") for name in changed}
    return tuple(category for category in CATEGORIES if category in touched)


def json_schema(tier: Tier, names: Iterable[str] | None = None) -> dict[str, Any]:
    """JSON schema of an object with at least one of these numbers (all, if None) and nothing else."""
    chosen = [t for t in tunables(tier) if names is None or t.name in set(names)]
    return {
        "type": "object",
        "properties": {t.name: _schema(t) for t in chosen},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _schema(tunable: Tunable) -> dict[str, Any]:
    kind = {"type": "integer" if tunable.kind == "int" else "number", "description": tunable.what}
    if tunable.choices:
        return kind | {"enum": list(tunable.choices)}
    return kind | {"minimum": tunable.low, "maximum": tunable.high}
