"""One training in the sandbox and the parsing of its untrusted output."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from runners.research.corpora.build import TRAIN, Corpus
from runners.research.evaluation.cheat_checks import Finding
from runners.research.evaluation.evaluator import (
    FAVOURS_KEPT,
    NOT_FINITE,
    Evaluation,
    EvaluationSpec,
    evaluate,
    needed_modules,
)
from runners.research.evaluation.logits_client import TrainedModel
from runners.research.evaluation.predictions import prediction_bytes, reported, scored, task_data
from runners.research.evaluation.script_content import content_finding
from runners.research.problem import script as scripts
from runners.research.problem.tiers import TaskKind, Tier
from runners.research.training.handout import CARD_HEAD_SHARE, CARD_PIPE_BYTES, Handout
from runners.sandbox.run import (
    EndStatus,
    Sandbox,
    SandboxEnd,
    SandboxSpec,
    make_readable,
)
from tracker.errors import DiskFullError
from tracker.interpreter import python_command
from tracker.records.studies import Change, Training, TrainingStatus

LAUNCH = Path(__file__).with_name("launch.py")
HANDED_OUT = "-"  # to the script: its sequences come on standard input
MAX_SCRIPT_BYTES = 100_000  # the shipped one has 18,000: no room for a table of answers
MAX_TEXT_BYTES = 1 << 20  # of the curve and of the report
MAX_CURVE_POINTS, MAX_CURVE_TOKENS = 1000, 10**15  # the frozen part writes 101
LEAST_FREE_BYTES = 64 << 20  # on the disk: with less left, it is full for us
DETAIL_CHARS = 500
# the last line of a traceback, which begins at the margin
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w{0,60}\.){0,9}[A-Z]\w{0,60}(?:Error|Exception)\b[^\n]{0,500}", re.MULTILINE
)
SIGNALLED = 128  # a shell, and bubblewrap, add the signal to it
STATUS_OF_EXIT = {  # of train.py
    20: (TrainingStatus.CRASHED, "bad_config"),
    21: (TrainingStatus.DIVERGED, "not_finite"),
    22: (TrainingStatus.OUT_OF_MEMORY, "out_of_memory"),
}
STATUS_OF_END = {
    EndStatus.TIMED_OUT: (TrainingStatus.TIMED_OUT, "time_limit"),
    EndStatus.OUT_OF_MEMORY: (TrainingStatus.OUT_OF_MEMORY, "memory_limit"),
    EndStatus.DISK_LIMIT: (TrainingStatus.REFUSED, "disk_limit"),
    EndStatus.PROCESS_LIMIT: (TrainingStatus.REFUSED, "process_limit"),
    EndStatus.STOPPED: (TrainingStatus.CRASHED, "stopped"),
}


class TrainingRefusedError(Exception):
    """A training that ends without a score; `status`, `reason` and `detail` go into its record."""

    def __init__(self, status: TrainingStatus, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, printable(detail)[:DETAIL_CHARS]


def refusal(finding: Finding) -> TrainingRefusedError:
    """The refusal of a training: it is `caught` only where there is proof."""
    status = TrainingStatus.CAUGHT if finding.is_proof else TrainingStatus.REFUSED
    return TrainingRefusedError(status, finding.reason, finding.detail)


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """The tier, home, sandbox and corpus of trainings; equal for all of a study."""

    tier: Tier
    home: Path
    sandbox: Sandbox
    corpus: Corpus
    environment: Mapping[str, str] = field(default_factory=dict)  # in which a training sees its card

    @property
    def folder(self) -> Path:
        """Finished trainings, the locks, and the work folders of those under way."""
        return self.home / "trainings"


@dataclass(frozen=True, slots=True)
class TrainingAttempt:
    """One run of the script; `blank` is the record that it fills in."""

    change: Change
    blank: Training
    context: TrainingContext
    splits: tuple[str, ...]
    work: Path
    n_shipped: int = 0  # parameters of the shipped script, for an edited one

    @property
    def out(self) -> Path:
        """Where the script may write."""
        return self.work / "out"

    def run(self) -> tuple[Training, Evaluation | None]:
        """The record, and what the evaluator saw; nothing if it did not come to that."""
        training = self.blank
        try:
            self._write_inputs()
            hashes = self._input_hashes()
            end, pace = self._trained()
            training = replace(
                training,
                train_s=round(end.wall_s, 3),
                cpu_s=round(end.cpu_s, 3),
                peak_memory_bytes=end.peak_memory_bytes,
                evidence=pace,
            )
            if self._input_hashes() != hashes:
                raise TrainingRefusedError(
                    TrainingStatus.CAUGHT, "inputs_changed", "a read-only input was changed"
                )
            self._check_end(end)
            if self.context.tier.kind is TaskKind.LANGUAGE_MODEL:
                return self._measured(training)
            bpb = self._reported(end) if self.context.tier.is_self_reported else self._scored()
            return replace(training, bpb=bpb), None
        except TrainingRefusedError as why:
            return replace(training, status=why.status, reason=why.reason, detail=why.detail), None

    def _write_inputs(self) -> None:
        tier, corpus = self.context.tier, self.context.corpus
        self.out.mkdir()
        (self.work / "script.py").write_text(self._script())
        if LAUNCH.name in self._inputs():
            shutil.copyfile(LAUNCH, self.work / LAUNCH.name)
        inside = self.context.sandbox.inside
        config = {
            "data": HANDED_OUT if is_handed_out(tier) else inside("data.bin", self.work / "data.bin"),
            "out": self.context.sandbox.inside_out(self.out),
            "seed": self.blank.seed,
            "train_tokens": tier.train_tokens,
            "context": tier.context,
            "vocab_size": corpus.meta.vocab_size,
            "token_bytes": corpus.meta.token_bytes,
            "device": tier.device,
            "compile": tier.compile,
            "micro_batch": tier.micro_batch,
            **({"compute_s": tier.compute_s} if tier.compute_s else {}),
            "params": dict(self.change.params),
        }
        if tier.kind is TaskKind.PREDICTIONS:
            content, sizes = task_data(corpus, self.blank.seed, tier.train_tokens)
            config |= sizes
            (self.work / "data.bin").write_bytes(content)
        else:
            write_sequences(corpus, tier, self.blank.seed, self.work / "data.bin")
        (self.work / "config.json").write_text(json.dumps(config))
        make_readable(self._inputs().values())

    def _script(self) -> str:
        """The script to run, its frozen parts compared with the shipped one's."""
        shipped = scripts.shipped(self.context.tier)
        text = self.change.script
        if text is None:
            return shipped
        if len(text.encode()) > MAX_SCRIPT_BYTES:
            detail = f"the script has {len(text.encode())} bytes, at most {MAX_SCRIPT_BYTES} are allowed"
            raise TrainingRefusedError(TrainingStatus.REFUSED, "script_too_large", detail)
        try:
            is_frozen = scripts.regions(text).frozen_hash == scripts.regions(shipped).frozen_hash
        except ValueError as error:
            raise TrainingRefusedError(TrainingStatus.CAUGHT, "frozen_region", str(error)) from error
        if not is_frozen:
            detail = "something outside the EDITABLE markers was changed"
            raise TrainingRefusedError(TrainingStatus.CAUGHT, "frozen_region", detail)
        if (finding := content_finding(text, shipped)) is not None:
            raise refusal(finding)
        return text

    def _inputs(self) -> dict[str, Path]:
        tier = self.context.tier
        files = {name: self.work / name for name in ("script.py", "config.json")}
        if not is_handed_out(tier):
            return files | {"data.bin": self.work / "data.bin"}
        return files | ({LAUNCH.name: self.work / LAUNCH.name} if tier.device == "cpu" else {})

    def _input_hashes(self) -> dict[str, str]:
        found = {}
        for name, path in self._inputs().items():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def _trained(self) -> tuple[SandboxEnd, dict[str, float]]:
        """The end of the training, and its pace as our side saw it: CPU seconds, or wall time on a card."""
        tier, sandbox = self.context.tier, self.context.sandbox
        inputs = self._inputs()
        spec = SandboxSpec(
            inputs,
            self.out,
            tier.limits,
            {"OMP_NUM_THREADS": "1", **self.context.environment},
            needs_gpu=tier.device != "cpu",
        )
        inside = [sandbox.inside(name, inputs[name]) for name in ("script.py", "config.json")]
        is_cpu = tier.device == "cpu"
        if LAUNCH.name in inputs:
            modules = ",".join(needed_modules(inputs["script.py"].read_text()))
            inside = [sandbox.inside(LAUNCH.name, inputs[LAUNCH.name]), modules, *inside]
        if not is_handed_out(tier):  # all of it counts
            end = sandbox.run(python_command(*inside), spec)
            return end, {"head_s": 0.0, "steps_s": round(end.cpu_s if is_cpu else end.wall_s, 3)}
        process = sandbox.start(python_command(*inside), spec, with_pipes=True, reads_stdout=True)
        assert process.process.stdin is not None
        handout = Handout(self.work / "data.bin", most_s=tier.compute_s)
        if not is_cpu:
            data = self.work / "data.bin"
            handout = Handout(data, CARD_HEAD_SHARE, CARD_PIPE_BYTES, most_s=tier.compute_s)
        handout.begin(process.process.stdin, process.cpu_now_s if is_cpu else process.wall_now_s)
        end = process.wait()
        total_s = end.cpu_s if is_cpu else end.wall_s
        steps_s = handout.steps_s(total_s)
        head_s = max(0.0, total_s - steps_s - handout.let_in_s)
        return end, {"head_s": round(head_s, 3), "steps_s": round(steps_s, 3)}

    def _check_end(self, end: SandboxEnd) -> None:
        if end.status in STATUS_OF_END:
            status, reason = STATUS_OF_END[end.status]
            raise TrainingRefusedError(status, reason, _sentence(end))
        if end.returncode == 0:
            return
        if shutil.disk_usage(self.work).free < LEAST_FREE_BYTES:
            raise DiskFullError(str(self.context.folder))
        status, reason = STATUS_OF_EXIT.get(end.returncode, (TrainingStatus.CRASHED, "crashed"))
        raise TrainingRefusedError(status, reason, _sentence(end))

    def _scored(self) -> dict[str, float]:
        """Bits per row of what the script predicted."""
        corpus = self.context.corpus
        content = read_plain(self.out / "predictions.bin", prediction_bytes(corpus))
        if content is None:
            raise TrainingRefusedError(
                TrainingStatus.CRASHED, "no_predictions", "the training left no `predictions.bin`"
            )
        try:
            found = scored(content, corpus, self.splits, seed=self.blank.seed)
        except ValueError as error:
            raise TrainingRefusedError(TrainingStatus.CRASHED, "wrong_shape", str(error)) from error
        if found is None:
            raise TrainingRefusedError(TrainingStatus.DIVERGED, NOT_FINITE, "a prediction is not finite")
        return found

    def _reported(self, end: SandboxEnd) -> dict[str, float]:
        """The number that the script printed, for every split: nobody has checked it."""
        pattern = self.context.tier.pattern
        score = reported(end.stdout_tail, pattern)
        if score is None:
            detail = f"no line at the end of its output has a number where `{pattern}` asks for one"
            raise TrainingRefusedError(TrainingStatus.CRASHED, "no_score", detail)
        return dict.fromkeys(self.splits, score)

    def _measured(self, training: Training) -> tuple[Training, Evaluation | None]:
        """The record with its scores, or with the reason that it has none."""
        tier, corpus = self.context.tier, self.context.corpus
        checkpoint = self._checkpoint()
        curve = read_curve(self.out)
        is_ours = self.change.script is None
        report = read_report(self.out) if is_ours else {}
        config = {
            "params": dict(self.change.params),
            "vocab_size": corpus.meta.vocab_size,
            "context": tier.context,
        }
        model = TrainedModel(
            self.work / "script.py",
            checkpoint,
            config,
            tier.device,
            tier.limits,
            environment=self.context.environment,
        )
        exam = EvaluationSpec(
            tier,
            corpus,
            self.splits,
            is_probed=not is_ours,
            has_control=True,
            seed=training.seed,
            n_shipped=self.n_shipped,
        )
        found = evaluate(model, exam, sandbox=self.context.sandbox, folder=self.work / "evaluation")
        n_tokens = curve[-1][0] if curve else 0  # as the training says; shown, never used to judge
        training = replace(
            training,
            curve=curve,
            n_tokens=n_tokens,
            n_params=found.n_params,
            eval_s=round(found.cpu_s, 3),
            tokens_per_s=report.get("tokens_per_s", n_tokens / training.train_s),
            mfu=report.get("mfu"),
            peak_memory_bytes=self._peak_bytes(training, report),
            evidence=dict(training.evidence) | evidence_of(found),
        )
        why = None if found.finding is None else refusal(found.finding)
        if found.problem is not None:
            why = TrainingRefusedError(*_status_of(found.problem.reason), str(found.problem))
        if why is not None:
            return replace(training, status=why.status, reason=why.reason, detail=why.detail), None
        return replace(training, bpb=dict(found.bpb)), found

    def _peak_bytes(self, training: Training, report: Mapping[str, float]) -> int | None:
        """Of the card, where one computes and our own script told; else of the processes."""
        on_card = report.get("peak_memory_bytes") if self.context.tier.device != "cpu" else None
        return training.peak_memory_bytes if on_card is None else int(on_card)

    def _checkpoint(self) -> Path:
        """A copy of the checkpoint, out of reach of what wrote it."""
        size = self.context.tier.max_checkpoint_bytes
        try:
            links = [path.name for path in self.out.iterdir() if path.is_symlink()]
        except OSError as error:  # it took our rights to its own folder away
            detail = f"the output folder cannot be read: {error.strerror}"
            raise TrainingRefusedError(TrainingStatus.CAUGHT, "unreadable_output", detail) from error
        if links:
            detail = f"`{links[0]}` in the output folder is a link"
            raise TrainingRefusedError(TrainingStatus.CAUGHT, "link_in_output", detail)
        content = read_plain(self.out / "checkpoint.pt", size)
        if content is None:
            raise TrainingRefusedError(
                TrainingStatus.CRASHED, "no_checkpoint", "the training left no checkpoint"
            )
        if len(content) > size:
            detail = f"the checkpoint has more than the {size} bytes that the tier allows"
            raise TrainingRefusedError(TrainingStatus.REFUSED, "checkpoint_too_large", detail)
        copy = self.work / "checkpoint.pt"
        copy.write_bytes(content)
        return copy


