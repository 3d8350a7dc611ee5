"""Run untrusted code: no network, only the given files, one writable folder, resource limits.

Three kinds. `bubblewrap` hides the file system, the network, other processes and the environment. `unshare`
hides the network and the processes only. `none` hides nothing, and holds the limits alone.
Not covered: flaws of the kernel or of a GPU's driver; a program can still spend all that its limits allow.

The process that starts a sandbox must stay alive in the *thread* that started it: the kernel ends the sandbox
together with that thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import IO

import psutil

from runners.sandbox import args as sandbox_args
from runners.sandbox.image import image
from runners.sandbox.limits import Limits
from runners.sandbox.output import fetch_output, opened_output, setup_pipes
from runners.sandbox.packages import PACKAGES
from runners.sandbox.seccomp import Calls, call_number, filter_program, is_supported
from runners.sandbox.watch import FOLDER_FILES, LOOK_S, SandboxWatch
from tracker.errors import TrackerError
from tracker.interpreter import python_command

_log = logging.getLogger(__name__)

TAIL_BYTES = 8192  # of each output stream that are kept
SPARE_BYTES = 4 * 2**20  # of a folder in memory above its limit: the watch says that it is full
GRACE_S = 1.0  # for what started the sandbox to end by itself after all in it was killed
END_S = 10.0  # for the processes of a killed sandbox to be gone
MARK = "TRACKER_TRAINING"  # environment variable of our side: names the writable folder
BUBBLEWRAP_HINT = "`apt install bubblewrap` (or your system's package)"
DOCTOR_HINT = "`tracker doctor` says what works on this machine"
INSTALL_HINT = f"{BUBBLEWRAP_HINT}, or `--no-sandbox` at your own risk"


class Kind(StrEnum):
    """How much is hidden."""

    BUBBLEWRAP = "bubblewrap"
    UNSHARE = "unshare"
    NONE = "none"


class EndStatus(StrEnum):
    """How a sandbox ended."""

    ENDED = "ended"  # by itself, with whatever code
    TIMED_OUT = "timed_out"  # wall time or CPU time
    OUT_OF_MEMORY = "out_of_memory"
    DISK_LIMIT = "disk_limit"  # wrote more than its folder may hold
    PROCESS_LIMIT = "process_limit"
    STOPPED = "stopped"  # by us, before it ended


PROBE_LIMITS = Limits(cpu_s=10, wall_s=20, memory_bytes=2**30, file_bytes=2**20, n_processes=64)
KILLED = (-signal.SIGKILL, -signal.SIGXCPU, 128 + signal.SIGKILL, 128 + signal.SIGXCPU)  # bubblewrap adds 128
NO_FILTER = "no filter of system calls"
# The driver's library starts, without which no training on a card does
STARTS_CARD = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"
CONFINE = Path(__file__).with_name("confine.py")
JOIN_KEYRING = 1  # of `keyctl`, in linux/keyctl.h: a new one, without a name
SPENT_SHARE = 0.8  # of the CPU time: the last look may be a while ago on a busy machine
STATUS_OF = {
    "wall": EndStatus.TIMED_OUT,
    "cpu": EndStatus.TIMED_OUT,
    "memory": EndStatus.OUT_OF_MEMORY,
    "disk": EndStatus.DISK_LIMIT,
    "processes": EndStatus.PROCESS_LIMIT,
    "stopped": EndStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class SandboxEnd:
    """The end of a sandboxed program."""

    status: EndStatus
    returncode: int  # negative: the signal
    stdout_tail: str
    stderr_tail: str
    cpu_s: float  # of all its processes
    wall_s: float
    peak_memory_bytes: int  # resident, sum over its processes, as seen every 0.2 s


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """The files, limits and environment of a sandboxed program."""

    read_only: Mapping[str, Path]  # name → file or folder; `Sandbox.inside` tells its path in there
    writable: Path
    limits: Limits
    env: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = PACKAGES  # to import beside the standard library
    needs_gpu: bool = False
    runs_programs: bool = False  # of any kind, which may start others: pipes and sockets of their own
    keeps_output: bool = True  # else the writable folder is memory, and empty afterwards

    @property
    def calls(self) -> Calls:
        """The system calls that its work needs."""
        if self.needs_gpu:
            return Calls.ON_CARD
        return Calls.PROGRAMS if self.runs_programs else Calls.COMPUTING


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One way to confine programs on this machine; `find` gives the best that works."""

    kind: Kind
    variant: sandbox_args.Variant = sandbox_args.PLAIN
    lacks: tuple[str, ...] = ()  # what it does not protect, in words
    why: str = ""  # why no better kind is there

    @property
    def is_trusted(self) -> bool:
        """Whether code that an agent wrote may run here: files and system calls are what it needs."""
        return self.hides_files and self.variant.is_filtered

    @property
    def hides_files(self) -> bool:
        """Whether a program sees its own files alone, in places of their own."""
        return self.kind is Kind.BUBBLEWRAP

    def inside(self, name: str, path: Path) -> str:
        """Where the program sees the read-only `path` that a spec calls `name`."""
        return f"{sandbox_args.INPUTS}/{name}" if self.hides_files else str(path)

    def inside_out(self, writable: Path) -> str:
        """Where the program sees the folder in which it may write."""
        return sandbox_args.OUTPUT if self.hides_files else str(writable)

    def run(self, argv: Sequence[str], spec: SandboxSpec) -> SandboxEnd:
        """Run `argv` to its end, or to the first limit that it passes."""
        return self.start(argv, spec).wait()

    def start(
        self, argv: Sequence[str], spec: SandboxSpec, *, with_pipes: bool = False, reads_stdout: bool = False
    ) -> SandboxedProcess:
        """Start `argv`; with pipes, its standard input is the caller's, and its output unless read here.

        Raises:
            TrackerError: the sandbox could not be started.
        """
        uid = sandbox_args.new_uid() if self.variant.drops_root else None
        if uid is not None:
            os.chown(spec.writable, uid, uid)
        # the first process of the sandbox keeps what we give here: nothing of our own environment
        env = {} if self.hides_files else sandbox_args.environment(spec.env, needs_gpu=spec.needs_gpu)
        leave_keyring()
        with contextlib.ExitStack() as stack:
            binds = self._binds(spec, stack)
            pipes = binds.pipes
            fds = [*binds.input_fds.values(), *([] if binds.filter_fd is None else [binds.filter_fd])]
            fds += [pipes.tells.fileno(), pipes.waits.fileno()] if pipes is not None else []
            try:
                process = subprocess.Popen(
                    self._command(argv, spec, binds, uid),
                    stdin=subprocess.PIPE if with_pipes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    cwd="/" if self.hides_files else spec.writable,
                    env={"PATH": os.defpath} | env | {MARK: str(spec.writable)},
                    pass_fds=fds,
                )
            except OSError as error:
                raise TrackerError(f"the sandbox could not be started: {error}", hint=INSTALL_HINT) from error
            try:
                output_fd = None if pipes is None else opened_output(pipes, sandbox_args.OUTPUT)
            except TrackerError:
                process.kill()
                raise
        reads_stdout = reads_stdout or not with_pipes
        return SandboxedProcess(process, spec, reads_stdout=reads_stdout, output_fd=output_fd)

    def _binds(self, spec: SandboxSpec, stack: contextlib.ExitStack) -> sandbox_args.Binds:
        """What bubblewrap is to show; open files are closed with the stack, after it has inherited them."""
        binds = sandbox_args.Binds(
            spec.read_only,
            spec.writable,
            spec.packages,
            needs_gpu=spec.needs_gpu,
        )
        if self.variant.is_filtered and self.kind is not Kind.NONE:
            binds = replace(binds, filter_fd=stack.enter_context(_in_memory(filter_program(spec.calls))))
        if self.variant.is_in_memory and self.hides_files:
            files = {name: path for name, path in spec.read_only.items() if path.is_file()}
            opened = {name: stack.enter_context(path.open("rb")).fileno() for name, path in files.items()}
            found = image(spec.packages, needs_gpu=spec.needs_gpu)
            binds = replace(binds, image=found, input_fds=opened)
            if not spec.runs_programs:
                binds = replace(binds, output_bytes=FOLDER_FILES * spec.limits.file_bytes + SPARE_BYTES)
                if spec.keeps_output:
                    binds = replace(binds, pipes=stack.enter_context(setup_pipes()))
        return binds

    def _command(
        self, argv: Sequence[str], spec: SandboxSpec, binds: sandbox_args.Binds, uid: int | None
    ) -> list[str]:
        limited = [*sandbox_args.rlimits(spec.limits, needs_gpu=spec.needs_gpu), *argv]
        if self.hides_files:
            env = sandbox_args.environment(spec.env, needs_gpu=spec.needs_gpu)
            return sandbox_args.bubblewrap(self.variant, binds, env, limited, uid=uid)
        dies = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        if binds.filter_fd is not None:
            limited = [*python_command("-I", "-S", str(CONFINE), str(binds.filter_fd)), *limited]
        return [*dies, *(sandbox_args.UNSHARE if self.kind is Kind.UNSHARE else []), *limited]


