"""`tracker bench --speed` as a person types it, against a real server and a small load generator."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.speeds import CARD, level, speed, store_speed
from tests.doubles.command import command, process
from tests.doubles.load_generator import FAILS, HANGS_AT, KILLS_PARENT_AT, as_python
from tests.doubles.openai_double import Behaviour, running_server
from tracker.records.speed import SpeedStatus
from tracker.settings import Settings
from tracker.store import check, open_snapshot, rebuild

NAME = "acme/bigram"
SHORT = ("--sweep", "1,2", "--requests", "6", "--input-tokens", "200", "--output-tokens", "9")
LEVEL_CONTRACT = {
    "concurrency", "n_requests", "n_answered", "n_good", "duration_s", "output_tokens_per_s", "goodput_per_s",
    "ttft_s", "ttft_ci_low", "ttft_ci_high", "tpot_s", "itl_s", "e2el_s", "joules_per_token",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Behaviour]:
    with running_server(reply=lambda prompt: "abcdefghijklmnop") as running:
        yield running


@pytest.fixture
def generator(tmp_path: Path) -> str:
    return str(as_python(tmp_path))


def measure(
    server: Behaviour, generator: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return command(
        "bench", NAME, "--base-url", f"{server.url}/v1", "--speed", *SHORT, *arguments,
        **{"TRACKER_LOAD_GENERATOR": generator} | environment,
    )  # fmt: skip


def test_speed_is_measured_stored_and_shown(server: Behaviour, generator: str, settings: Settings) -> None:
    done = measure(server, generator, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["device"], found["engine"]) == ("complete", "server", "server")
    assert (found["generator"], found["generator_version"]) == ("vllm bench serve", "0.0-double")
    assert found["counts_from"] == "server"
    assert [one["concurrency"] for one in found["levels"]] == [1, 2]
    for one in found["levels"]:
        assert one.keys() >= LEVEL_CONTRACT
        assert (one["n_requests"], one["n_answered"], one["output_tokens"]) == (6, 6, 6 * 9)
        assert one["ttft_ci_low"] <= one["ttft_s"] <= one["ttft_ci_high"]
        assert one["energy_j"] is None  # the server is not ours
    sizes = [len(body["prompt"]) for body in server.requests[-12:]]
    assert all(160 <= size <= 240 for size in sizes)  # a token of this server is a byte
    assert len({body["prompt"] for body in server.requests}) == len(server.requests)
    shown = command("show", NAME)
    assert "speed · " in shown.stdout
    assert "9 of each" not in shown.stderr
    document = json.loads(command("show", NAME, "--json").stdout)
    assert document["speeds"][0]["levels"] == found["levels"]
    assert document["runs"] == []
    folder = settings.speeds_path / found["speed_id"]
    assert {path.name for path in folder.iterdir()} >= {"speed.json", "level-01.json", "level-02.json"}


def test_speed_a_database_is_rebuilt_with_it(server: Behaviour, generator: str, settings: Settings) -> None:
    assert measure(server, generator).returncode == 0
    with open_snapshot(settings) as snapshot:
        before = snapshot.query("speeds", model_id=None)
    settings.db_path.unlink()
    shutil.rmtree(settings.snapshots_path)
    rebuild(settings)
    assert command("store", "publish").returncode == 0
    with open_snapshot(settings) as snapshot:
        assert snapshot.query("speeds", model_id=None) == before
    assert check(settings) == []


def test_speed_a_broken_file_is_told_and_its_rows_are_kept(settings: Settings) -> None:
    store_speed(settings, speed())
    (settings.speeds_path / speed().speed_id / "speed.json").write_text("{")
    assert [problem.kind for problem in check(settings)] == ["broken_speed_file"]
    rebuilt = rebuild(settings)
    assert any("speed.json" in one for one in rebuilt.skipped)
    assert any("kept from" in one for one in rebuilt.restored)
    assert command("store", "publish").returncode == 0
    with open_snapshot(settings) as snapshot:
        assert [row["concurrency"] for row in snapshot.query("speeds", model_id=None)] == [1, 4]


def check_clear(done: subprocess.CompletedProcess[str], *, code: int, says: str, hint: str) -> None:
    """One sentence, one hint, the right code, and never a traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert says in done.stderr
    assert hint in done.stderr


@pytest.mark.usefixtures("home")
def test_speed_without_a_load_generator_says_how_to_get_one(server: Behaviour) -> None:
    done = measure(server, "/nowhere/python")
    check_clear(done, code=1, says="`/nowhere/python`, which is no program", hint="`python` or `vllm`")
    assert server.requests == []


@pytest.mark.usefixtures("home")
def test_speed_an_engine_without_a_server_names_those_with_one(generator: str) -> None:
    done = command("bench", "demo", "--engine", "transformers", "--speed", TRACKER_LOAD_GENERATOR=generator)
    check_clear(done, code=1, says="`transformers` has no server", hint="`--engine vllm`")


