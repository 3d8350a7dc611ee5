"""Real `--json` documents of every command, made on a small store with invented models, and the keys in them.

Where running a command would need a card, minutes or a change to this machine, the document is built by
the function that the command prints with, or the command is in `NOT_RUN` with the reason.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runners.research.attacks.run import AttackOutcome
from runners.research.judgement import SeedJudgement
from tests.builders.episode_runs import LEVELS, episode_run, store_episodes
from tests.builders.ladders import store_ladder
from tests.builders.some_studies import store_study, study
from tests.builders.speeds import speed, store_speed
from tests.builders.store_builder import NOW, build_store, measure_published
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry
from tracker.answers.placement import place_run
from tracker.answers.speed import read_speeds, speed_document
from tracker.cli.bench_output import document as run_document
from tracker.cli.bench_queue import document as job_document
from tracker.cli.command_line import command_line
from tracker.cli.research_output import judgement_document
from tracker.errors import TrackerError
from tracker.files.items import read_run, run_folders
from tracker.queue.runner import Worked
from tracker.research.corpus_report import CorpusReport
from tracker.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMMAND_S = 120
RESULTS = ROOT / "tests" / "fixtures" / "foreign" / "lm_eval"
ENDS = (0, 4)  # 4: one of the sources has no key here
N_STUDY = 90  # beyond the studies of the builder, which are in the database alone
N_EPISODE_RUN = 90  # beyond its runs
NOT_RUN = {
    "app": "starts the server, and prints `url`, `health`, `open_url`, `token` and `home`; with `--export`,"
    " `files`",
    "completion": "prints `shell`, and `script` or `path`",
    "queue run": "measures models, and prints `jobs`, as `bench --queue`",
    "research improve-program": "trains for an hour, and prints `search`, its settings, `version`, "
    "`is_confirmed`, `gain_bpb` with its interval, and `versions`",
    "research baseline": "trains for minutes, and prints `studies`, as `research show`",
    "research resume": "trains for minutes, and prints the study as `research show STUDY`, without trials",
    "research run": "trains for minutes, and prints the study as `research show STUDY`, without trials",
    "research stop": "needs a study under way, and prints its id as `study`",
    "schedule install": "changes this machine, and prints `kind` and `detail`",
    "schedule remove": "changes this machine, and prints `removed`",
    "store export": "writes a file, and prints `path`, `n_files`, `n_bytes`, `archive_bytes`, `left_out`",
    "store import": "needs an empty home, and prints `n_files`, `n_bytes`, `rebuilt`, `snapshot`",
}
# Objects whose keys are data, such as the names of packages.
DATA_KEYED = frozenset(
    {
        "effects[].definitions",
        "groups[].rows[].gains_by_category",
        "n_tokens",
        "ngram_bpb",
        "overlap",
        "rows[]",
        "runs[].versions",
        "trials[].params",
        "trials[].parent_params",
    }
)
TYPES = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "list",
    str: "text",
    type(None): "null",
}
ORDER = ["text", "integer", "number", "boolean", "list", "object", "null"]
# What is run, per heading; later lines may rely on earlier ones. `{study}` is a study of the store.
RUN: dict[str, Sequence[str]] = {
    "benchmarks": ("benchmarks",),
    "benchmarks NAME": ("benchmarks MMLU",),
    "compare": ("compare acme/atlas-2-8b borealis/nimbus-4b-thinking",),
    "compare --published": ("compare --published 'Kimi K3' 'GPT-5.6 Sol'",),
    "digest": ("digest",),
    "doctor": ("doctor",),
    "fit": ("fit {folder} --vram-gb 24", "fit {folder} --vram-gb 0.001"),
    "fit --gpu": ('fit --gpu "RTX 4090" --limit 5',),
    "frontier": ("frontier",),
    "frontier contamination": ("frontier contamination",),
    "frontier history": ("frontier history",),
    "frontier jaggedness": ("frontier jaggedness",),
    "frontier lags": ("frontier lags",),
    "frontier licenses": ("frontier licenses",),
    "frontier outlook": ("frontier outlook",),
    "frontier overrides": ("frontier overrides",),
    "frontier pareto": ("frontier pareto", "frontier pareto --cost memory --task count_letters"),
    "import": ("import {results} --dry-run",),
    "export": ("export exported --table runs --dry-run",),
    "index fit": ("index fit",),
    "index show": ("index show",),
    "index vintages": ("index vintages",),
    "ladder": ("ladder acme/atlas-2-8b --show",),
    "leaderboard": ("leaderboard",),
    "leaderboard --suite home": ("leaderboard --suite home",),
    "plan": ("plan Qwen3-8B",),
    "models": ("models",),
    "models --fits-gb": ("models --fits-gb 24",),
    "models --known": ("models --known",),
    "models --match": ("models --match lmarena:some-model=acme/atlas-2-8b",),
    "query": ("query 'select 1 as n, null as nothing'",),
    "queue": ("queue",),
    "queue add": ("queue add demo",),
    "queue park": ("queue park demo",),
    "queue unpark": ("queue unpark demo",),
    "queue remove": ("queue remove demo",),
    "queue refresh": ("queue refresh",),
    "research board": ("research board",),
    "research show": ("research show",),
    "research show STUDY": ("research show {study} --pairs",),
    "schedule print": ("schedule print",),
    "schedule status": ("schedule status",),
    "show": ("show acme/atlas-2-8b",),
    "store check": ("store check",),
    "store repair": ("store repair",),
    "store compact": ("store compact",),
    "store prune": ("store prune --keep 1",),
    "store publish": ("store publish",),
    "store rebuild": ("store rebuild",),
    "suites": ("suites",),
}


def documents() -> dict[str, list[Any]]:
    """The documents of each command, under the words that follow `tracker`, in the order of the alphabet."""
    with tempfile.TemporaryDirectory() as folder, _environment(Path(folder)):
        found = _ingested(Path(folder))
        settings = build_store(Path(folder) / "home")
        store_speed(settings, speed(model_id="acme/atlas-2-8b"))
        measure_published(settings, hub_id="moonshotai/Kimi-K3")
        store_study(settings, study(N_STUDY))
        store_ladder(settings, "acme/atlas-2-8b", "borealis/nimbus-4b-thinking", "delta/colossus-405b")
        store_episodes(
            settings, episode_run(N_EPISODE_RUN, "acme/atlas-2-8b", dict.fromkeys(LEVELS, (1.0, 0.0) * 12))
        )
        _write_model(Path(folder) / "tiny-1b")
        found |= {
            name: [_printed(_line(line, Path(folder))) for line in lines] for name, lines in RUN.items()
        }
        found |= _built(settings)
    return dict(sorted(found.items()))


def _ingested(folder: Path) -> dict[str, list[Any]]:
    """What `ingest` and the commands that show what it fetched print, on stand-ins for the sources.

    In a process of their own: the library of the Hub reads its address once, when it is imported.
    """
    with running_hub(SourcesHub()) as hub:
        assert isinstance(hub, SourcesHub)
        hub.put(entry("acme/gated-8b", gated="manual"))  # one that the queue parks: nothing is measured
        today = {name: value for name, value in os.environ.items() if name != "TRACKER_NOW"}
        environment = today | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "TRACKER_HOME": str(folder / "ingested"),
            "TRACKER_SOURCE_URLS": json.dumps(hub.source_urls),
        }
        found = {}
        for line in ("ingest", "weekly", "models --unmatched", "frontier boards", "frontier share"):
            done = subprocess.run(
                [sys.executable, "-m", "tracker", *line.split(), "--json"],
                capture_output=True, text=True, check=False, env=environment, cwd=ROOT, timeout=COMMAND_S,
            )  # fmt: skip
            if done.returncode not in ENDS:
                raise RuntimeError(f"tracker {line}: {done.stderr}")
            found[line] = [json.loads(done.stdout)]
    return found


def _built(settings: Settings) -> dict[str, list[Any]]:
    """Documents of commands that would need a card or minutes, by the functions that they print with."""
    runs = [read_run(folder) for folder in run_folders(settings.items_path)]
    worked = Worked("acme/atlas-2-8b", "quick", "done", None, (runs[0].run_id,), 1.5, 0)
    failed = Worked("acme/gated-8b", "quick", "parked", "gated", (), 1.5, 3)
    outcomes = [AttackOutcome("fork_bomb", "caught", "how it was caught")]
    scored = SeedJudgement(
        7, "ok", val=2.01, select=2.0, gain_val=0.03, gain_select=0.04, cpu_s=2.1, n_params=21_000
    )
    judged = [scored, SeedJudgement(8, "failed", "crashed", "NameError: name 'x' is not defined")]
    shares = {"val 12": 0.28, "val 32": 0.02}
    splits = {"train": 667_709, "val": 106_320, "select": 105_372, "test": 91_045}
    text = CorpusReport(
        "package-docs", "3f0e17", False, 1024, splits, shares, 5, {"val": 2.487, "test": 2.262}
    )
    built: dict[str, list[Any]] = {
        "bench": [run_document(run, place_run(run, settings) if run.scores else None) for run in runs],
        "bench --speed": [speed_document(one) for one in read_speeds(settings)],
        "bench --queue": [{"jobs": [job_document(one) for one in (worked, failed)]}],
        "research attack": [{"attacks": [asdict(one) for one in outcomes], "n_passed": 0}],
        "research corpus": [asdict(text)],
        "research judge": [judgement_document("edit.py", "smoke", judged)],
    }
    return {name: json.loads(json.dumps(found)) for name, found in built.items()}


def _line(line: str, folder: Path) -> list[str]:
    """The words of a line, with the folder of a small model, a study and results to import filled in."""
    words = {"folder": folder / "tiny-1b", "study": study(N_STUDY).study_id, "results": RESULTS}
    return [word.format(**words) for word in shlex.split(line)]


def _write_model(folder: Path) -> None:
    """A model folder that the fit check can read: a config and the header of one tensor."""
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 8,
        "dtype": "float32",
    }
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16}
    config |= {"intermediate_size": 16, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    tensor = {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}
    header = json.dumps({"lm_head.weight": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(512))
    (folder / "tokenizer.json").write_text("{}")


def _printed(arguments: Sequence[str]) -> Any:
    """The document that a command prints; it may end with another exit code than 0."""
    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told):
        try:
            command_line([*arguments, "--json"], exit_on_error=False, print_error=True)
        except TrackerError as error:
            raise RuntimeError(f"tracker {shlex.join(arguments)}: {error}") from error
        except SystemExit:
            pass
    if not printed.getvalue():
        raise RuntimeError(f"tracker {shlex.join(arguments)}: {told.getvalue()}")
    return json.loads(printed.getvalue())


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """A home of its own for this process and its children, with no card, Hub, key or timer of the user."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("TRACKER_", "HF_"))]:
        del os.environ[name]
    (folder / "bin").mkdir()
    os.environ |= {
        "PATH": str(folder / "bin"),  # no crontab: `schedule status` must not see a timer of this user
        "XDG_CONFIG_HOME": str(folder / "config"),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRACKER_HOME": str(folder / "home"),
        "TRACKER_NOW": NOW.isoformat(),  # else a document loses what a digest has once it is a week old
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Node:
    """One place in the documents of a command: the types found there, and what is below it."""

    types: set[str] = field(default_factory=set)
    below: dict[str, Node] = field(default_factory=dict)


def keys(found: Iterable[Any]) -> dict[str, str]:
    """Every path to a value in the documents and its types, in the order of the documents."""
    root = Node()
    for document in found:
        _add(document, root, "")
    return dict(_listed(root, ""))


def _add(value: Any, node: Node, path: str) -> None:
    node.types.add(TYPES[type(value)])
    if isinstance(value, dict):
        for key, inner in value.items():
            step = f".{'{}' if path in DATA_KEYED else key}".removeprefix("" if path else ".")
            _add(inner, node.below.setdefault(step, Node()), path + step)
    elif isinstance(value, list):
        for inner in value:
            _add(inner, node.below.setdefault("[]", Node()), f"{path}[]")


def _listed(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """The node, unless it is nothing but a container of what is below it, and then that."""
    types = node.types - ({"integer"} if "number" in node.types else set())
    if not node.below or types - {"object", "list"}:
        yield path, " or ".join(sorted(types, key=ORDER.index))
    for step, inner in node.below.items():
        yield from _listed(inner, path + step)
