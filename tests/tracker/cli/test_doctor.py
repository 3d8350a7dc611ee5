"""`tracker doctor` and `tracker fit` at the command line: real processes, no network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runners.card_support import Installation
from runners.hardware import Gpu, Hardware
from tests.conftest import ROOT
from tests.doubles.command import command as tracker
from tests.doubles.command import process
from tests.doubles.hub_double import running_hub
from tracker.cli.doctor_checks import (
    Check,
    compiler,
    deep_checks,
    disks,
    machine,
    packages,
    python_version,
    store,
    workers,
)
from tracker.settings import Settings
from tracker.store.snapshots import POINTER

pytestmark = pytest.mark.clock
GIB = 2**30


def test_doctor_answers_with_one_document_and_hides_the_token(home: Path) -> None:
    done = process("doctor", "--json", HF_TOKEN="hf_secretsecretsecret")
    document = json.loads(done.stdout)
    assert (done.returncode, document["works"]) == (0, True)
    lines = {check["name"]: check for check in document["checks"]}
    assert {"python", "packages", "extra cpu", "memory", "home", "hub", "hub token", "store"} <= lines.keys()
    assert lines["hub token"]["detail"] == "present"
    assert "secret" not in done.stdout + done.stderr
    assert "HF_HUB_OFFLINE" in lines["hub"]["detail"]


def test_doctor_imports_no_torch(home: Path) -> None:
    script = """