def leave_keyring() -> None:
    """Give this thread, and so whatever it starts, a new session keyring; some kernels have none."""
    if is_supported() and sys.platform == "linux":
        ctypes.CDLL(None).syscall(call_number("keyctl"), JOIN_KEYRING, None)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """An open file with this content, to be read once by a child."""
    handle = os.memfd_create("given")
    try:
        os.write(handle, content)
        os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


class SandboxedProcess:
    """A program at work in a sandbox, and the thread that watches it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        spec: SandboxSpec,
        *,
        reads_stdout: bool,
        output_fd: int | None = None,
    ) -> None:
        self.process = process
        self._output_fd = output_fd  # of a folder in memory
        self._output = spec.writable if output_fd is None else Path(f"/proc/self/fd/{output_fd}")
        self._writable = spec.writable
        self._watch = SandboxWatch(process.pid, self._output, spec.limits)
        self._mark = str(spec.writable)
        self._tails = {"stdout": b"", "stderr": b""}
        self._why: str | None = None
        self._ended = threading.Event()
        streams = [("stderr", process.stderr)] + ([("stdout", process.stdout)] if reads_stdout else [])
        self._threads = [threading.Thread(target=self._drain, args=s, daemon=True) for s in streams]
        self._threads.append(threading.Thread(target=self._follow, name="sandbox-watch", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def cpu_s(self) -> float:
        """CPU seconds up to the last look."""
        return self._watch.cpu_s

    def cpu_now_s(self) -> float:
        """CPU seconds up to now."""
        self.look()
        return self.cpu_s

    def wall_now_s(self) -> float:
        """Seconds since the start."""
        return self._watch.wall_s

    def look(self) -> None:
        """See now what it uses; the watch does so by itself, five times a second."""
        if (why := self._passed()) is not None:
            self._kill(why)

    def wait(self) -> SandboxEnd:
        """Wait for the end of the program."""
        process = self.process
        reaped_cpu_s = 0.0
        try:
            reaped_cpu_s = _reaped_cpu_s(process)
        except BaseException:  # Ctrl-C
            self._kill("stopped")
            raise
        finally:
            self._ended.set()
        end_marked(self._mark)
        for thread in self._threads:
            thread.join(END_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._fetch()
        return self._end(process.returncode, reaped_cpu_s)

    def _fetch(self) -> None:
        """Copy what the program left in memory, if it ended by itself."""
        if self._output_fd is None:
            return
        try:
            if self._why is None:
                most_bytes = FOLDER_FILES * self._watch.limits.file_bytes
                self._why = self._watch.look_at_folder()
                if self._why is None and not fetch_output(
                    self._output, self._writable, most_bytes=most_bytes
                ):
                    self._why = "disk"
        finally:
            os.close(self._output_fd)
            self._output_fd = None

    def stop(self) -> SandboxEnd:
        """End it now, with all that it started."""
        self._kill("stopped")
        return self.wait()

    def _end(self, returncode: int, reaped_cpu_s: float) -> SandboxEnd:
        said = {name: tail.decode(errors="replace") for name, tail in self._tails.items()}
        status = STATUS_OF[self._why] if self._why else EndStatus.ENDED
        if self._why is None and returncode in KILLED:  # by the kernel, before the watch saw why
            is_spent = self._watch.cpu_s > SPENT_SHARE * self._watch.limits.cpu_s
            status = EndStatus.TIMED_OUT if is_spent else EndStatus.OUT_OF_MEMORY
        return SandboxEnd(
            status,
            returncode,
            said["stdout"],
            said["stderr"],
            # the kernel's account has the time since the last look; of what was killed it lacks a part
            cpu_s=max(self._watch.cpu_s, reaped_cpu_s),
            wall_s=self._watch.wall_s,
            peak_memory_bytes=self._watch.peak_memory_bytes,
        )

    def _drain(self, name: str, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by us
            while block := os.read(stream.fileno(), TAIL_BYTES):
                self._tails[name] = (self._tails[name] + block)[-TAIL_BYTES:]

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            if (why := self._passed()) is not None:
                self._kill(why)
                return

    def _passed(self) -> str | None:
        """The limit that is passed; a look that fails ends the sandbox, which nobody would watch any more."""
        try:
            return self._watch.look()
        except Exception:  # noqa: BLE001 - whatever it is, the limits hold no more
            _log.exception("the sandbox in %s cannot be watched and is ended", self._mark)
            return "disk"

    def _kill(self, why: str) -> None:
        """Kill the first process of the sandbox's own process space, and so all of it at once.

        What started it then reads its CPU time and ends by itself; only if it does not, it is killed too.
        """
        if self._ended.is_set():
            return
        self._why = self._why or why
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                child.kill()
        if not self._ended.wait(GRACE_S):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        end_marked(self._mark)


def _reaped_cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; CPU seconds of the process and of all that it waited for, by the kernel's account."""
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError:  # waited for by somebody else
        process.wait()
        return 0.0
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def find(*, allow_none: bool = False) -> Sandbox:
    """The best sandbox that works on this machine.

    Raises:
        TrackerError: there is none, and `allow_none` does not allow to go without.
    """
    found = probe()
    if found.kind is Kind.NONE and not allow_none:
        raise TrackerError(f"no sandbox works on this machine: {found.why}", hint=INSTALL_HINT)
    return found