def evidence_of(found: Evaluation) -> dict[str, float]:
    """The numbers of an evaluation beside its scores, to be kept with the training."""
    sums = found.favours
    return {
        "held_out_nats": round(found.held_out.nats, 5),
        "control_nats": round(found.control.nats, 5),
        "evaluation_work_s": round(found.work_s, 3),
        "prepare_s": round(found.prepare_s, 3),
        "torch_cpu_s": round(found.torch_cpu_s, 3),
    } | dict(zip(FAVOURS_KEPT, (float(sums.n), sums.total, sums.squares), strict=True))


def is_handed_out(tier: Tier) -> bool:
    """Whether a training takes its sequences from a pipe; a script of the user's own reads a file."""
    return tier.kind is TaskKind.LANGUAGE_MODEL and not tier.script


def write_sequences(corpus: Corpus, tier: Tier, seed: int, path: Path) -> None:
    """The sequences of one training and no others, in the order of its seed: (T + 1) tokens each."""
    T = tier.context
    n_wanted, n_windows = tier.train_tokens // T, (len(corpus.tokens(TRAIN)) - 1) // T
    draw = np.random.default_rng(seed)
    rounds = [draw.permutation(n_windows) for _ in range(math.ceil(n_wanted / n_windows))]
    starts = np.concatenate(rounds)[:n_wanted] * T
    with path.open("wb") as file:
        for at in range(0, n_wanted, 4096):
            file.write(corpus.windows(TRAIN, starts[at : at + 4096], T + 1).tobytes())


