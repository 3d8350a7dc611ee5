"""A coding harness of somebody else at work on a study: started in bubblewrap, with a folder of its own.

It reaches the tools over loopback, and the network, since that is where its model is. It sees its folder, the
system's programs and its own installation; not the home of the tracker, where the held-out text and the seeds
are. It is a program of the user's choice: this keeps it from reading what would spoil the study, and is no
wall against one that wants to do harm through the network.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runners.research.tools.http_face import serve_http
from runners.research.tools.session import ToolSession
from tracker.errors import TrackerError, UsageError
from tracker.foreign_text import one_line
from tracker.loopback import Address

FOLDER, LOG = "harness", "harness.log"
INSIDE = "/workspace"
SYSTEM = ("/usr", "/opt")
SETTINGS = (  # of the system, that programs read: names, certificates, libraries, the time zone
    "alternatives", "ca-certificates", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "nsswitch.conf", "passwd", "pki", "resolv.conf", "ssl",
)  # fmt: skip
LINKS = ("bin", "sbin", "lib", "lib32", "lib64")  # into /usr on most systems
MAX_FILE_BYTES = 4 << 30  # of one file that it writes, its log included
START_S = 60.0
END_S = 10.0  # for the harness, when it is asked to end
SHOWN_LINE = 300
TASK = """# Your task

Improve a training script. It is not in this folder: you work on it through tools, which are served at the
addresses in the environment:

- `TRACKER_MCP_URL`: a server of the Model Context Protocol, with `Authorization: Bearer $TRACKER_TOOLS_KEY`;
- `TRACKER_TOOLS_URL`: the same over HTTP: `GET /v1/tools`, and `POST /v1/tools/NAME` with a JSON object.

Without MCP, use the shell: `python3 tool.py NAME '{"argument": "value"}'`; `python3 tool.py` lists the tools.
Begin with `status` and with `read_file` of `program.md`, which says what counts. Change the draft, `submit`
it as a trial, read the verdict, and go on until `status` says that no trials are left.
"""
TOOL = """import json, os, sys, urllib.request

url = os.environ["TRACKER_TOOLS_URL"] + ("/" + sys.argv[1] if len(sys.argv) > 1 else "")
body = (sys.argv[2] if len(sys.argv) > 2 else "{}").encode() if len(sys.argv) > 1 else None
request = urllib.request.Request(url, body, {"Authorization": "Bearer " + os.environ["TRACKER_TOOLS_KEY"]})
try:
    with urllib.request.urlopen(request) as answer:
        said = json.load(answer)
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
print(said["text"] if "text" in said else json.dumps(said, indent=1))
"""
CODEX = """[mcp_servers.tracker]
url = "{url}"
bearer_token_env_var = "TRACKER_TOOLS_KEY"
"""


@dataclass(frozen=True, slots=True)
class Harness:
    """A command to start; `environment` is what it gets of ours, such as the key of its model's server."""

    command: Sequence[str]
    home: Path  # of the tracker, which it must not see
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> Path:
        """The program that is started.

        Raises:
            TrackerError: there is none of that name.
        """
        found = shutil.which(self.command[0])
        if found is None:
            message = f"the harness `{self.command[0]}` is not installed"
            raise TrackerError(message, hint="name a program on PATH, or give its whole path")
        return Path(found).absolute()


