"""What must be the same for two trials to be comparable: the text, the script, the program, the rules."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import tracker
from runners.research import script, training
from runners.research.corpora import corpus
from runners.research.tiers import Tier
from tracker.errors import TrackerError
from tracker.studies import Study

PROGRAM = Path(__file__).with_name("program.md")
RULES = "1"  # moves when the loop or the gate changes what a study is worth

COMPARED = {
    "corpus_hash": "another corpus",
    "script_hash": "another training script",
    "program_hash": "another `program.md`",
    "harness_version": "another version of the harness",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """As they are here and now."""

    corpus_hash: str
    script_hash: str  # of the shipped training script, with the tier's defaults
    program_hash: str
    harness_version: str
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
                message = f"study `{study.study_id}` was begun under {what} ({before[:16]}, now {now[:16]})"
                hint = "its trials would not be comparable: begin a new study with `tracker research run`"
                raise TrackerError(message, hint=hint)


def facts_of(tier: Tier, home: Path) -> Facts:
    """The facts of this checkout and home; makes the corpus if there is none yet.

    Raises:
        TrackerError: the corpus cannot be had.
    """
    found = corpus(tier.corpus, home)
    program = PROGRAM.read_text()
    return Facts(
        corpus_hash=found.hash,
        script_hash=_hash(script.shipped(tier)),
        program_hash=_hash(program),
        harness_version=f"{tracker.__version__}-{RULES}-{training.VERSION}",
        program=program,
        note=found.note,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