def read_plain(path: Path, most: int) -> bytes | None:
    """Up to `most` + 1 bytes of a regular file that is no link; None if it is anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(most + 1)


def read_curve(out: Path) -> tuple[tuple[int, float], ...]:
    """(tokens, loss) points; what cannot be read as such is left out."""
    points = []
    for line in (read_plain(out / "curve.jsonl", MAX_TEXT_BYTES) or b"").splitlines():
        try:
            n_tokens, loss = json.loads(line)
            n_tokens, loss = int(n_tokens), float(loss)
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue
        if 0 <= n_tokens <= MAX_CURVE_TOKENS and math.isfinite(loss):
            points.append((n_tokens, loss))
    return tuple(points[:: math.ceil(len(points) / MAX_CURVE_POINTS) or 1])


def read_report(out: Path) -> Mapping[str, float]:
    """The numbers of our own script's report that are positive and finite; shown, never used to judge."""
    try:
        said: Any = json.loads(read_plain(out / "report.json", MAX_TEXT_BYTES) or b"{}")
    except (ValueError, RecursionError):
        return {}
    pairs = said.items() if isinstance(said, dict) else ()
    numbers = {k: float(v) for k, v in pairs if isinstance(v, int | float) and abs(v) < 1e18}
    return {name: value for name, value in numbers.items() if value > 0}


