"""`tracker bench` as a person types it: what it prints, how it ends, what it keeps."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from runners.hardware import describe_hardware
from runners.models.resolve import stored_model_id
from tests.builders.some_runs import failed
from tests.builders.some_runs import run as some_run
from tests.conftest import ROOT
from tests.doubles.command import command
from tests.runners.harness.test_worker import ENGINE, TASKS, rules
from tracker.bench.request import BenchRequest, token_budgets
from tracker.bench.run import bench as run_bench
from tracker.cli.bench_output import end_hint, print_run
from tracker.errors import FieldError, TrackerError, UsageError
from tracker.records import EngineSettings
from tracker.settings import Settings
from tracker.suites import get_suite

CONTRACT = {
    "run_id", "model_id", "revision", "engine", "engine_version", "suite", "status", "reason", "n_items",
    "n_reused_items", "duration_s", "prompt_tokens", "output_tokens", "tokens_per_s", "ttft_s",
    "peak_memory_bytes", "scores", "placement", "warnings",
}  # fmt: skip
SCORE_CONTRACT = {
    "task", "metric", "filter", "value", "stderr", "ci_low", "ci_high", "n_items", "chance",
    "truncated_fraction",
}  # fmt: skip


def bench(model: Path | str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Bench the test task `sums` on the engine that answers by rule, unless the arguments say otherwise."""
    usual = {"--engine": ENGINE, "--include-path": TASKS, "--task": "sums"}
    given = [word for flag, value in usual.items() if flag not in arguments for word in (flag, value)]
    return command("bench", str(model), *given, *arguments, **environment)


