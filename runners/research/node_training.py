"""`python -m runners.research.node_training FOLDER`: one training on a node, as an executor calls it.

Everything of ours that stays on the node is in one folder for all studies of this user: the corpora that were
sent, the trainings that were done there, and the locks by which one script of an agent runs at a time.
"""

from __future__ import annotations

import hashlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from runners.executors.calls import REQUEST, answering, node_store
from runners.hardware import describe_hardware
from runners.research.comparability import deciding_hash
from runners.research.corpora.build import META, Corpus, corpus_in
from runners.research.problem.tiers import Tier
from runners.research.training import cache
from runners.research.training.attempt import TrainingContext
from runners.sandbox import run as sandboxes
from tracker.errors import DiskFullError, TrackerError
from tracker.installation import install_command
from tracker.records.studies import Change, Training
from tracker.serialization import dump_json, load_json

CORPORA = "corpora"
DIGITS = 32  # of the hash in a folder's name


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """What to train, and what must be equal on the node."""

    key: str  # of the training, as the driver computes it
    change: Change
    seed: int
    tier: Tier
    splits: tuple[str, ...]
    corpus: str  # its folder in the store of the node
    sandbox: str  # kind
    runs_code: bool
    deciding_hash: str


@dataclass(frozen=True, slots=True)
class NodeReply:
    """The training, or why the node could not do it."""

    node: str  # its host name
    machine: str = ""  # its processor, or its card
    training: Training | None = None
    error: str = ""  # "baseline", "disk_full" or "error"
    message: str = ""  # of a full disk, the folder on it
    hint: str = ""


def corpus_place(corpus: Corpus) -> str:
    """The folder of a corpus in the store of a node; its name says what is in it."""
    return f"{CORPORA}/{hashlib.sha256((corpus.folder / META).read_bytes()).hexdigest()[:DIGITS]}"


def reply_to(request: NodeRequest) -> NodeReply:
    """Train what is asked for."""
    node = socket.gethostname()
    try:
        machine = _machine(request.tier)
        training = _trained(request)
    except DiskFullError:
        return NodeReply(node, error="disk_full", message=str(node_store()))
    except cache.BaselineError as error:
        return NodeReply(node, error="baseline", message=str(error), hint=error.hint)
    except TrackerError as error:
        return NodeReply(node, error="error", message=str(error), hint=error.hint)
    return NodeReply(node, machine, training)


def _machine(tier: Tier) -> str:
    hardware = describe_hardware()
    return hardware.cpu if tier.device == "cpu" or not hardware.gpus else hardware.gpus[0].name


def _trained(request: NodeRequest) -> Training:
    """The training, from the node's cache if it is known there.

    Raises:
        TrackerError: the node has another version of something, or no sandbox as the study needs it.
    """
    tier, store = request.tier, node_store()
    corpus = corpus_in(store / request.corpus)
    key = cache.key(request.change, request.seed, tier, corpus.hash)
    if key != request.key or deciding_hash(tier) != request.deciding_hash:
        message = "it has another version of this program or of torch than the machine that runs the study"
        raise TrackerError(message, hint=f"install the same on every node: {install_command('research')}")
    box = sandboxes.for_study(request.sandbox, runs_code=request.runs_code, needs_gpu=tier.device != "cpu")
    if box.kind != request.sandbox:
        message = (
            f"the study needs the sandbox `{request.sandbox}`, and there is only `{box.kind}`: {box.why}"
        )
        raise TrackerError(message, hint=sandboxes.INSTALL_HINT)
    context = TrainingContext(tier, store, box, corpus)
    return cache.cached_in(context, request.change, request.seed, splits=request.splits)


def main(folder: Path) -> None:
    """Answer the request in `folder`."""
    with answering(folder) as answer:
        request = load_json(NodeRequest, (folder / REQUEST).read_bytes(), where=REQUEST)
        answer(dump_json(reply_to(request)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
