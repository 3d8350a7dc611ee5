"""What to do about a run that failed, by its `reason`."""

from __future__ import annotations

HINTS = {
    "gated": "Accept the licence on the model's page, then log in with `hf auth login`",
    "pickle_weights": "Only safetensors are loaded: look for a converted repository",
    "needs_remote_code": "Read the repository's code; if you trust it, add `--trust-remote-code`",
    "missing_weights": "Download the missing shard, or name a complete folder",
    "broken_weights": "Delete the file from the cache and download it again",
    "unsupported": "Try another engine with `--engine`, or update it",
    "does_not_fit": "`tracker fit MODEL` lists the settings that would fit",
    "out_of_memory": "Lower `--max-model-len`, or see `tracker fit MODEL`",
    "engine_died": "Repeat the command: it goes on where it stopped",
    "hang": "Repeat the command: it goes on where it stopped",
    "killed": "Memory may have run out: lower `--max-model-len` or `--max-num-seqs`, repeat the command",
    "no_tasks": "Not one task could be asked: see what happened; suite `quick` needs no network",
    "unreachable": "Repeat the command when the server or the data set can be reached: it goes on there",
    "disk_full": "Free some space (`hf cache rm` for old models), then repeat the command: it goes on there",
    "error": "See what happened; `worker.log` in the run's folder of `jobs` has the whole story",
}


def hint(reason: object) -> str:
    """One sentence on what would help, or nothing for a reason that is not known."""
    return HINTS.get(str(reason), "")