import sys
from tracker.cli.doctor_checks import run_checks
from tracker.settings import load_settings
run_checks(load_settings())
print([name for name in ("torch", "vllm", "transformers", "lm_eval") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_home_that_cannot_be_written_breaks_the_core(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checks = {check.name: check for check in disks(Settings(home=tmp_path / "file" / "home"))}
    assert (checks["home"].status, checks["home"].is_required) == ("missing", True)


def test_an_unreadable_store_is_found_and_ends_with_1(home: Path) -> None:
    settings = Settings(home=home)
    settings.snapshots_path.mkdir(parents=True)
    settings.db_path.write_bytes(b"not a database")
    (settings.snapshots_path / POINTER).write_text("20261124T090000000000-abcdef")
    (settings.snapshots_path / "20261124T090000000000-abcdef.duckdb").write_bytes(b"not a database")
    found = list(store(settings))
    assert (found[0].name, found[0].status, found[0].is_required) == ("store", "missing", True)
    done = tracker("doctor")
    assert done.returncode == 1
    assert "error: store: " in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_left_behind_are_counted(home: Path) -> None:
    settings = Settings(home=home)
    settings.locks_path.mkdir(parents=True)
    entry = {"parent": 2**22 + 1, "parent_started_at": 0.0, "runs": ["x"]}
    (settings.locks_path / "worker-x.json").write_text(json.dumps(entry))
    (settings.locks_path / "worker-y.json").write_text("{")
    assert list(workers(settings)) == [
        Check("workers", "warn", "0 running, 2 orphaned", "the next `tracker bench` stops the orphans")
    ]


def test_an_old_python_is_refused_and_packages_have_versions() -> None:
    assert python_version((3, 10)).status == "missing"
    assert python_version((3, 14)).status == "ok"
    lines = {check.name: check for check in packages()}
    assert lines["packages"].status == "ok"
    assert "duckdb 2" in lines["packages"].detail


def test_a_card_that_others_use_is_named() -> None:
    card = Gpu("NVIDIA card", "GPU-1", 24 * GIB, 4 * GIB, "8.9")
    hardware = Hardware("cpu", 2, 64 * GIB, 60 * GIB, (card,), driver="580.95", cuda="13.1")
    lines = list(machine(hardware, Installation(torch_cuda="13.0")))
    assert [line.status for line in lines] == ["ok", "ok", "ok", "warn"]
    assert "4.0 of 24.0 GiB free" in lines[-1].detail


def test_a_driver_that_is_too_old_for_the_installed_torch_is_named() -> None:
    card = Gpu("NVIDIA card", "GPU-1", 24 * GIB, 23 * GIB, "8.9")
    hardware = Hardware("cpu", 2, 64 * GIB, 60 * GIB, (card,), driver="550.54", cuda="12.4")
    (line,) = (one for one in machine(hardware, Installation("13.0")) if one.name == "driver")
    assert (line.status, "580 or newer" in line.hint) == ("warn", True)
    assert "supports CUDA up to 12.4, but the installed torch is built for CUDA 13.0" in line.detail


def test_wsl_without_a_card_has_a_hint_of_its_own() -> None:
    lines = list(machine(Hardware("cpu", 2, 64 * GIB, 60 * GIB), Installation(is_wsl=True)))
    assert (lines[-1].name, "driver on Windows" in lines[-1].hint) == ("gpu", True)


def test_what_the_importing_process_said_becomes_lines() -> None:
    good = deep_checks({"torch": "2.13.0", "cuda": True, "cards": 2, "vllm": "0.32.0"})
    assert [(c.name, c.status, c.detail) for c in good] == [
        ("import torch", "ok", "2.13.0, 2 GPUs"),
        ("import vllm", "ok", "0.32.0"),
    ]
    bad = deep_checks({"torch_error": "OSError: libcudart.so.13", "vllm_error": "ImportError: no"})
    assert [c.status for c in bad] == ["warn", "warn"]


def test_fit_answers_by_the_contract_without_loading(home: Path, model_folder: Path) -> None:
    done = tracker("fit", str(model_folder), "--vram-gb", "24", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["fits"], document["engine"]) == (0, True, "vllm")
    keys = {"model_id", "weights_bytes", "kv_cache_bytes", "overhead_bytes", "total_bytes", "context"}
    assert keys | {"suggestions", "by_context"} <= document.keys()


def test_fit_of_a_hub_model_reads_headers_and_downloads_no_weights(
    home: Path, model_folder: Path, tmp_path: Path
) -> None:
    with running_hub() as hub:
        hub.serve("acme/tiny-1b", model_folder)
        places = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        done = process("fit", "acme/tiny-1b", "--vram-gb", "24", "--json", **places)
    document = json.loads(done.stdout)
    assert (done.returncode, document["model_id"], document["weights_bytes"]) == (
        0,
        "acme/tiny-1b",
        16 * 8 * 2,
    )
    assert [path.name for path in (tmp_path / "hf").rglob("*.safetensors")] == []


def test_fit_without_the_hub_says_so_with_exit_code_4(home: Path, tmp_path: Path) -> None:
    done = tracker("fit", "acme/tiny-1b", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf"))
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")


def test_fit_says_no_with_exit_code_0(home: Path, model_folder: Path) -> None:
    done = tracker("fit", str(model_folder), "--vram-gb", "0.1")
    assert done.returncode == 0
    assert "does not fit on a GPU with 0.1 GB" in done.stdout


def test_fit_takes_gb_as_10_to_the_9_bytes_and_the_old_flag_as_gib(home: Path, model_folder: Path) -> None:
    available = []
    for flag in ("--vram-gb", "--vram"):
        done = tracker("fit", str(model_folder), flag, "24", "--json")
        available.append(json.loads(done.stdout)["available_bytes"])
    assert available[0] / available[1] == pytest.approx(10**9 / 2**30)


def test_fit_takes_the_size_of_a_card_once(home: Path, model_folder: Path) -> None:
    done = tracker("fit", str(model_folder), "--vram", "3", "--vram-gb", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`--vram-gb` and `--vram` cannot be combined" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-folder/here/x"], "error: "),
        (["--vram-gb", "-3"], "`--vram-gb` must be a positive number of GB"),
        (["--vram", "-3"], "`--vram` must be a positive number of GiB"),
        (["--context", "0"], "`--context` must be a positive number"),
        (["--engine", "onnx"], "no engine is called `onnx`"),
        (["--engine", "server"], "memory cannot be predicted for engine `server`"),
    ],
)
def test_bad_input_of_fit_is_one_sentence(
    home: Path, model_folder: Path, arguments: list[str], said: str
) -> None:
    model = [] if not arguments[0].startswith("--") else [str(model_folder)]
    done = tracker("fit", *model, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_whether_a_card_can_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Hardware("cpu", 2, GIB, GIB, (Gpu("A", "GPU-0", GIB, GIB, "9.0"),))
    assert list(compiler(Hardware("cpu", 2, GIB, GIB))) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    (without,) = compiler(card)
    assert (without.status, "no a C compiler" in without.detail) == ("warn", False)
    assert "no C compiler" in without.detail
    (tmp_path / "gcc").write_text("")
    (tmp_path / "gcc").chmod(0o755)
    (found,) = compiler(card)
    assert "C compiler" not in found.detail