def for_study(begun_in: str, *, runs_code: bool, needs_gpu: bool = False) -> Sandbox:
    """The sandbox of a study's trainings, by the kind that it was begun in.

    Raises:
        TrackerError: an agent's code is to run, and what works here now is weaker than that.
    """
    if begun_in == Kind.NONE:
        return Sandbox(Kind.NONE, lacks=("nothing is hidden from the trained script",))
    found = find(allow_none=not runs_code)
    if needs_gpu and found.is_trusted:
        found = _with_card(found)
    if runs_code:
        require_trusted(found)
    return found


def require_trusted(found: Sandbox) -> None:
    """Refuse a sandbox that may not run what an agent wrote.

    Raises:
        TrackerError: it hides too little, or has no filter of system calls.
    """
    if not found.is_trusted:
        why = found.why or "; ".join(found.lacks)
        message = f"the sandbox `{found.kind}` is too weak for code that an agent wrote: {why}"
        raise TrackerError(message, hint=INSTALL_HINT if found.why else DOCTOR_HINT)


@lru_cache(maxsize=4)
def _with_card(sandbox: Sandbox) -> Sandbox:
    """The same sandbox if a card works under its filter; else without the filter, which it then lacks."""
    problem = _problem(sandbox, STARTS_CARD, needs_gpu=True)
    if problem is None:
        return sandbox
    is_open = replace(sandbox, variant=replace(sandbox.variant, is_filtered=False))
    if _problem(is_open, STARTS_CARD, needs_gpu=True) is not None:
        return sandbox  # the filter is not what stops the card
    return replace(is_open, lacks=(*sandbox.lacks, f"{NO_FILTER} under which a card works ({problem})"))


