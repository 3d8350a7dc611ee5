"""One training of one change under one seed with its trusted measurement; known ones are not repeated.

A fault of the proposed code is a status of the record; a fault of ours raises. `val` and `select` of a
finished training are kept in `$TRACKER_HOME/trainings/<key>.json`, `test` never is: it is measured each time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import psutil

from runners.research.corpora.build import corpus, training_corpus
from runners.research.evaluation.cheat_checks import (
    CARD_SLACK,
    CPU_SLACK,
    DEAR,
    Finding,
    TrainingCost,
    beyond_finding,
    cost_finding,
    seconds_beside,
)
from runners.research.evaluation.evaluator import Evaluation
from runners.research.evaluation.seed_similarity import likeness_finding
from runners.research.problem import script as scripts
from runners.research.problem.tiers import TaskKind, Tier
from runners.research.training.attempt import (
    TrainingAttempt,
    TrainingContext,
    refusal,
)
from runners.research.training.least_cost import least_cost
from runners.research.training.slots import Slot, held_slot, slots_here
from runners.sandbox import run as sandboxes
from runners.sandbox.run import Sandbox
from tracker.errors import DiskFullError, TrackerError
from tracker.installation import installed_version
from tracker.records.studies import (
    Change,
    Params,
    Split,
    Training,
    TrainingStatus,
)
from tracker.serialization import dump_json, load_json, write_atomically
from tracker.wording import counted

BASELINE_HINT = "`tracker doctor` says what works on this machine"
VERSION = "6"  # of training and evaluator: another one gives other keys
KEPT_SPLITS = (str(Split.VAL), str(Split.SELECT))  # always measured, and shared by all studies of a home
# of a tier: what cannot change a result, and the script, which has its own place
NOT_IN_KEY = ("description", "choices", "limits", "program", "numbers", "script")
# what says more about the machine than about the change; and a verdict that must not be repeated unchecked
NOT_KEPT = (TrainingStatus.TIMED_OUT, TrainingStatus.OUT_OF_MEMORY, TrainingStatus.CAUGHT)
NOT_KEPT_REASONS = ("too_much_computing",)
# of the shipped script: what is over the limit even so is over a budget of seconds
WITHOUT_LIMIT = TrainingCost(math.inf, math.inf, math.inf, {}, math.inf)


class BaselineError(TrackerError):
    """The tier's defaults cannot be trained here; nothing could be compared with them."""


def key(change: Change, seed: int, tier: Tier, corpus_hash: str) -> str:
    """The fingerprint of a training: equal keys, equal results (on a CPU to the last bit)."""
    text = change.script or scripts.shipped(tier)
    sizes = {k: v for k, v in asdict(tier).items() if k not in NOT_IN_KEY}
    made_of = {
        "version": VERSION,
        "script": hashlib.sha256(text.encode()).hexdigest(),
        "params": sorted(_differing(change.params, text).items()),
        "seed": seed,
        "tier": sizes,
        "corpus": corpus_hash,
        "torch": installed_version("torch", extra="research"),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=dict).encode()).hexdigest()[:32]


def cached(
    change: Change, seed: int, tier: Tier, *, splits: Sequence[str], home: Path, sandbox: Sandbox
) -> Training:
    """The training from the home's cache, or run now and kept there; see `train`."""
    context = TrainingContext(tier, home, sandbox, corpus(tier.corpus, home))
    return cached_in(context, change, seed, splits=splits)


def train(
    change: Change, seed: int, tier: Tier, *, splits: Sequence[str], home: Path, sandbox: Sandbox
) -> Training:
    """Train `change` under `seed` and measure it on `splits`; its status says what the change did wrong.

    Raises:
        TrackerError: the corpus is missing, or the sandbox cannot be started.
        DiskFullError: no space is left.
    """
    return _trained(change, seed, TrainingContext(tier, home, sandbox, corpus(tier.corpus, home)), splits)


def cached_in(context: TrainingContext, change: Change, seed: int, *, splits: Sequence[str]) -> Training:
    """The same with a corpus that is at hand."""
    path = context.folder / f"{key(change, seed, context.tier, context.corpus.hash)}.json"
    if path.is_file():
        known = load_json(Training, path.read_bytes(), where=str(path))
        if known.status is not TrainingStatus.OK or set(splits) <= known.bpb.keys():
            return known
    return _trained(change, seed, context, splits)


