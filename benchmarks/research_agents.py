"""A board of real studies: the embedded model by one answer and through tools, random search and TPE.

    python -m benchmarks.research_agents --home /tmp/agents --tier smoke --trials 10 --seeds 3
    python -m benchmarks.research_agents --home /tmp/agents --tier smoke --program

All agents of a seed train under the same secret, so their studies are paired and share the trainings of the
defaults. What is complete is not repeated, so the command can be run again after an end. `--program` runs
`improve-program` with one version instead. Hours on two busy cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
from pathlib import Path

from tracker.interpreter import python_command


def research(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with the public split of the texts, in a home of its own."""
    given = {"TRACKER_HOME": str(home), "TRACKER_CORPUS_SPLIT": "public"}
    command = python_command("-m", "tracker", "research", *arguments)
    return subprocess.run(command, env=os.environ | given, check=False, text=True, stdout=subprocess.PIPE)


def board(home: Path, *, tier: str, n_trials: int, seeds: int, transfer: bool) -> None:
    common = ["--tier", tier, "--trials", str(n_trials), *([] if transfer else ["--no-transfer"])]
    for seed in range(seeds):
        secret = hashlib.sha256(f"{home.name}/{seed}".encode()).hexdigest()
        of_seed = [*common, "--seed", str(seed), "--study-secret", secret]
        jobs = {
            "baselines": ["baseline", *of_seed],
            "once": ["run", "--agent", "demo", *of_seed],
            "tools": ["run", "--agent", "demo", "--loop", "tools", *of_seed],
        }
        for name, words in jobs.items():
            done = home / f"{tier}-{n_trials}-{seed}-{name}.done"
            if not done.exists() and research(home, *words).returncode == 0:
                done.touch()
    print(research(home, "board", "--tier", tier).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--tier", default="smoke")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--transfer", action="store_true")
    parser.add_argument("--program", action="store_true")
    given = parser.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    if given.program:
        words = ["improve-program", "--agent", "demo", "--tier", given.tier, "--trials", str(given.trials)]
        print(research(given.home, *words, "--versions", "2", "--seeds", str(given.seeds)).stdout)
    else:
        board(given.home, tier=given.tier, n_trials=given.trials, seeds=given.seeds, transfer=given.transfer)


if __name__ == "__main__":
    main()
