"""Advice on failed runs, by their `reason`."""

from __future__ import annotations

HINTS = {
    "gated": "Accept the license on the model's page, then log in with `hf auth login`",
    "pickle_weights": "Only safetensors files are loaded: look for a converted repository",
    "needs_remote_code": "Review the repository's code; if you trust it, add `--trust-remote-code`",
    "missing_weights": "Download the missing shard, or pass a complete folder",
    "broken_weights": "Delete the file from the cache and download it again",
    "unsupported": "Try another engine with `--engine`, or update this one",
    "does_not_fit": "Run `tracker fit MODEL` to list settings that would fit",
    "out_of_memory": "Lower `--max-model-len`, or run `tracker fit MODEL`",
    "engine_died": "Repeat the command: it resumes where it stopped",
    "hang": "Repeat the command: it resumes where it stopped",
    "killed": "The machine may be out of memory: lower `--max-model-len` or `--max-num-seqs`, then repeat the"
    " command",
    "no_tasks": "No task could be run: see the details; suite `quick` needs no network",
    "unreachable": "Repeat the command when the server or data set is reachable: it resumes where it stopped",
    "disk_full": "Free disk space (`hf cache rm` removes old models), then repeat the command: it resumes",
    "error": "See the details, and `worker.log` in the run's folder under `jobs` for the full log",
}


def failure_hint(reason: object) -> str:
    """One sentence on how to fix it, or nothing for an unknown reason."""
    return HINTS.get(str(reason), "")