def _status_of(reason: str) -> tuple[TrainingStatus, str]:
    """The status of a training whose model could not be queried."""
    if reason == NOT_FINITE:
        return TrainingStatus.DIVERGED, reason
    if reason == "unsafe_checkpoint":
        return TrainingStatus.CAUGHT, reason
    if reason == "wrong_shape":
        return TrainingStatus.REFUSED, reason
    if reason == EndStatus.OUT_OF_MEMORY:
        return TrainingStatus.OUT_OF_MEMORY, "evaluation_memory"
    if reason == EndStatus.TIMED_OUT:
        return TrainingStatus.TIMED_OUT, "evaluation_time"
    return TrainingStatus.CRASHED, reason


def printable(text: str) -> str:
    """`text` without what a terminal obeys, and without half characters, which no file of ours can hold."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def _sentence(end: SandboxEnd) -> str:
    """The exception that ended the script, or else the last thing that it said, or how it ended."""
    if end.status is not EndStatus.ENDED:
        return f"{end.status} after {end.wall_s:.1f} s, {end.cpu_s:.1f} CPU s"
    if end.returncode < 0 or end.returncode > SIGNALLED:
        return f"it was ended by signal {abs(end.returncode) % SIGNALLED}"
    if found := EXCEPTION.findall(end.stderr_tail):  # torch says more behind, such as how to see a trace
        return str(found[-1])[:DETAIL_CHARS]
    lines = [line.strip() for line in end.stderr_tail.splitlines() if line.strip()]
    return lines[-1][:DETAIL_CHARS] if lines else f"it ended with code {end.returncode}"
