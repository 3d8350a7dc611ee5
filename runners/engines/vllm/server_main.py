"""vLLM's server as a child process that cannot outlive the process that started it.

Its own engine processes are bound to it by `runners.engines.vllm.lifeline`. The command `vllm` is not used:
in the CPU build of 0.32.0 it does not start.
"""

from __future__ import annotations

import runpy

from runners.child import die_with_parent

SERVER = "vllm.entrypoints.openai.api_server"

if __name__ == "__main__":
    die_with_parent()
    runpy.run_module(SERVER, run_name="__main__", alter_sys=True)
