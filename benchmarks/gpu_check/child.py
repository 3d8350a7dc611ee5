"""One section in a process of its own: `python -m benchmarks.gpu_check.child PLACE DEVICE FILE`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from benchmarks.gpu_check.findings import Findings

if __name__ == "__main__":
    place, device, path = sys.argv[1:]
    module, _, function = place.partition(":")
    getattr(importlib.import_module(module), function)(Findings(Path(path)), device)