def _trained(change: Change, seed: int, context: TrainingContext, splits: Sequence[str]) -> Training:
    blank = Training(
        key(change, seed, context.tier, context.corpus.hash),
        seed,
        TrainingStatus.OK,
        device=context.tier.device,
    )
    wanted = tuple(dict.fromkeys([*KEPT_SPLITS, *(str(split) for split in splits)]))
    if context.tier.kind is TaskKind.LANGUAGE_MODEL:
        _refuse_short_text(context)
    shipped = _shipped(seed, context) if change.script is not None else None
    try:
        with _slot(context, alone=shipped is not None) as slot:
            text = training_corpus(context.corpus, seed)
            context = replace(context, environment=slot.environment, corpus=text)
            training = _attempted(change, blank, context, wanted, shipped)
            if training.reason in NOT_KEPT_REASONS:  # the load may have been another one for a while
                training = _attempted(change, blank, context, wanted, shipped)
        _keep(training, context)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(context.folder)) from error
        raise
    return training


def _refuse_short_text(context: TrainingContext) -> None:
    """Raises TrackerError where a split has no whole window: there is nothing to train on, or to score."""
    needed = context.tier.context + 1
    for split, n_tokens in context.corpus.meta.n_tokens.items():
        if n_tokens < needed:
            message = f"the corpus `{context.corpus.meta.name}` has {counted(n_tokens, 'token')} of `{split}`"
            raise TrackerError(
                f"{message}, and one window of the tier `{context.tier.name}` has {needed:,}",
                hint="make the corpus of more text, or give the task a shorter context",
            )


def _attempted(
    change: Change,
    blank: Training,
    context: TrainingContext,
    splits: tuple[str, ...],
    shipped: Training | None,
) -> Training:
    """One training in a place that is held; an edited script is compared with the shipped one."""
    n_shipped = shipped.n_params or 0 if shipped else 0
    with work_folder(context.folder) as work:
        attempt = TrainingAttempt(change, blank, context, splits, work, n_shipped)
        training, seen = attempt.run()
        if shipped is None or training.status is not TrainingStatus.OK:
            return training
        finding = _cost_finding(training, seen, shipped, context, work)
        if finding is None and seen is not None:
            finding = _beyond_finding(seen, shipped) or _seed_finding(
                change, training, seen, context, work, n_shipped
            )
        return training if finding is None else _refused(training, finding)


def _slot(context: TrainingContext, *, alone: bool) -> AbstractContextManager[Slot]:
    device = context.tier.device
    return held_slot(context.folder, lambda: slots_here(device), alone=alone)


def _shipped(seed: int, context: TrainingContext) -> Training:
    """The training of the shipped script with the tier's defaults, that edited ones are compared with.

    Raises:
        BaselineError: it cannot be trained here.
    """
    shipped = cached_in(context, Change(), seed, splits=KEPT_SPLITS)
    if shipped.status is not TrainingStatus.OK:
        why = shipped.detail or shipped.reason or shipped.status.value
        message = f"the defaults of tier `{context.tier.name}` cannot be trained here: {why}"
        raise BaselineError(message, hint=BASELINE_HINT)
    return shipped