def probe() -> Sandbox:
    """The best sandbox that works on this machine, `none` included; looked for once per process and PATH."""
    return _probed(os.environ.get("PATH", ""))


@lru_cache(maxsize=8)
def _probed(search_path: str) -> Sandbox:
    why = ["bubblewrap is not installed"]
    if shutil.which("bwrap") and sys.platform == "linux":
        why = []
        for variant in variants():
            problem = _problem(Sandbox(Kind.BUBBLEWRAP, variant))
            if problem is None:
                return Sandbox(Kind.BUBBLEWRAP, variant, lacks=_lacks(variant))
            why.append(problem)
    reason = why[-1]
    if shutil.which("unshare") and sys.platform == "linux":
        for is_filtered in (True, False) if is_supported() else (False,):
            variant = sandbox_args.Variant(is_filtered=is_filtered, is_in_memory=False)
            lacks = ("the user's files can be read and written", *(() if is_filtered else (NO_FILTER,)))
            weak = Sandbox(Kind.UNSHARE, variant, lacks=lacks, why=reason)
            if _problem(weak) is None:
                return weak
    open_to = ("the user's files can be read and written", "the network is open", "no process is hidden")
    return Sandbox(Kind.NONE, lacks=open_to, why=reason)


def variants() -> list[sandbox_args.Variant]:
    """Best first: a filter is worth more than files in memory."""
    known = sandbox_args.VARIANTS_AS_ROOT if os.geteuid() == 0 else sandbox_args.VARIANTS
    on_disk = [replace(variant, is_in_memory=False) for variant in known]
    is_open = [replace(variant, is_filtered=False) for variant in on_disk]
    return [*known, *on_disk, *is_open] if is_supported() else is_open


