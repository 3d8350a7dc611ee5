"""Detect how this program was installed, and build the command that extends that installation.

It is on no package index, so no command uses its name alone: whoever registers that name could run their code
here.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tracker.errors import TrackerError
from tracker.settings import ROOT

DISTRIBUTION = "open-weight-tracker"
CONSTRAINTS = "constraints.txt"
_EXTRA_MARKER = re.compile(r"""\bextra\s*==\s*['"](?P<extra>[\w.-]+)['"]""")


def is_checkout() -> bool:
    """Whether this code runs from a clone of the repository, as after `pip install -e`."""
    return (ROOT / "pyproject.toml").is_file()


def constraints_path() -> Path:
    """File of versions known to work together: in the clone, or inside the installed package."""
    return ROOT / CONSTRAINTS if is_checkout() else ROOT / "tracker" / CONSTRAINTS


def install_command(*extras: str) -> str:
    """Command that installs this program with `extras`, in the same way as before."""
    named = f"[{','.join(extras)}]" if extras else ""
    if is_checkout():
        place = "." if _is_here() else str(ROOT)
        return f"{_pip()} -e {_quoted(place + named)}"
    origin = _origin()
    if origin is None:
        return f"{_pip()} {' '.join(map(_quoted, requirements(*extras)))}"
    return f"{_pip()} {_quoted(_requirement(origin, named))}"


def package_command(*packages: str) -> str:
    """Command that installs other packages in versions known to work."""
    return f"{_pip()} {' '.join(map(_quoted, packages))}"


def installed_version(package: str, *, extra: str) -> str:
    """Version of a package that `extra` installs.

    Raises:
        TrackerError: it is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        message = f"this needs the package `{package}`, which is not installed"
        raise TrackerError(message, hint=install_command(extra)) from error


def is_pinned(package: str) -> bool:
    """Whether the constraints pin the package; hints suggest only pinned ones."""
    wanted = _normalized(package)
    lines = constraints_path().read_text(encoding="utf-8").splitlines()
    return any(_normalized(line.partition("==")[0]) == wanted for line in lines if "==" in line)


def requirements(*extras: str) -> list[str]:
    """Requirements of the extras, or of the core if none is given, as arguments for pip."""
    found = []
    for line in metadata.requires(DISTRIBUTION) or ():
        requirement, _, marker = line.partition(";")
        match = _EXTRA_MARKER.search(marker)
        if (match["extra"] in extras) if match else not extras:
            found.append(requirement.strip())
    return sorted(set(found))


def _pip() -> str:
    constraints = CONSTRAINTS if is_checkout() and _is_here() else str(constraints_path())
    return f"pip install -c {_quoted(constraints)}"


def _is_here() -> bool:
    try:
        return Path.cwd() == ROOT
    except OSError:  # the working directory was deleted
        return False


def _origin() -> str | None:
    """The URL that pip installed this program from; None if it is not recorded, or the file is gone."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        document = json.loads(text or "{}")
        url = str(document["url"])
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None
    if url.startswith("file:"):
        return url if Path(unquote(urlsplit(url).path)).exists() else None
    if "vcs_info" in document:  # not recorded, but pip needs it
        return f"{document['vcs_info']['vcs']}+{url}@{document['vcs_info']['commit_id']}"
    return url


def _requirement(origin: str, named: str) -> str:
    if origin.startswith("file:"):
        return unquote(urlsplit(origin).path) + named
    return f"{DISTRIBUTION}{named} @ {origin}"


def _normalized(name: str) -> str:
    """The normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _quoted(word: str) -> str:
    return shlex.quote(word)
