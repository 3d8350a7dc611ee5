"""How one script would be judged in a trial, without a study: trained, measured and checked under some seeds.

For whoever writes a script, an agent or a cheat. It says more than an agent is told in a study: the scores on
`select` are in it, so a script that was chosen by them is no longer judged fairly there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.research.problem import script as scripts
from runners.research.problem.tiers import Tier
from runners.research.training.cache import cached, train
from runners.sandbox.run import Sandbox
from tracker.errors import TrackerError
from tracker.records.studies import Change, Split, Training, TrainingStatus

SPLITS = (Split.VAL, Split.SELECT)
OK, FAILED, CAUGHT = "ok", "failed", "caught"
MAX_SCRIPT_FILE_BYTES = 1 << 20  # what is larger is refused by a training as well


@dataclass(frozen=True, slots=True)
class SeedJudgement:
    """The outcome under one seed; scores are bits per byte, gains are against the shipped script."""

    seed: int
    verdict: str  # "ok", "failed" or "caught"
    reason: str | None = None  # machine-readable, for anything but "ok"
    detail: str | None = None  # the same for people
    val: float | None = None
    select: float | None = None
    gain_val: float | None = None
    gain_select: float | None = None
    cpu_s: float = 0.0  # CPU time of the training
    n_params: int | None = None


def judged_script(text: str, tier: Tier) -> str:
    """The whole script: `text` if it has the markers, else the shipped one with `text` added to its end."""
    if scripts.BEGIN in text or scripts.END in text:
        return text
    cut = scripts.regions(scripts.shipped(tier))
    return f"{cut.head}{cut.editable}\n{text}\n\n{cut.tail}"


def read_script(path: Path, tier: Tier) -> str:
    """The whole script in the file `path`, or the shipped one with its content added.

    Raises:
        TrackerError: the file cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SCRIPT_FILE_BYTES + 1)
        if len(content) > MAX_SCRIPT_FILE_BYTES:
            hint = "a script is Python code of some 20 kB"
            raise TrackerError(f"`{path}` has more than {MAX_SCRIPT_FILE_BYTES:,} bytes", hint=hint)
        return judged_script(content.decode(), tier)
    except OSError as error:
        hint = "give a whole script, or code that is added to the end of its editable part"
        raise TrackerError(f"`{path}` cannot be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise TrackerError(f"`{path}` is no UTF-8 text", hint="give a Python script") from error


def judge_script(
    text: str,
    seeds: Sequence[int],
    tier: Tier,
    *,
    home: Path,
    sandbox: Sandbox,
    on_judgement: Callable[[SeedJudgement], None] = lambda _: None,
) -> list[SeedJudgement]:
    """Train the whole script `text` under each seed, as a trial would; the script itself is never cached.

    Raises:
        TrackerError: the corpus is missing, or the shipped script cannot be trained here.
    """
    found = []
    for seed in seeds:
        shipped = cached(Change(), seed, tier, splits=SPLITS, home=home, sandbox=sandbox)
        mine = train(Change(script=text), seed, tier, splits=SPLITS, home=home, sandbox=sandbox)
        found.append(judgement(mine, shipped))
        on_judgement(found[-1])
    return found


def judgement(mine: Training, shipped: Training) -> SeedJudgement:
    """The verdict on one training, with its gains over the shipped script's under the same seed."""
    if mine.status is not TrainingStatus.OK:
        verdict = CAUGHT if mine.status is TrainingStatus.CAUGHT else FAILED
        reason = mine.reason or mine.status.value
        return SeedJudgement(
            mine.seed, verdict, reason, mine.detail, cpu_s=mine.cpu_s, n_params=mine.n_params
        )
    gains = {split: shipped.bpb[split] - mine.bpb[split] for split in SPLITS if split in shipped.bpb}
    return SeedJudgement(
        mine.seed,
        OK,
        val=mine.bpb[Split.VAL],
        select=mine.bpb[Split.SELECT],
        gain_val=gains.get(Split.VAL),
        gain_select=gains.get(Split.SELECT),
        cpu_s=mine.cpu_s,
        n_params=mine.n_params,
    )