def _lacks(variant: sandbox_args.Variant) -> tuple[str, ...]:
    lacks = []
    if not variant.is_filtered:
        lacks.append(f"{NO_FILTER} works here")
    if not variant.is_in_memory:
        lacks.append("its files lie on the disk, where a program can see what the one before it read")
    if not variant.is_hardened:
        lacks.append("user namespaces inside, and `/tmp` of any size")
    if os.geteuid() == 0 and not variant.drops_root:
        lacks.append("the program runs as root, so only our own monitor enforces the process limit")
    return tuple(lacks)


def _problem(sandbox: Sandbox, code: str = "pass", *, needs_gpu: bool = False) -> str | None:
    """Why this way to confine does not work here; None if it does."""
    with tempfile.TemporaryDirectory(prefix="tracker-probe-") as folder:
        spec = SandboxSpec({}, Path(folder), PROBE_LIMITS, packages=(), needs_gpu=needs_gpu)
        try:
            end = sandbox.run(python_command("-c", code), spec)
        except TrackerError as error:
            return str(error)
    if end.returncode == 0:
        return None
    return (end.stderr_tail.strip().splitlines() or [f"ended with code {end.returncode}"])[-1]


def make_readable(paths: Iterable[Path]) -> None:
    """Let everybody read these files of ours, whatever the umask: the program may run as another user."""
    for path in paths:
        path.chmod(0o644)


def remove_tree(folder: Path) -> None:
    """Delete a folder in which a program wrote, however deep and whatever it did to the permissions.

    What cannot be deleted stays: the work that the program belonged to goes on.
    """
    for command in (["rm", "-rf", "--"], ["chmod", "-R", "u+rwX", "--"], ["rm", "-rf", "--"]):
        if not os.path.lexists(folder):
            return
        with contextlib.suppress(OSError):
            subprocess.run(
                [*command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )


def describe() -> str:
    """One line for people: the kind, and what it lacks or why there is no better one."""
    found = probe()
    notes = [f"lacks: {'; '.join(found.lacks)}"] if found.lacks else []
    notes += [found.why] if found.why else []
    return ", ".join([str(found.kind), *notes])


def end_marked(folder: str) -> int:
    """Kill every process of ours whose sandbox writes in this folder or below it; how many there were."""
    n = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mark = process.environ().get(MARK, "")
            if mark == folder or mark.startswith(f"{folder}/"):
                process.kill()
                n += 1
    return n