def parse_command(text: str) -> list[str]:
    """The words of a command line; no shell reads it.

    Raises:
        UsageError: it is empty, or a quote has no end.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"`--harness {text}` cannot be read: {error}") from error
    if not words:
        raise UsageError("`--harness` is empty", hint="for example `--harness 'codex exec \"read TASK.md\"'`")
    return words


def work_with(harness: Harness, session: ToolSession, folder: Path) -> None:
    """Let the harness work on the study of `session` until it ends, or the study does.

    Its folder and its log are kept in `folder`.

    Raises:
        TrackerError: it cannot be started, or it ended with an error before the trials were used up.
    """
    workspace = folder / FOLDER
    argv = harness_command(harness, workspace)
    found: queue.Queue[Address] = queue.Queue()
    server = threading.Thread(
        target=serve_http, args=(session,), kwargs={"port": 0, "tell": found.put}, daemon=True
    )
    server.start()
    address = found.get(timeout=START_S)
    write_workspace(workspace, address)
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=inside_environment(harness, address),
            start_new_session=True,
        )
        try:
            code = process.wait()
        finally:
            _end(process)
    if session.has_ended_its_trials:
        session.wait_for_end()
    elif code:
        message = f"the harness ended with code {code}: {_last_line(folder / LOG)}"
        raise TrackerError(message, hint=f"its output: {folder / LOG}")


def write_workspace(workspace: Path, address: Address) -> None:
    """Put the task, a tool for the shell and Codex' settings into the folder of the harness."""
    (workspace / ".codex").mkdir(parents=True, exist_ok=True)
    (workspace / "TASK.md").write_text(TASK)
    (workspace / "tool.py").write_text(TOOL)
    (workspace / ".codex" / "config.toml").write_text(CODEX.format(url=address.mcp_url))
    headers = {"Authorization": "Bearer ${TRACKER_TOOLS_KEY}"}
    server = {"type": "http", "url": address.mcp_url, "headers": headers}
    (workspace / ".mcp.json").write_text(json.dumps({"mcpServers": {"tracker": server}}, indent=1))


def harness_command(harness: Harness, workspace: Path) -> list[str]:
    """The whole command, with bubblewrap around it; its environment is the one it is started with.

    Raises:
        TrackerError: there is no bubblewrap, or what the harness needs contains the home.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        message = "a harness needs bubblewrap, which is not installed"
        hint = "`apt install bubblewrap`; or `tracker research serve --http 0`, and start it yourself"
        raise TrackerError(message, hint=hint)
    words = [bwrap, "--unshare-all", "--share-net", "--die-with-parent", "--cap-drop", "ALL"]
    for path in (*SYSTEM, *(f"/etc/{name}" for name in SETTINGS)):
        words += ["--ro-bind-try", path, path]
    for name in LINKS:
        place = Path("/", name)
        if place.is_symlink():
            words += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
    for each in installation(harness):
        words += ["--ro-bind", str(each), str(each)]
    words += [
        "--bind",
        str(workspace),
        INSIDE,
        "--chdir",
        INSIDE,
        "--",
        "prlimit",
        f"--fsize={MAX_FILE_BYTES}",
    ]
    return [*words, "--core=0", "--", str(harness.program), *harness.command[1:]]


def inside_environment(harness: Harness, address: Address) -> dict[str, str]:
    """All variables that the harness gets."""
    folders = [str(each / "bin") for each in installation(harness)]
    return {
        **harness.environment,
        "PATH": os.pathsep.join([*folders, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": INSIDE,
        "LANG": "C.UTF-8",
        "CODEX_HOME": f"{INSIDE}/.codex",
        "TRACKER_MCP_URL": address.mcp_url,
        "TRACKER_TOOLS_URL": f"{address.url}/v1/tools",
        "TRACKER_TOOLS_KEY": address.key,
    }


def installation(harness: Harness) -> list[Path]:
    """The folders outside of the system's that the program needs: its own, and its interpreter's.

    Raises:
        TrackerError: one of them contains the home.
    """
    program = harness.program
    found = [program.parent.parent, program.resolve().parent.parent]
    for prefix in list(found):
        settings = prefix / "pyvenv.cfg"
        if settings.is_file():
            pairs = [line.partition("=") for line in settings.read_text().splitlines()]
            found += [Path(value.strip()).parent for name, _, value in pairs if name.strip() == "home"]
    kept = [
        each for each in dict.fromkeys(found) if not any(each.is_relative_to(s) for s in (*SYSTEM, "/bin"))
    ]
    for each in kept:
        if harness.home.resolve().is_relative_to(each.resolve()) or each == Path("/"):
            message = f"the harness is installed in `{each}`, which contains the home `{harness.home}`"
            raise TrackerError(message, hint="install it in a folder of its own: it must not see the home")
    return kept


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the harness with all that it started: bubblewrap takes its own processes along."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(log: Path) -> str:
    """The last thing that it said, as one line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return next((one_line(line)[:SHOWN_LINE] for line in reversed(lines) if line.strip()), "it said nothing")
