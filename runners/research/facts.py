"""What must be the same for two trials to be comparable: the text, the script, the program, the rules."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import tracker
from runners.research import script, space, training
from runners.research.corpora import corpus
from runners.research.tiers import Tier
from tracker.errors import TrackerError
from tracker.studies import Study

PROGRAM = Path(__file__).with_name("program.md")
RULES = "1"  # moves when the loop or the gate changes what a study is worth
# the modules that decide a gain: whatever is changed in one, old and new trials are kept apart
DECIDING = (
    "gate", "judging", "finish", "slots", "study", "evaluator", "plausibility", "likeness", "logits_client",
    "logits_server", "training", "attempt", "train",
)  # fmt: skip
SHOWN_CHARS = 32  # of a fact; of a longer one, a hash, half of that

COMPARED = {
    "corpus_hash": "another corpus",
    "script_hash": "another training script",
    "program_hash": "another `program.md`",
    "harness_version": "another version of the harness, its tier or torch",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """As they are here and now."""

    corpus_hash: str
    script_hash: str  # of the shipped training script, with the tier's defaults
    program_hash: str
    harness_version: str  # ends with `harness_hash`
    program: str
    note: str = ""  # what is particular about the corpus

    def agree(self, study: Study) -> bool:
        """Whether the study was begun under these."""
        return all(getattr(study, name) == getattr(self, name) for name in COMPARED)

    def refuse(self, study: Study) -> None:
        """Refuse to go on with a study that was begun under other facts.

        Raises:
            TrackerError: names the first that differs.
        """
        for name, what in COMPARED.items():
            before, now = getattr(study, name), getattr(self, name)
            if before != now:
                versions = f"{_shown(before)}, now {_shown(now)}"
                message = f"study `{study.study_id}` was begun under {what} ({versions})"
                hint = "its trials would not be comparable: begin a new study with `tracker research run`"
                raise TrackerError(message, hint=hint)


def facts_of(tier: Tier, home: Path) -> Facts:
    """The facts of this checkout and home; makes the corpus if there is none yet.

    Raises:
        TrackerError: the corpus cannot be had.
    """
    found = corpus(tier.corpus, home)
    program = PROGRAM.read_text()
    decides = harness_hash(tier, torch=importlib.metadata.version("torch"), sources=deciding_sources())
    return Facts(
        corpus_hash=found.hash,
        script_hash=_hash(script.shipped(tier)),
        program_hash=_hash(program),
        harness_version=f"{tracker.__version__}-{RULES}-{training.VERSION}-{decides}",
        program=program,
        note=found.note,
    )


def deciding_sources() -> dict[str, str]:
    """The source of each module of `DECIDING`, by its name."""
    return {name: Path(__file__).with_name(f"{name}.py").read_text() for name in DECIDING}


def harness_hash(tier: Tier, *, torch: str, sources: Mapping[str, str]) -> str:
    """Twelve hex digits over all that decides a gain and has no hash of its own among the facts."""
    sizes = asdict(tier)
    del sizes["description"]
    made_of = {
        "tier": sizes,
        "space": [asdict(tunable) for tunable in space.tunables(tier)],
        "torch": torch,
        "sources": {name: _hash(source) for name, source in sources.items()},
    }
    return _hash(json.dumps(made_of, sort_keys=True, default=dict))[:12]


def _shown(fact: str) -> str:
    return fact if len(fact) <= SHOWN_CHARS else fact[: SHOWN_CHARS // 2]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