def check_clear(done: subprocess.CompletedProcess[str], *, code: int, says: str, hint: str) -> None:
    """One sentence, one hint, the right code, and never a traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert hint in done.stderr


@pytest.mark.usefixtures("home")
def test_json_keeps_the_contract_and_stdout_is_one_document(model_folder: Path) -> None:
    done = bench(model_folder, "--limit", "20", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document.keys() >= CONTRACT
    assert document["scores"][0].keys() >= SCORE_CONTRACT
    assert (document["status"], document["n_items"], document["n_reused_items"]) == ("complete", 20, 0)
    assert document["prompts"] == [{"task": "sums", "chat": True, "system": False, "tools": None}]
    repeated = bench(model_folder, "--limit", "20", "--json")
    again = json.loads(repeated.stdout)
    assert (again["n_items"], again["n_reused_items"]) == (20, 20)
    assert again["scores"] == document["scores"]
    (reused,) = again["reused"]
    assert (reused["run_id"], reused["n_items"]) == (document["run_id"], 20)
    said = f"20 answers reused from run {document['run_id']} of {reused['started_at'][:10]}"
    assert said in repeated.stderr
    shown = command("show", document["model_id"])
    assert shown.stdout.count(said) == 1
    assert shown.stdout.count("chat: template; system prompt: no") == 2


@pytest.mark.usefixtures("home")
def test_people_get_a_table_and_the_store_has_the_run(model_folder: Path) -> None:
    done = bench(model_folder, "--limit", "20")
    assert done.returncode == 0, done.stderr
    assert "sums" in done.stdout
    assert "95% interval" in done.stdout
    shown = json.loads(command("query", "select suite, status, n_items from runs", "--json").stdout)
    assert "complete" in json.dumps(shown)
    counted = json.loads(command("query", "select count(*) as n from items", "--json").stdout)
    assert "20" in json.dumps(counted)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "code", "says", "hint"),
    [
        (("--suite", "quik"), 1, "no suite is called `quik`", "`quick`"),
        (("--task", "sumz"), 1, "no task is called `sumz`", "`sums`"),
        (("--limit", "0"), 1, "limit", ""),
        (("--until", "80"), 1, "`--until` must be between 0 and 50 percentage points, got 80", "--until 1.5"),
        (
            ("--until", "nan"),
            1,
            "`--until` must be between 0 and 50 percentage points, got nan",
            "--until 1.5",
        ),
        (("--num-fewshot", "-1"), 1, "`--num-fewshot` must be 0 or more, got -1", "--num-fewshot 5"),
        (("--suite", "quick", "--chat"), 2, "`--chat` applies only to `--task`", "without `--suite`"),
        (
            ("--thinking-budget", "10000000000"),
            1,
            "`--thinking-budget` must be numbers of tokens from 1 to",
            "1k",
        ),
        (("--minutes", "-1"), 1, "`--minutes` must be more than 0, got -1", "--minutes 30"),
        (("--minutes", "nan"), 1, "`--minutes` must be more than 0, got nan", "--minutes 30"),
        (("--max-model-len", "-5"), 1, "`--max-model-len` must be at least 1, got -5", "4096"),
        (("--max-model-len", "0"), 1, "`--max-model-len` must be at least 1, got 0", "4096"),
        (("--max-num-seqs", "-1"), 1, "`--max-num-seqs` must be at least 1, got -1", "16"),
        (("--tensor-parallel-size", "0"), 1, "`--tensor-parallel-size` must be at least 1, got 0", "2"),
        (("--dtype", "float17"), 1, "`float17`", "known: auto, float32, bfloat16, float16"),
        (("--head-dtype", "float16"), 1, "`--head-dtype` must be one of auto, float32", "known: auto"),
        (("--repetition-detection", "64x8"), 1, "must be max_pattern_size=N,min_count=N", "min_count=8"),
        (
            ("--repetition-detection", "max_pattern_size=0,min_count=8"),
            1,
            "needs 1 <= min_pattern_size <= max_pattern_size",
            "--repetition-detection max_pattern_size=64,min_count=8",
        ),
        (
            ("--engine", "server", "--base-url", "http://x", "--head-dtype", "float32"),
            1,
            "`--head-dtype` is not supported by `--engine server`",
            "--engine vllm or --engine transformers",
        ),
        (("--gpu-memory-utilization", "1.2"), 1, "`--gpu-memory-utilization` must be more than 0", "0.8"),
        (("--quantization", "nonsense?"), 1, "`nonsense?`", "--quantization fp8"),
        (("--engine", "vllm", "--quantization", "fp9"), 1, "is called `fp9`", "did you mean"),
        (
            ("--engine", "vllm", "--base-url", "http://x"),
            1,
            "not supported by `--engine vllm`",
            "--engine server",
        ),
        (
            ("--engine", "transformers", "--quantization", "fp8"),
            1,
            "not supported by `--engine transformers`",
            "vllm",
        ),
        (("--max-gb", "5"), 1, "`--max-gb` applies to the queue", "`tracker queue run`"),
        (("--include-path", "/nowhere"), 1, "`/nowhere` is not a folder", "--include-path"),
        (("--engine", "vlm"), 1, "no engine is called `vlm`", "vllm"),
        (("--engine", "no.such:Engine"), 1, "no.such", ""),
        (("--engine", "server"), 1, "--base-url", "http://"),
        (("--limit", "many"), 2, "", ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_word_is_told_with_a_hint(
    model_folder: Path, arguments: tuple[str, ...], code: int, says: str, hint: str
) -> None:
    check_clear(bench(model_folder, *arguments), code=code, says=says, hint=hint)


@pytest.mark.usefixtures("home")
def test_task_files_without_a_task_are_not_passed_over(model_folder: Path) -> None:
    done = command("bench", str(model_folder), "--engine", ENGINE, "--include-path", TASKS)
    check_clear(done, code=2, says="`--include-path` needs `--task`", hint="--task NAME")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("model", "code", "says", "hint"),
    [
        ("demo2", 1, "no model is called `demo2`", "demo"),
        ("./no/such/folder", 1, "does not exist", "folder of safetensors"),
        (str(ROOT / "docs"), 1, "contains no model", "safetensors"),
        (" ", 1, "is not a model name", "org/name"),
        ("acme/never-heard-of", 4, "acme/never-heard-of", ""),
    ],
    ids=["typo", "no folder", "another folder", "no name", "no network"],
)
def test_a_model_that_is_not_there(model: str, code: int, says: str, hint: str) -> None:
    check_clear(bench(model), code=code, says=says, hint=hint)
    assert json.loads(command("models", "--json").stdout) == {"models": []}


def damage_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def damage_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def damage_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def damage_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "made_up", "auto_map": {"AutoModelForCausalLM": "modeling_made_up.MadeUp"}}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_pickles, "pickle_weights"),
        (damage_shard, "broken_weights"),
        (damage_header, "broken_weights"),
        (damage_code, "needs_remote_code"),
    ],
    ids=["pickles only", "a missing shard", "a broken header", "remote code"],
)
def test_a_model_that_may_not_or_cannot_be_loaded_is_refused_and_recorded(
    model_folder: Path, damage: object, reason: str
) -> None:
    damage(model_folder)  # type: ignore[operator]
    done = bench(model_folder)
    check_clear(done, code=3, says="error: `local/tiny-1b`", hint="hint:")
    assert done.stdout == ""
    assert not [line for line in done.stderr.splitlines() if line.startswith("{")]  # a line of the log
    told = bench(model_folder, "--json")
    document = json.loads(told.stdout)
    assert told.returncode == 3
    assert document.keys() >= CONTRACT
    assert (document["model_id"], document["status"], document["reason"], document["scores"]) == (
        "local/tiny-1b",
        "failed",
        reason,
        [],
    )
    runs = json.loads(command("query", "select run_id, model_id, status, reason from runs", "--json").stdout)
    assert json.dumps(runs).count("local/tiny-1b") == 2
    assert document["run_id"] in json.dumps(runs)


@pytest.mark.parametrize(
    ("name", "engine", "model_id"),
    [
        ("acme/atlas-8b@v1.2", "vllm", "acme/atlas-8b"),
        ("demo", "vllm", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("/srv/weights/atlas/", "transformers", "local/atlas"),
        ("/srv/models--acme--atlas/snapshots/" + "0" * 40, "vllm", "acme/atlas"),
        ("llama3:8b@q4", "server", "llama3:8b@q4"),
    ],
)
def test_a_refusal_is_kept_under_the_name_that_success_would_have(
    name: str, engine: str, model_id: str
) -> None:
    assert stored_model_id(name, engine=engine) == model_id


def outgrow(folder: Path, free_bytes: int) -> None:
    """Let the config say that eight sequences of 4,096 tokens take 1.5 times the memory that is free."""
    value_bytes, sequences, context, n_heads = 4, 8, 4096, 1
    config = json.loads((folder / "config.json").read_text())
    head_dim = int(1.5 * free_bytes / (sequences * context * 2 * n_heads * value_bytes))
    config |= {"head_dim": head_dim, "max_position_embeddings": context}
    (folder / "config.json").write_text(json.dumps(config))


def test_what_the_fit_changes_is_told_at_once_and_kept_with_the_run(home: Path, model_folder: Path) -> None:
    outgrow(model_folder, describe_hardware().free_ram_bytes)
    done = bench(model_folder, "--engine", "transformers", "--json")
    told = "fit: context 2048 instead of 4096: the model does not fit otherwise"
    assert f"warning: {told}" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["warnings"] == [told]
    assert not list(home.glob("locks/worker-*.json"))  # the run is stored: nothing is left to be found


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("rule", "code", "says"),
    [
        ({"load_fails": True}, 3, "not enough memory to load"),
        ({"out_of_memory_at": 30}, 3, "no memory left"),
        ({"unreachable_at": 30}, 4, "the server closed the connection"),
        ({"die_at": 30}, 3, "signal 9"),
    ],
    ids=["no memory to load", "no memory in the middle", "server gone", "killed"],
)
def test_a_run_that_fails_says_why_and_the_repeated_command_goes_on(
    model_folder: Path, rule: dict[str, object], code: int, says: str
) -> None:
    check_clear(bench(rules(model_folder, **rule), "--json"), code=code, says=says, hint="are stored")
    done = bench(rules(model_folder), "--json")
    assert (done.returncode, json.loads(done.stdout)["n_items"]) == (0, 400)


@pytest.mark.usefixtures("home")
def test_a_task_without_data_is_a_warning_and_without_any_other_an_outage(model_folder: Path) -> None:
    done = bench(model_folder, "--task", "from_hub", "--task", "parity", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"]) == (0, "partial")
    assert [score["task"] for score in document["scores"]] == ["parity"]
    assert "from_hub" in document["warnings"][0]
    check_clear(bench(model_folder, "--task", "from_hub"), code=4, says="from_hub", hint="repeat the command")


def test_a_second_bench_is_told_who_is_running(home: Path, model_folder: Path) -> None:
    slow = rules(model_folder, delay_s=0.05)
    command = [sys.executable, "-m", "tracker", "bench", str(slow), "--engine", ENGINE]
    command += ["--include-path", TASKS, "--task", "sums"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as first:
        assert first.stderr is not None
        assert b"loading" in first.stderr.readline()
        second = bench(slow)
        first.terminate()
    check_clear(second, code=1, says="another bench is running", hint="TRACKER_HOME")
    assert str(first.pid) in second.stderr
    assert home.is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False)


@pytest.mark.usefixtures("home")
def test_a_full_disk_is_said_and_nothing_written_is_lost(small_disk: Path, model_folder: Path) -> None:
    room = {"TRACKER_HOME": str(small_disk / "home"), "TRACKER_FLUSH_S": "0.05"}
    (small_disk / "home").mkdir()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(16 * 2**20 - 900_000))  # less than a run takes with its database
    slow = rules(model_folder, delay_s=0.01)
    check_clear(bench(slow, **room), code=1, says="o space left", hint="free some")
    filler.unlink()
    done = bench(slow, "--json", **room)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["status"], document["n_items"]) == ("complete", 400)
    assert document["n_reused_items"] > 0


def test_a_database_from_a_newer_version_is_left_alone(home: Path, model_folder: Path) -> None:
    assert bench(model_folder, "--limit", "5").returncode == 0
    with duckdb.connect(str(home / "tracker.duckdb")) as connection:
        connection.execute("insert into migrations values (9999, '9999_from_the_future', now())")
    before = (home / "tracker.duckdb").read_bytes()
    check_clear(bench(model_folder, "--limit", "6"), code=1, says="newer", hint="hint:")
    assert (home / "tracker.duckdb").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["0", "0k", "-1", "1.5k", "10000001", "9766k", "9" * 5000, "1k,", "", "4 k", "k"]
)
def test_a_token_budget_that_no_model_has_is_refused(text: str) -> None:
    with pytest.raises(FieldError, match="thinking_budget must be numbers of tokens from 1 to 10,000,000"):
        token_budgets(text)


def test_token_budgets_are_numbers_of_tokens() -> None:
    assert token_budgets("1k, 4K,10000000,01024") == (1024, 4096, 10_000_000)
    assert token_budgets(None) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("repeats", value) for value in (0, -1, 1001, 10**9, 2.5, True, "4")),
        *(("thinking_budgets", (1024, value)) for value in (0, -5, 10**7 + 1, 4096.0, True, "4k", None)),
        *(("limit", value) for value in (10**10, 2.5, True)),
        ("num_fewshot", 10**10),
    ],
)
def test_a_request_with_an_impossible_count_is_refused(field: str, value: Any) -> None:
    with pytest.raises(FieldError, match=f"{field.removesuffix('s')}s? must be a whole number from"):
        BenchRequest("demo", EngineSettings(), tasks=("gsm8k",), **{field: value})


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "line", ["repeats = 2.5", 'repeats = "four"', "repeats = true", "repeats = 0", "repeats = 1001",
             "sample = 2.5", "version = 10000000000"],
)  # fmt: skip
def test_a_suite_with_an_impossible_count_is_refused(tmp_path: Path, line: str) -> None:
    name, *_ = line.split()
    version = "" if name == "version" else "version = 1\n"
    path = tmp_path / "mine.toml"
    path.write_text(f'description = "d"\n{version}{line}\n[[tasks]]\ntask = "gsm8k"\n')
    with pytest.raises(TrackerError, match=f"suite `mine`: {name} must be a whole number from"):
        get_suite(str(path))
    path.write_text(
        'description = "d"\nversion = 1\n[[tasks]]\ntask = "gsm8k"\nmax_output_tokens = 10000000000\n'
    )
    with pytest.raises(TrackerError, match="gsm8k: max_output_tokens must be a whole number from 1 to"):
        get_suite(str(path))


def test_a_suite_with_repeats_is_refused_with_a_precision(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "d"\nversion = 1\nrepeats = 4\n[[tasks]]\ntask = "gsm8k"\n')
    request = BenchRequest("demo", EngineSettings(), suites=(str(path),), until_half_width=0.01)
    with pytest.raises(UsageError, match="`--repeats` cannot be combined with `--until`"):
        run_bench(request, settings, lambda event: None)


@pytest.mark.usefixtures("home")
def test_several_token_budgets_are_one_run_each_and_compared(model_folder: Path) -> None:
    done = bench(model_folder, "--limit", "20", "--thinking-budget", "16,1k", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [run["max_output_tokens"] for run in document["runs"]] == [16, 1024]
    assert [(row["task"], row["max_output_tokens"]) for row in document["budgets"]] == [
        ("sums", 16),
        ("sums", 1024),
    ]
    for row, run in zip(document["budgets"], document["runs"], strict=True):
        (score,) = run["scores"]
        assert {name: row[name] for name in ("value", "ci_low", "completed_value")} == {
            name: score[name] for name in ("value", "ci_low", "completed_value")
        }
        assert score["completed_fraction"] < 1
    shown = command("show", document["runs"][0]["model_id"])
    assert "16 tokens for each answer" in shown.stdout
    assert "that are completed answers" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("reason", "begins"),
    [("no_tasks", "correct what is said of each task"), ("unreachable", "answers so far are stored; repeat")],
)
def test_bench_hint_of_a_run_without_tasks_waits_for_nobody(reason: str, begins: str) -> None:
    assert end_hint(4, "worker.log", [replace(failed(1), reason=reason)]).startswith(begins)


def test_bench_scores_are_whole_beside_a_long_name_on_a_narrow_terminal() -> None:
    name = "global_mmlu_full_high_school_government_and_politics_in_every_language"
    whole = some_run(1)
    (first, *_) = whole.scores
    out = io.StringIO()
    print_run(Console(file=out, width=80), replace(whole, scores=(replace(first, task=name),)))
    rows = [line.split() for line in out.getvalue().splitlines() if line.startswith(" global")]
    assert rows[0][1] == f"{first.value:.1%}"
    assert "…" not in out.getvalue()
    folded = "".join(line.split()[0] for line in out.getvalue().splitlines() if line.strip())
    assert name in folded
