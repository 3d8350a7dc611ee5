"""The executor `ray`: each job, or each of its workers, or each call runs on a node of a Ray cluster.

Covered: an existing cluster by its address or a local one, cards and memory as resources, lost nodes.
The nodes need the same version of this program, and the weights from the Hub or a shared folder; nothing
else is shared: items come back as files, which only the driver writes into the home.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runners.executors.calls import REQUEST, CallStoppedError, NodeCall
from runners.executors.ray_node import (
    GATE,
    ITEMS,
    LOG,
    FilePiece,
    Inbox,
    NodeAnswer,
    NodeCaller,
    NodeWorker,
    pieces_of,
)
from runners.executors.supervisor import WorkerEnd
from runners.hardware import Hardware, describe_hardware
from runners.harness.events import JOB_FORMAT, Event, decode
from tracker.errors import TrackerError
from tracker.files.parts import PART_NAME, has_named_checksum
from tracker.installation import DISTRIBUTION, install_command, installed_version
from tracker.records import EngineSettings, Job
from tracker.serialization import dump_versioned, write_atomically
from tracker.settings import Settings

STARTS = 4  # of one job, on nodes that are lost
POLL_S = 0.3
SILENCE_S = 60.0  # after which a node that does not answer is lost
PLACE_S = 60.0  # for another place, after a node was lost
DESCRIBE_S = 120.0
JOINING = threading.Lock()  # workers of one job join at the same time
ADDRESS = re.compile(r"(ray://)?(?P<host>[^:/]+):(?P<port>\d{1,5})")
ADDRESS_HINT = "TRACKER_RAY_ADDRESS names one; `local` starts one"
CONNECT_S = 5.0
REPORT = re.compile(r"report-\d+\.json")
SIDECAR = re.compile(r"[0-9a-f]{32}\.json")


class NodeLostError(Exception):
    """The node of a worker is gone, or does not answer."""


class RayExecutor:
    """Runs each job on a node of a Ray cluster."""

    def __init__(self, settings: Settings) -> None:
        """Refuse an environment without Ray; the cluster is joined when it is needed.

        Raises:
            TrackerError: Ray is not installed.
        """
        self._settings = settings
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            message = "the executor `ray` needs the package ray"
            raise TrackerError(message, hint=install_command("ray")) from error

    def describe(self, engine: EngineSettings) -> Hardware:
        """The hardware of a node, with the cards that a worker gets.

        Raises:
            TrackerError: the cluster cannot be reached, or has no room for it within two minutes.
        """
        self._join()
        task = self._ray.remote(describe_hardware).options(**self._resources(engine, n_bytes=0))
        try:
            hardware: Hardware = self._ray.get(task.remote(), timeout=DESCRIBE_S)
        except Exception as error:
            hint = "`ray status` shows what is free; every node needs this program"
            raise TrackerError(
                f"no node of the Ray cluster can be asked: {_said(error)}", hint=hint
            ) from error
        return hardware

    def room(self, engine: EngineSettings) -> int:
        """How many workers the cluster has resources for."""
        self._join()
        resources = self._resources(engine, n_bytes=0)
        name, each = ("GPU", resources["num_gpus"]) if resources["num_gpus"] else ("CPU", 1)
        nodes = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return sum(int(node.get(name, 0)) // each for node in nodes)

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        """Run the job on a node, on another one if that is lost.

        Raises:
            TrackerError: the cluster cannot be reached, or its nodes have another version.
        """
        self._join()
        log_path.parent.mkdir(parents=True, exist_ok=True)
        why = ""
        for number in range(STARTS):
            if number:
                on_event(Event("warning", message=f"{why}; the job goes on on another one"))
            errand = JobErrand(self._ray, job, on_event, log_path=log_path, interrupts=interrupts)
            try:
                return errand.run(self._resources(job.settings, n_bytes=_memory(job)), is_first=number == 0)
            except NodeLostError as error:
                why = str(error)
                if interrupts:
                    break
        return WorkerEnd(-9, log_path, None if interrupts else why, "node_lost")

    def end_orphan(self, first_run_id: str) -> None:
        """Nothing is left to end: Ray ends the actors of a driver that is gone, and they their workers."""

    def places(self, *, n_cards: int, per_node: int) -> int:
        """How many calls can run at the same time, at most `per_node` on a node if they need no card.

        Raises:
            TrackerError: the cluster cannot be reached, or no node has what a call needs.
        """
        self._join()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if n_cards:
            n = sum(int(node.get("GPU", 0)) // n_cards for node in nodes)
        else:
            n = sum(min(int(node.get("CPU", 0)), per_node) for node in nodes)
        if not n:
            message = f"no node of the Ray cluster has a free {'card' if n_cards else 'core'} for a training"
            raise TrackerError(message, hint="`ray status` shows what the nodes have")
        return n

    def call(
        self, call: NodeCall, folder: Path, on_warning: Callable[[str], None], *, interrupts: Sequence[float]
    ) -> bytes:
        """Run the call on a node, on another one if that is lost; nothing is written to `folder`.

        Raises:
            CallStoppedError: it was given up.
            TrackerError: the cluster cannot be reached, its nodes have another version, or they were lost.
        """
        self._join()
        resources = {"num_cpus": 1, "num_gpus": call.n_cards, "scheduling_strategy": "SPREAD"}
        why = ""
        for number in range(STARTS):
            if number:
                on_warning(f"{why}; its training begins again on another one")
            try:
                return CallErrand(self._ray, call, interrupts).run(resources, is_first=number == 0)
            except NodeLostError as error:
                why = str(error)
        hint = "`ray status` shows the nodes; with fewer trainings at once each has more memory"
        raise TrackerError(f"a training was lost {STARTS} times, at last because {why}", hint=hint)

    def end_calls(self, folder: Path) -> None:
        """Nothing is left to end, as with jobs."""

    def _join(self) -> None:
        """Join the cluster.

        Raises:
            TrackerError: there is none at the address.
        """
        address = self._settings.ray_address
        if (found := ADDRESS.fullmatch(address)) is not None:
            _require_listener(found["host"], int(found["port"]), address=address)
        local = {"include_dashboard": False} if address == "local" else {}
        try:
            with JOINING, _own_signals():
                if not self._ray.is_initialized():
                    self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
        except Exception as error:
            message = f"no Ray cluster at `{address}`: {_said(error)}"
            raise TrackerError(message, hint=ADDRESS_HINT) from error

    def _resources(self, engine: EngineSettings, *, n_bytes: int) -> dict[str, Any]:
        """What a worker reserves: its cards, else a core and the memory that is predicted."""
        has_cards = self._ray.cluster_resources().get("GPU", 0) > 0
        if has_cards:
            return {"num_cpus": 1, "num_gpus": engine.tensor_parallel_size}
        return {"num_cpus": 1, "num_gpus": 0, **({"memory": n_bytes} if n_bytes else {})}


class Errand:
    """Work for one actor on one node."""

    def __init__(self, ray: Any, *, on_wait: Callable[[], None], interrupts: Sequence[float]) -> None:
        self._ray, self._on_wait, self._interrupts = ray, on_wait, interrupts
        self._known: set[str] = set()  # files that the node has
        self._inbox = Inbox()

    @contextlib.contextmanager
    def _actor(self, cls: type, resources: dict[str, Any]) -> Iterator[Any]:
        """An actor, which is gone after the block with its folder and all that it started."""
        actor = self._ray.remote(cls).options(max_restarts=0, **resources).remote()
        try:
            yield actor
        finally:
            with contextlib.suppress(Exception):  # the node may be gone
                self._ray.get(actor.close.remote(), timeout=5)
            self._ray.kill(actor)

    def _await_place(self, actor: Any, *, is_first: bool) -> bool:
        """Wait until the cluster has a place; False: the user stopped it.

        Raises:
            NodeLostError: after a loss, there is none for a minute.
            TrackerError: the node cannot run this program.
        """
        ready, began_s = actor.version.remote(), time.monotonic()
        while not self._ray.wait([ready], timeout=1)[0]:
            self._on_wait()
            if self._interrupts:
                return False
            if not is_first and time.monotonic() - began_s > PLACE_S:
                raise NodeLostError("a node was lost, and the cluster has no other place")
        hint = f"install the same version on every node: {install_command('ray')}"
        try:
            version = self._ray.get(ready)
        except self._ray.exceptions.RayActorError as error:
            if "ModuleNotFoundError" in str(error):
                raise TrackerError(f"a node has not this program: {_said(error)}", hint=hint) from error
            raise NodeLostError("a node was lost") from error
        ours = installed_version(DISTRIBUTION, extra="ray")
        if version != ours:
            raise TrackerError(f"a node has version {version} of this program, and we {ours}", hint=hint)
        return True

    def _call(self, reference: Any) -> Any:
        """The answer of the node.

        Raises:
            NodeLostError: it gives none.
        """
        lost = (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError)
        try:
            return self._ray.get(reference, timeout=SILENCE_S)
        except lost as error:
            raise NodeLostError("a node was lost") from error

    def _put(self, actor: Any, name: str, content: bytes) -> None:
        for piece in pieces_of(name, content):
            self._call(actor.put.remote([piece]))
        self._known.add(name)


class JobErrand(Errand):
    """One job on one node."""

    def __init__(
        self,
        ray: Any,
        job: Job,
        on_event: Callable[[Event], None],
        *,
        log_path: Path,
        interrupts: Sequence[float],
    ) -> None:
        super().__init__(ray, on_wait=lambda: on_event(Event("heartbeat")), interrupts=interrupts)
        self._job, self._on_event, self._log_path = job, on_event, log_path
        self._items_path = Path(job.items_path)
        self._gate = None if job.shard is None else Path(job.shard.gate)

    def run(self, resources: dict[str, Any], *, is_first: bool) -> WorkerEnd:
        """Start the worker, hand files to and fro, and pass its events on until it ends.

        Raises:
            NodeLostError: the node is gone.
            TrackerError: the node has another version of this program, or none.
        """
        with self._actor(NodeWorker, resources) as actor:
            if not self._await_place(actor, is_first=is_first):
                return WorkerEnd(-15, self._log_path, "interrupted")
            self._put(actor, "job.json", _document(self._job))
            self._give_items(actor)
            self._call(actor.start.remote())
            return self._follow(actor)

    def _follow(self, actor: Any) -> WorkerEnd:
        n_stops = 0
        while True:
            answer: NodeAnswer = self._call(actor.ask.remote())
            for piece in answer.pieces:
                self._take(piece)
            for line in answer.events:
                self._on_event(decode(line))
            if answer.end is not None:
                returncode, stopped, stopped_for = answer.end
                return WorkerEnd(returncode, self._log_path, stopped, stopped_for)
            while n_stops < len(self._interrupts):
                n_stops += 1
                self._call(actor.stop.remote())
            self._give_rounds(actor)
            if not answer.pieces:
                time.sleep(POLL_S)

    def _give_items(self, actor: Any) -> None:
        """Give what was answered before, by this run or an earlier one of the same model."""
        for folder in sorted(self._items_path.glob("*")):
            for sidecar in sorted(folder.glob("*.json")):
                if SIDECAR.fullmatch(sidecar.name) and self._is_of_model(sidecar):
                    self._give_parts(actor, folder, f"{sidecar.stem}-*.parquet")

    def _give_parts(self, actor: Any, folder: Path, names: str) -> None:
        """Give the parts of these names; list again where a compaction joined some meanwhile."""
        parts: list[Path] = []
        while (listed := sorted(folder.glob(names))) != parts:
            parts = listed
            for path in parts:
                with contextlib.suppress(FileNotFoundError):
                    self._give(actor, path, ITEMS, folder.name)

    def _is_of_model(self, sidecar: Path) -> bool:
        content = sidecar.read_bytes()
        return self._job.model.revision.encode() in content

    def _give(self, actor: Any, path: Path, *folders: str) -> None:
        name = "/".join((*folders, path.name))
        if name not in self._known:
            self._put(actor, name, path.read_bytes())

    def _give_rounds(self, actor: Any) -> None:
        """Before a round begins on the node, give it what all others have answered and spent."""
        if self._gate is None:
            return
        new = [p for p in sorted(self._gate.glob("round-*.json")) if f"{GATE}/{p.name}" not in self._known]
        if not new:
            return
        for request in self._job.runs:
            for path in sorted((self._items_path / request.run_id).glob("*.parquet")):
                self._give(actor, path, ITEMS, request.run_id)
        for path in sorted(self._gate.glob("report-*.json")):
            self._put(actor, f"{GATE}/{path.name}", path.read_bytes())
        for path in new:
            self._give(actor, path, GATE)

    def _take(self, piece: FilePiece) -> None:
        """Write a whole file where it belongs; what a node has no business to write is left out."""
        content = self._inbox.add(piece)
        if content is None:
            return
        self._known.add(piece.name)
        path = self._place(piece.name)
        if (
            path is None
            or has_named_checksum(path, content) is False
            or (path.suffix == ".parquet" and path.exists())
        ):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def _place(self, name: str) -> Path | None:
        folder, _, file = name.rpartition("/")
        runs = {request.run_id for request in self._job.runs}
        if name == LOG:
            return self._log_path
        if self._gate is not None and folder == GATE and REPORT.fullmatch(file):
            return self._gate / file
        run_id = folder.removeprefix(f"{ITEMS}/")
        is_file = PART_NAME.fullmatch(file) or SIDECAR.fullmatch(file) or file == "run.json"
        return self._items_path / run_id / file if run_id in runs and is_file else None


class CallErrand(Errand):
    """One call on one node."""

    def __init__(self, ray: Any, call: NodeCall, interrupts: Sequence[float]) -> None:
        super().__init__(ray, on_wait=lambda: None, interrupts=interrupts)
        self._what = call

    def run(self, resources: dict[str, Any], *, is_first: bool) -> bytes:
        """Give the node what it lacks, start the call and wait for its answer.

        Raises:
            NodeLostError: the node is gone, or it killed the call.
            CallStoppedError: the user stopped it.
            TrackerError: the node cannot run it.
        """
        with self._actor(NodeCaller, resources) as actor:
            if not self._await_place(actor, is_first=is_first):
                raise CallStoppedError
            try:
                self._give_kept(actor)
                self._put(actor, REQUEST, self._what.request)
                self._call(actor.start.remote(self._what.module))
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause
                message = f"a node cannot take a training: {_said(cause)}"
                raise TrackerError(message, hint=getattr(cause, "hint", "")) from error
            return self._answer(actor)

    def _give_kept(self, actor: Any) -> None:
        """Give the node the files that it lacks."""
        for name in self._call(actor.lacking.remote(list(self._what.kept))):
            for piece in pieces_of(name, self._what.kept[name].read_bytes()):
                self._call(actor.keep.remote(piece))

    def _answer(self, actor: Any) -> bytes:
        content: bytes | None = None
        while True:
            said: NodeAnswer = self._call(actor.ask.remote())
            for piece in said.pieces:
                content = self._inbox.add(piece) or content
            if said.end is not None:
                break
            if self._interrupts:
                raise CallStoppedError
            if not said.pieces:
                time.sleep(POLL_S)
        if content is not None:
            return content
        detail = self._call(actor.detail.remote())
        if said.end[0] < 0:  # by a signal: of the kernel without memory, or of whoever cleans the node
            raise NodeLostError(f"on a node {detail}")
        raise TrackerError(f"a training ended on a node without a result: {detail}")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our answer to SIGTERM, which Ray replaces when the main thread joins a cluster."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _require_listener(host: str, port: int, *, address: str) -> None:
    """Ray itself tries for minutes where nothing listens.

    Raises:
        TrackerError: nothing does.
    """
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        message = f"no Ray cluster at `{address}`: {_said(error)}"
        raise TrackerError(message, hint=ADDRESS_HINT) from error


def _document(job: Job) -> bytes:
    """The job file; its folders are those of the node."""
    shard = None if job.shard is None else replace(job.shard, cards=())
    return dump_versioned(replace(job, shard=shard), JOB_FORMAT)


def _memory(job: Job) -> int:
    needed = (job.fit or {}).get("total_bytes")
    return needed if isinstance(needed, int) else 0


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
