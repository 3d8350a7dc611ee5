"""The values that must be equal for comparable trials: the corpus, the script, the prompt and the rules."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

import tracker
from runners.research.agents.parse_json import MAX_CHANGES
from runners.research.corpora.build import corpus
from runners.research.evaluation.cheat_checks import MAX_COST
from runners.research.problem import script, space
from runners.research.problem.tiers import Tier
from runners.research.training import cache as training
from tracker.errors import TrackerError, UsageError
from tracker.installation import installed_version
from tracker.records.studies import Study

PROGRAM = Path(__file__).with_name("program.md")  # a template; `program_text` is what an agent reads
PROMPTING = Path(__file__).parent / "agents" / "prompting.py"  # the rest of the prompt
RULES = "1"  # moves when the loop or the gate changes what a study is worth
# the modules that decide a gain, by the name under which they are hashed: a module that moves keeps its name.
# Whatever is changed in one, old and new trials are kept apart
DECIDING = {
    "gate": "gate.py",
    "trial": "trial.py",
    "final_test": "final_test.py",
    "seeds": "seeds.py",
    "study": "study.py",
    "evaluator": "evaluation/evaluator.py",
    "cheat_checks": "evaluation/cheat_checks.py",
    "seed_similarity": "evaluation/seed_similarity.py",
    "checkpoint": "evaluation/checkpoint.py",
    "script_content": "evaluation/script_content.py",
    "logits_client": "evaluation/logits_client.py",
    "logits_server": "evaluation/logits_server.py",
    "training": "training/cache.py",
    "attempt": "training/attempt.py",
    "train": "problem/train.py",
}
MAX_PROGRAM_BYTES = 20_000  # the shipped one has about 1,800
LIMITS: Mapping[str, object] = {"max_cost": f"{MAX_COST:g}", "max_changes": MAX_CHANGES}  # in a program
SHOWN_CHARS = 32  # of a fact; of a longer one, a hash, half of that

COMPARED = {
    "corpus_hash": "another corpus",
    "script_hash": "another training script",
    "program_hash": "another `program.md` or prompt",
    "harness_version": "another version of the harness, its tier or torch",
}


@dataclass(frozen=True, slots=True)
class Comparability:
    """The values of this installation and home."""

    corpus_hash: str
    script_hash: str  # of the shipped training script, with the tier's defaults
    program_hash: str
    harness_version: str  # ends with `harness_hash`
    program: str
    note: str = ""  # what is particular about the corpus

    def agree(self, study: Study) -> bool:
        """Whether the study was begun under these values."""
        return all(getattr(study, name) == getattr(self, name) for name in COMPARED)

    def refuse(self, study: Study) -> None:
        """Refuse to resume a study that was begun under other values.

        Raises:
            TrackerError: names the first that differs.
        """
        for name, what in COMPARED.items():
            before, now = getattr(study, name), getattr(self, name)
            if before != now:
                versions = f"{_shown(before)}, now {_shown(now)}"
                message = f"study `{study.study_id}` was started with {what} ({versions})"
                hint = "its trials would not be comparable: start a new study with `tracker research run`"
                raise TrackerError(message, hint=hint)


def comparability_of(tier: Tier, home: Path, *, program: str | None = None) -> Comparability:
    """The values of this installation and home; builds the corpus if there is none yet.

    `program` is the text of a user's own `program.md` with its limits filled in; None: the tier's or ours.

    Raises:
        TrackerError: the corpus cannot be built.
    """
    found = corpus(tier.corpus, home)
    program = program or program_text(tier.program or None)
    return Comparability(
        corpus_hash=found.hash,
        script_hash=_hash(script.shipped(tier)),
        program_hash=_hash(program + essence(PROMPTING.read_text())),
        harness_version=f"{tracker.__version__}-{RULES}-{training.VERSION}-{deciding_hash(tier)}",
        program=program,
        note=found.note,
    )


def program_text(template: str | None = None) -> str:
    """The instructions that a model is given; the limits in them are the ones that are enforced.

    Raises:
        UsageError: `template`, which is a user's or a model's, is too long, or lacks a limit.
    """
    if template is not None:
        check_program(template)
    return Template(PROGRAM.read_text() if template is None else template).substitute(LIMITS)


def check_program(template: str) -> None:
    """Refuse a `program.md` that is too long, or does not have exactly the placeholders of the limits.

    Raises:
        UsageError: it is one of these.
    """
    if (problem := program_problem(template)) is not None:
        hint = "write `$max_changes` and `$max_cost` where the numbers of these limits belong"
        raise UsageError(f"the program {problem}", hint=hint)


def program_problem(template: str) -> str | None:
    """What is wrong with a `program.md`, as the end of a sentence; None: nothing."""
    problem = None
    found = Template(template).get_identifiers()
    missing = [name for name in LIMITS if name not in found]
    unknown = [name for name in found if name not in LIMITS]
    if not Template(template).is_valid():
        problem = "has a `$` that begins no placeholder: write `$$`"
    elif missing:
        problem = f"lacks the placeholder `${missing[0]}`, in whose place the enforced limit is put"
    elif unknown:
        problem = f"has the unknown placeholder `${unknown[0]}`"
    elif len(template.encode()) > MAX_PROGRAM_BYTES:
        problem = f"has {len(template.encode()):,} bytes, more than {MAX_PROGRAM_BYTES:,}"
    return problem


def deciding_sources() -> dict[str, str]:
    """The source of each module of `DECIDING`, by its name."""
    return {name: (Path(__file__).parent / path).read_text() for name, path in DECIDING.items()}


def essence(source: str) -> str:
    """`source` without what cannot change a result: imports, docstrings, comments and blank lines.

    So a module may be moved, and be told where another one went, without ending every study.
    """
    tree = ast.parse(source)
    left_out = {line for node in ast.walk(tree) if _is_incidental(node) for line in _lines_of(node)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    column_of_comment = dict(token.start for token in tokens if token.type == tokenize.COMMENT)
    kept = []
    for number, line in enumerate(source.splitlines(), start=1):
        text = line[: column_of_comment.get(number)].rstrip()
        if text and number not in left_out:
            kept.append(text)
    return "\n".join(kept)


def _is_incidental(node: ast.AST) -> bool:
    is_docstring = (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
    return is_docstring or isinstance(node, ast.Import | ast.ImportFrom)


def _lines_of(node: ast.AST) -> range:
    assert isinstance(node, ast.stmt)
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def deciding_hash(tier: Tier) -> str:
    """The `harness_hash` of this installation.

    Raises:
        TrackerError: torch is not installed.
    """
    torch = installed_version("torch", extra="research")
    return harness_hash(tier, torch=torch, sources=deciding_sources())


def harness_hash(tier: Tier, *, torch: str, sources: Mapping[str, str]) -> str:
    """Twelve hex digits over everything that decides a gain and has no separate hash."""
    sizes = asdict(tier)
    del sizes["description"]
    made_of = {
        "tier": sizes,
        "space": [asdict(tunable) for tunable in space.tunables(tier)],
        "torch": torch,
        "sources": {name: _hash(essence(source)) for name, source in sources.items()},
    }
    return _hash(json.dumps(made_of, sort_keys=True, default=dict))[:12]


def _shown(fact: str) -> str:
    return fact if len(fact) <= SHOWN_CHARS else fact[: SHOWN_CHARS // 2]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
