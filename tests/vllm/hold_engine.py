"""Loads a model and tells the pids of its processes; then waits until it is ended from outside."""

from __future__ import annotations

import json
import sys

from runners.engines.vllm.engine import VllmEngine
from runners.engines.vllm.processes import children
from tests.vllm.conftest import FP32
from tracker.records import Model

if __name__ == "__main__":
    engine = VllmEngine(Model("org/name", "sha256:0", path=sys.argv[1]), FP32)
    print(json.dumps([child.pid for child in children()]), flush=True)
    sys.stdin.read()
    engine.close()
    print(json.dumps([child.pid for child in children()]), flush=True)