def _differing(params: Params, text: str) -> Params:
    """The numbers that are not the script's own defaults."""
    try:
        defaults = scripts.numbers(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deeply
        return params
    return {name: value for name, value in params.items() if value != defaults.get(name)}


def _keep(training: Training, context: TrainingContext) -> None:
    """Into the home's cache."""
    if (kept := to_keep(training)) is not None:
        write_atomically(context.folder / f"{training.key}.json", dump_json(kept))


def to_keep(training: Training) -> Training | None:
    """What may be kept of a training: without what is measured once only; None: it is done again."""
    if training.status in NOT_KEPT or training.reason in NOT_KEPT_REASONS:
        return None
    shared = {split: bpb for split, bpb in training.bpb.items() if split in KEPT_SPLITS}
    return replace(training, bpb=shared)


def _cost_finding(
    training: Training, seen: Evaluation | None, shipped: Training, context: TrainingContext, work: Path
) -> Finding | None:
    """Whether an edited script cost or gained what no edit may; `seen` None: the task has no evaluation.

    Where it costs clearly more, it is compared with the shipped script as it trains now, under the same load.
    """
    slack = CPU_SLACK if training.device == "cpu" else CARD_SLACK
    import_s = max(0.0, seen.startup_cpu_s - seen.torch_cpu_s) if seen else 0.0
    budget_s = context.tier.compute_s if seen else 0.0
    now, usual = (_cost(each, is_evaluated=seen is not None) for each in (training, shipped))
    check = partial(cost_finding, now, slack=slack, import_s=import_s, budget_s=budget_s)
    name = key(Change(), 0, context.tier, context.corpus.hash)
    least = least_cost(context.folder, name, usual)
    clearly_more_s = DEAR * _calm(training, shipped) * least.steps_s + slack.steps_s / 2
    is_dear = now.steps_s + seconds_beside(now, least, slack) > clearly_more_s
    finding = check(least)
    is_over = finding is not None and finding.reason in NOT_KEPT_REASONS
    if not (is_dear or is_over) or check(WITHOUT_LIMIT) is not None:
        return finding
    again, _ = TrainingAttempt(
        Change(),
        replace(training, key=shipped.key, bpb={}, evidence={}),
        context,
        KEPT_SPLITS,
        _new_folder(work / "shipped"),
    ).run()
    if again.status is not TrainingStatus.OK:
        return finding
    usual = replace(_cost(again, is_evaluated=seen is not None), bpb=usual.bpb)
    least_cost(context.folder, name, usual)
    return check(usual)


def _calm(training: Training, shipped: Training) -> float:
    """How much less CPU time importing torch took than beside the shipped script, a sign of less load."""
    now_s, then_s = (each.evidence.get("torch_cpu_s", 0.0) for each in (training, shipped))
    return min(1.0, now_s / then_s) if now_s and then_s else 1.0


def _cost(training: Training, *, is_evaluated: bool) -> TrainingCost:
    told = training.evidence
    if not is_evaluated:
        return TrainingCost(told["head_s"], told["steps_s"], 0.0, {})
    eval_s = told["evaluation_work_s"]
    return TrainingCost(told["head_s"], told["steps_s"], eval_s, training.bpb, told["prepare_s"])


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path


def _beyond_finding(seen: Evaluation, shipped: Training) -> Finding | None:
    """Whether an edited script knows more of the scored text than of other held-out text."""
    usual = shipped.evidence
    return beyond_finding(
        seen.held_out,
        seen.control,
        shipped_held_out=usual["held_out_nats"],
        shipped_control=usual["control_nats"],
    )


def _seed_finding(
    change: Change,
    training: Training,
    seen: Evaluation,
    context: TrainingContext,
    work: Path,
    n_shipped: int,
) -> Finding | None:
    """Whether the weights of an edited script are those of another seed's training."""
    sketches = context.folder / "sketches" / key(change, 0, context.tier, context.corpus.hash)
    return likeness_finding(
        work / "checkpoint.pt", sketches, seed=training.seed, starts=seen.starts, n_shipped=n_shipped
    )


def _refused(training: Training, finding: Finding) -> Training:
    why = refusal(finding)
    return replace(training, status=why.status, reason=why.reason, detail=why.detail, bpb={})


@contextlib.contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A folder that is gone afterwards; those of processes that were killed are removed first."""
    base = parent / "work"
    base.mkdir(parents=True, exist_ok=True)
    clear_abandoned(base)
    me = psutil.Process()
    work = base / f"{me.pid}-{int(me.create_time())}-{secrets.token_hex(4)}"
    work.mkdir()
    try:
        yield work
    finally:
        _remove(work)


def clear_abandoned(base: Path) -> int:
    """Remove the work folders whose process is gone, and end what it left; how many there were."""
    n = 0
    for work in base.iterdir():
        pid, _, rest = work.name.partition("-")
        try:
            lives = int(psutil.Process(int(pid)).create_time()) == int(rest.partition("-")[0])
        except (psutil.Error, ValueError):
            lives = False
        if not lives:
            _remove(work)
            n += 1
    return n


def _remove(work: Path) -> None:
    """End what is still at work in a folder, and remove it, whatever rights were taken from its folders."""
    sandboxes.end_marked(str(work))
    sandboxes.remove_tree(work)
