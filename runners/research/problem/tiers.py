"""A task: what is trained on what, its budget, how it is measured. One folder with a `task.toml` each.

A language model's task is also called a tier. A budget is counted in tokens, never in seconds: equal jobs
take twice as long beside neighbours. The shipped tasks lie in `runners/research/tasks/`; a user's own is a
folder at any path, which `kept_task` copies to `$TRACKER_HOME/tasks/`: a study can be resumed from it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from runners.research.problem.tunables import Number, Tunable
from runners.sandbox.limits import Limits
from tracker.errors import TrackerError, UnknownNameError

MIB = 1 << 20
GIB = 1 << 30
FILE = "task.toml"
FOLDER = Path(__file__).parents[1] / "tasks"
OWN = "tasks"  # in the home: the tasks of its user, each as it was when first used
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
SELF_REPORTED = "-self-reported"  # ends the name of a task whose script computes its own score
MAX_TEXT_BYTES = 256 << 10  # of `task.toml`, a script or a program
_STRICT = ConfigDict(extra="forbid")


class TaskKind(StrEnum):
    """How a task is measured."""

    LANGUAGE_MODEL = "language_model"  # our evaluator asks the trained model about held-out text
    PREDICTIONS = "predictions"  # our scorer compares predictions with labels that the script never sees
    REPORTED = "reported"  # the script prints its own score: self-reported, nothing is checked


@dataclass(frozen=True, slots=True)
class Tier:
    """One task; `params` are the defaults that differ from those in the script."""

    name: str
    description: str
    corpus: str  # a name of `corpora.CORPORA`
    train_tokens: int
    context: int
    vocab_size: int
    eval_tokens: int  # read per split by the evaluator
    limits: Limits
    max_params: int
    max_checkpoint_bytes: int
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    micro_batch: int = 0  # sequences that go through the model at once; 0: the whole batch
    params: Mapping[str, float | int] = field(default_factory=dict)
    # choices of a number where they differ from those of the shipped space
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    kind: TaskKind = TaskKind.LANGUAGE_MODEL
    script: str = ""  # the text of its own script; empty: the shipped small GPT
    program: str = ""  # the text of its own `program.md`; empty: the shipped one
    numbers: tuple[Tunable, ...] = ()  # its own space; empty: that of the small GPT
    pattern: str = ""  # of the line with a self-reported score; its first group is the number
    # a training ends after so many seconds of computing, as our side measures them; 0: after `train_tokens`
    compute_s: float = 0.0

    @property
    def is_self_reported(self) -> bool:
        """Whether the script that is judged also computes its score."""
        return self.kind is TaskKind.REPORTED


@with_config(_STRICT)
@dataclass(frozen=True, slots=True)
class DataSection:
    """`[data]` of a `task.toml`."""

    corpus: str
    context: int = 1
    vocab_size: int = 1
    eval_tokens: int = 1


@with_config(_STRICT)
@dataclass(frozen=True, slots=True)
class BudgetSection:
    """`[budget]`: tokens (or rows) of a training, and what its process may use."""

    train_tokens: int
    cpu_s: float
    wall_s: float
    memory_gib: float
    file_mib: int
    n_processes: int
    max_params: int
    max_checkpoint_mib: int
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    micro_batch: int = 0
    compute_s: float = 0.0


@with_config(_STRICT)
@dataclass(frozen=True, slots=True)
class MetricSection:
    """`[metric]`: who computes the score; `pattern` is needed where the script does."""

    kind: TaskKind = TaskKind.LANGUAGE_MODEL
    pattern: str = ""


@with_config(_STRICT)
@dataclass(frozen=True, slots=True)
class TaskFile:
    """A `task.toml`."""

    description: str
    data: DataSection
    budget: BudgetSection
    metric: MetricSection = field(default_factory=MetricSection)
    script: str = ""  # a file of the folder, with the two EDITABLE markers
    program: str = ""  # a file of the folder
    defaults: Mapping[str, Number] = field(default_factory=dict)
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: tuple[Tunable, ...] = ()


def read_task(folder: Path, *, name: str | None = None) -> Tier:
    """The task in `folder`.

    Raises:
        TrackerError: `task.toml` is missing or invalid, or a file that it names is; the message says where.
    """
    path = folder / FILE
    name = folder.name if name is None else name
    if not NAME.fullmatch(name):
        hint = "rename its folder: lower-case letters, digits, `.`, `_` and `-`, at most 40"
        raise TrackerError(f"`{name}` cannot be the name of a task", hint=hint)
    try:
        raw = tomllib.loads(_text(path))
        task = TypeAdapter(TaskFile).validate_python(raw)
    except tomllib.TOMLDecodeError as error:
        raise TrackerError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise TrackerError(
            f"{path}: {place}: {first['msg']}", hint="docs/auto-research.md has an example"
        ) from error
    _check(task, path)
    budget = task.budget
    limits = Limits(
        cpu_s=budget.cpu_s,
        wall_s=budget.wall_s,
        memory_bytes=int(budget.memory_gib * GIB),
        file_bytes=budget.file_mib * MIB,
        n_processes=budget.n_processes,
    )
    return Tier(
        name=name,
        description=task.description,
        corpus=task.data.corpus,
        train_tokens=budget.train_tokens,
        context=task.data.context,
        vocab_size=task.data.vocab_size,
        eval_tokens=task.data.eval_tokens,
        limits=limits,
        max_params=budget.max_params,
        max_checkpoint_bytes=budget.max_checkpoint_mib * MIB,
        device=budget.device,
        dtype=budget.dtype,
        compile=budget.compile,
        micro_batch=budget.micro_batch,
        params=dict(task.defaults),
        choices={key: tuple(values) for key, values in task.choices.items()},
        kind=task.metric.kind,
        script=_text(_beside(path, task.script)) if task.script else "",
        program=_text(_beside(path, task.program)) if task.program else "",
        numbers=task.numbers,
        pattern=task.metric.pattern,
        compute_s=budget.compute_s,
    )


def _check(task: TaskFile, path: Path) -> None:
    """Refuse what the parser cannot see.

    Raises:
        TrackerError: names the key.
    """
    kind, pattern = task.metric.kind, task.metric.pattern
    if (kind is TaskKind.REPORTED) != bool(pattern):
        raise TrackerError(
            f"{path}: metric.pattern: needed where `kind` is `reported`, and only there",
            hint=r"example: `pattern = '^val_bpb: ([0-9.]+)'`",
        )
    try:
        n_groups = re.compile(pattern).groups
    except re.error as error:
        raise TrackerError(f"{path}: metric.pattern: {error}") from error
    if pattern and n_groups != 1:
        raise TrackerError(f"{path}: metric.pattern: needs one group around the number, got {n_groups}")
    if kind is TaskKind.REPORTED and not path.parent.name.endswith(SELF_REPORTED):
        message = f"{path}: a script that computes its own score can report any: its results must show that"
        raise TrackerError(message, hint=f"rename the folder so that it ends with `{SELF_REPORTED}`")
    if task.budget.compute_s < 0 or (
        task.budget.compute_s and (kind is not TaskKind.LANGUAGE_MODEL or task.script)
    ):
        message = f"{path}: budget.compute_s: {task.budget.compute_s:g} is not possible here"
        hint = "seconds, for a language model with the shipped script; 0: no such budget"
        raise TrackerError(message, hint=hint)
    if kind is not TaskKind.LANGUAGE_MODEL and not (task.script and task.numbers):
        message = f"{path}: `script` and `[[numbers]]` are needed where `kind` is `{kind}`"
        raise TrackerError(message, hint="the shipped script and its numbers are those of a language model")


def _beside(path: Path, name: str) -> Path:
    """A file of the task's own folder.

    Raises:
        TrackerError: it lies elsewhere.
    """
    found = path.parent / name
    if Path(name).name != name or found.is_symlink():
        raise TrackerError(f"{path}: `{name}` is not a file in its folder")
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise TrackerError(f"cannot read `{path}`: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrackerError(f"`{path}` is not UTF-8 text") from error
    if len(content) > MAX_TEXT_BYTES:
        raise TrackerError(f"`{path}` is longer than {MAX_TEXT_BYTES >> 10} KiB")
    return text


@cache
def shipped_tasks() -> Mapping[str, Tier]:
    """The tasks that come with the package, by name."""
    folders = sorted(path.parent for path in FOLDER.glob(f"*/{FILE}"))
    return {folder.name: read_task(folder) for folder in folders}


class _Tiers(Mapping[str, Tier]):
    """The shipped tasks that train a language model; read when first asked for."""

    def _found(self) -> dict[str, Tier]:
        tasks = shipped_tasks().items()
        return {name: task for name, task in tasks if task.kind is TaskKind.LANGUAGE_MODEL}

    def __getitem__(self, name: str) -> Tier:
        return self._found()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())


TIERS: Mapping[str, Tier] = _Tiers()
_CONSTANTS = {"SMOKE": "smoke", "CPU": "cpu", "GPU_SMALL": "gpu-small", "GPU": "gpu"}


def __getattr__(name: str) -> Tier:
    """`SMOKE`, `CPU`, `GPU_SMALL` and `GPU`, read from their files when first asked for."""
    if name not in _CONSTANTS:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return TIERS[_CONSTANTS[name]]


def task_names(home: Path | None = None) -> list[str]:
    """The shipped tasks, then those of the home."""
    own = sorted(path.parent.name for path in (home / OWN).glob(f"*/{FILE}")) if home else []
    return [*shipped_tasks(), *own]


def tier(name: str, home: Path | None = None) -> Tier:
    """The task of that name, shipped or kept in `home`.

    Raises:
        UnknownNameError: there is none; near names are suggested.
        TrackerError: its `task.toml` is invalid.
    """
    if name in shipped_tasks():
        return shipped_tasks()[name]
    if home is not None and NAME.fullmatch(name) and (home / OWN / name / FILE).is_file():
        return read_task(home / OWN / name)
    raise UnknownNameError("tier or task", name, known=task_names(home))


def kept_task(name: str, home: Path) -> Tier:
    """The task of that name, or of the folder at the path `name`, which is copied to the home.

    Raises:
        UnknownNameError: there is none of that name.
        TrackerError: the folder is no task, or the home has another task of its name.
    """
    if "/" not in name and name not in (".", ".."):
        return tier(name, home)
    source = Path(name).expanduser().resolve()
    found = read_task(source)
    if found.name in shipped_tasks():
        message = f"a shipped task has the name `{found.name}` of `{source}`"
        raise TrackerError(message, hint="rename its folder")
    place = home / OWN / found.name
    if (place / FILE).is_file():
        if read_task(place) != found:
            message = f"the home has another task `{found.name}`, and its studies depend on it"
            raise TrackerError(message, hint=f"rename the folder `{source}`, or delete `{place}`")
        return found
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{found.name}-", dir=place.parent))
    try:
        for each in (FILE, *_named_files(source)):
            shutil.copyfile(source / each, temporary / each)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _named_files(folder: Path) -> list[str]:
    raw: dict[str, Any] = tomllib.loads(_text(folder / FILE))
    return [str(raw[key]) for key in ("script", "program") if raw.get(key)]