def test_speed_a_generator_that_fails_is_recorded_with_its_words(
    server: Behaviour, generator: str, settings: Settings
) -> None:
    done = measure(server, generator, **{FAILS: "ImportError: no module named torch"})
    check_clear(done, code=3, says="ImportError: no module named torch", hint="generator.log")
    with open_snapshot(settings) as snapshot:
        (row,) = snapshot.query("speeds", model_id=None)
    assert (row["status"], row["reason"]) == ("failed", "generator_failed")


def test_speed_no_answer_at_all_is_a_failure(generator: str, settings: Settings) -> None:
    with running_server(dies_after=4) as server:  # after the requests that find out about it
        server.dies_after = 3
        done = measure(server, generator)
    check_clear(done, code=3, says="no request was answered", hint="speeds")
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("speeds", model_id=None)
    assert {row["status"] for row in rows} == {"failed"}
    assert [row["n_answered"] for row in rows] == [0, 0]


def test_speed_a_server_that_dies_in_the_middle_keeps_what_was_measured(
    generator: str, settings: Settings
) -> None:
    with running_server(reply=lambda prompt: "abcdefghijklmnop", dies_after=3 + 8) as server:
        done = measure(server, generator)
    assert done.returncode == 0, done.stderr
    assert "4 requests of 6 got no answer" in done.stdout
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("speeds", model_id=None)
    assert {(row["status"], row["reason"]) for row in rows} == {("partial", "lost_requests")}
    assert [row["n_answered"] for row in rows] == [6, 2]


def test_speed_time_that_is_over_keeps_what_was_measured(
    server: Behaviour, generator: str, settings: Settings
) -> None:
    done = measure(server, generator, "--minutes", "0.05", **{HANGS_AT: "1"})
    assert done.returncode == 0, done.stderr
    with open_snapshot(settings) as snapshot:
        (row,) = snapshot.query("speeds", model_id=None)
    assert (row["status"], row["reason"], row["concurrency"]) == ("partial", "out_of_time", 1)


def test_speed_a_killed_command_loses_nothing_that_was_measured(
    server: Behaviour, generator: str, settings: Settings
) -> None:
    """The generator kills the command with SIGKILL before its second level."""
    done = process(
        "bench", NAME, "--base-url", f"{server.url}/v1", "--speed", *SHORT,
        **{"TRACKER_LOAD_GENERATOR": generator, KILLS_PARENT_AT: "1", "TRACKER_HOME": str(settings.home)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert measure(server, generator).returncode == 0
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("speeds", model_id=None)
    assert sorted((row["status"], row["concurrency"]) for row in rows) == [
        ("complete", 1), ("complete", 2), ("interrupted", 1),
    ]  # fmt: skip


@pytest.mark.usefixtures("home")
def test_speed_a_key_goes_to_the_server_and_nowhere_else(generator: str, settings: Settings) -> None:
    with running_server(reply=lambda prompt: "abcdefghijklmnop", key="sk-speed-secret") as server:
        done = measure(server, generator, TRACKER_SERVER_API_KEY="sk-speed-secret")
    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in settings.speeds_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(b"sk-speed-secret" in content for content in written)


@pytest.mark.usefixtures("home")
def test_speed_a_context_that_is_too_short_says_what_fits(generator: str) -> None:
    models = [{"id": NAME, "owned_by": "vllm", "max_model_len": 128}]
    with running_server(models=models) as server:
        done = measure(server, generator)
    check_clear(done, code=3, says="there are 128", hint="--input-tokens 64 --output-tokens 32")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--sweep", "1,two"), 1, "`--sweep` must be whole numbers"),
        (("--sweep", "0"), 1, "`--sweep` must be between 1"),
        (("--goodput", "speed:3"), 1, "`--goodput` must name ttft, tpot, e2el"),
        (("--output-tokens", "1"), 1, "`--output-tokens` must be at least 2"),
        (("--suite", "quick"), 2, "`--speed` cannot be combined with `--suite`"),
        (("--queue",), 2, "`--speed` cannot be combined with `--queue`"),
    ],
)
def test_speed_arguments_that_mean_nothing_are_refused(
    arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = command("bench", "demo", "--speed", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert says in done.stderr
    alone = command("bench", "demo", "--sweep", "1")
    assert (alone.returncode, "`--sweep` needs `--speed`" in alone.stderr) == (2, True)


def test_speed_show_says_device_settings_and_energy(settings: Settings) -> None:
    lost = speed("20261125-000000-5beed6", status=SpeedStatus.PARTIAL, reason="lost_requests",
                 levels=(level(1), level(4, n_answered=12, energy_j=None)))  # fmt: skip
    store_speed(settings, speed(), lost)
    shown = command("show", "acme/atlas-8b").stdout
    assert shown.count(f"vllm 0.32.0 on {CARD} · bfloat16") == 2
    assert "J/token" in shown
    assert "good: first token within 2 s, each further one within 200 ms" in shown
    assert "4 requests of 16 got no answer: ConnectionResetError" in " ".join(shown.split())
