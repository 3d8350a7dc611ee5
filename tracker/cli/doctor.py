"""`tracker doctor`: check this machine; the output can be pasted into a report and holds no secrets."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.foreign_text import one_line
from tracker.serialization import dump
from tracker.settings import load_settings

MARKS = {"ok": "ok  ", "warn": "warn", "missing": "miss"}


def doctor(
    *,
    deep: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check what works on this machine and suggest fixes; exit code 1 only if the core is broken.

    Parameters
    ----------
    deep
        Also import torch and the engines that are installed, in a separate process; takes up to a minute.
    json
        Print one JSON document: `checks`, `works`.
    """
    from tracker.cli.doctor_checks import run_checks

    checks = run_checks(load_settings(), deep=deep)
    broken = [check for check in checks if check.status == "missing" and check.is_required]
    if json:
        print_json({"works": not broken, "checks": [dump(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{MARKS[check.status]}  {check.name:<{width}}  {one_line(check.detail)}".rstrip())
            if check.hint and check.status != "ok":
                print(f"{'':<{width + 8}}→ {one_line(check.hint)}")
    if broken:
        print(f"error: {broken[0].name}: {one_line(broken[0].detail)}", file=sys.stderr)
        sys.exit(1)
