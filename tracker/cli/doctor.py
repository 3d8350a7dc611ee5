"""`tracker doctor`: what works on this machine, as a block to paste into a report; no secrets in it."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.codec import dump
from tracker.settings import load_settings

MARKS = {"ok": "ok  ", "warn": "warn", "missing": "miss"}


def doctor(
    *,
    deep: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Say what works on this machine, and what to do about the rest. Exit 1 only if the core is broken.

    Parameters
    ----------
    deep
        Also import torch and vLLM, in a process of their own; takes up to a minute.
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
            print(f"{MARKS[check.status]}  {check.name:<{width}}  {check.detail}".rstrip())
            if check.hint and check.status != "ok":
                print(f"{'':<{width + 8}}→ {check.hint}")
    if broken:
        print(f"error: {broken[0].name}: {broken[0].detail}", file=sys.stderr)
        sys.exit(1)
