"""`tracker completion`: shell completion with the Tab key."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.command_line import command_line
from tracker.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Literal["bash", "zsh", "fish"] | None = None,
    /,
    *,
    install: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Print the completion script of a shell, or install it for this user.

    Without `--install` nothing is written: `source <(tracker completion bash)` tries it in this shell.

    Parameters
    ----------
    shell
        Default: the shell in $SHELL.
    install
        Install the script for that shell, and add a line to its startup file if necessary.
    json
        Print one JSON document: `shell`, and `script` or `path`.
    """
    chosen: Any = shell or _own_shell()
    if install:
        path = str(command_line.install_completion(shell=chosen))
        if json:
            print_json({"shell": chosen, "path": path})
        else:
            print(path)
            print("open a new shell to use it", file=sys.stderr)
        return
    script = command_line.generate_completion(shell=chosen)
    if json:
        print_json({"shell": chosen, "script": script})
    else:
        sys.stdout.write(script)


def _own_shell() -> str:
    name = PurePath(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(
            "cannot detect the shell from $SHELL", hint="name it: `tracker completion bash`, `zsh` or `fish`"
        )
    return name
