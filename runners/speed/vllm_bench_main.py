"""vLLM's load generator as a child process: `python vllm_bench_main.py plan.json`.

It runs in an environment with vLLM, which need not be ours, so nothing of this project is imported. The
command `vllm bench serve` is not used: it would import vLLM once for each level, which takes up to half a
minute, and in the CPU build of 0.32.0 it does not start.

vLLM's generator keeps idle connections for a minute and asks for `/metrics` without the key on them. A server
may have closed one when the next request is sent on it; with llama.cpp's one of four requests was lost. So
idle connections are given up earlier here, and on the same machine each request has one of its own.

The plan has `levels`, each with the `arguments` of `vllm bench serve` and the path of the `result`, which
appears whole or not at all, and `is_local`: the server is on this machine. A line on standard output tells
each that is finished.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

KEPT_ALIVE_S = 2.0  # an idle connection
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Measure one level after the other."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what vLLM prints goes to the log
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))

    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as measure
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    use_connections(is_local=plan["is_local"])
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    print(json.dumps({"version": version()}), file=pipe, flush=True)
    for place, level in enumerate(plan["levels"]):
        result = measure(parser.parse_args(level["arguments"]))
        path = Path(level["result"])
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(result), encoding="utf-8")
        temporary.replace(path)
        print(json.dumps({"level": place}), file=pipe, flush=True)


def use_connections(*, is_local: bool) -> None:
    """Let the generator use no connection that the server may just have closed.

    A new one on the same machine takes less than a millisecond.
    """
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        def __init__(self, **settings: Any) -> None:
            settings |= {"force_close": is_local, "keepalive_timeout": KEPT_ALIVE_S}
            if is_local:
                del settings["keepalive_timeout"]
            super().__init__(**settings)

    aiohttp.TCPConnector = Connector  # type: ignore[misc]


def version() -> str:
    """The version of vLLM, whatever its distribution is called."""
    names = importlib.metadata.packages_distributions().get("vllm", ["vllm"])
    return importlib.metadata.version(names[0])


if __name__ == "__main__":
    main()
