"""`make demo`: what is installed on a machine with and without a card, and what is said before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

INDEX = "http://127.0.0.1:9/cpu"  # nothing listens there
# stands for the environment's Python: keeps what pip was asked for, and reports one of two builds of torch
PYTHON = """#!/bin/sh
echo "$*" >> "{log}"
case "$*" in *--dry-run*) printf '{{"name": "torch"}}\\n{{"name": "{found}"}}\\n' ;; esac
"""


def install(
    tmp_path: Path, *variables: str, found: str, has_card: bool = False
) -> tuple[int, str, list[str]]:
    """Exit code, output, and what pip was asked to install."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    venv = tmp_path / "venv"
    for path, text in (
        (venv / "bin" / "python", PYTHON.format(log=log, found=found)),
        (programs / "nvidia-smi", f"#!/bin/sh\nexit {0 if has_card else 9}\n"),
        (programs / "uname", "#!/bin/sh\necho Linux\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    done = subprocess.run(
        ["make", f"VENV={venv}", *variables, f"{venv}/.demo"],
        cwd=ROOT, env={"PATH": f"{programs}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    asked = [line for line in log.read_text().splitlines() if "--dry-run" not in line] if log.exists() else []
    return done.returncode, done.stdout + done.stderr, asked


def test_make_without_a_card_says_what_to_type_instead_of_installing_cuda(
    tmp_path: Path,
) -> None:
    code, said, asked = install(tmp_path, found="nvidia-cublas")
    assert (code != 0, asked) == (True, [])
    assert "No NVIDIA card was found" in said
    assert "TORCH_INDEX=ADDRESS" in said
    assert "GB" in said.splitlines()[0]  # sizes come before everything


@pytest.mark.parametrize(
    ("found", "has_card"), [("numpy", False), ("nvidia-cublas", True)], ids=["CPU builds configured", "card"]
)
def test_make_installs_unattended_where_the_build_fits_the_machine(
    tmp_path: Path, found: str, has_card: bool
) -> None:
    code, said, asked = install(tmp_path, found=found, has_card=has_card)
    assert code == 0, said
    assert asked[0].endswith(" torch==2.13.0")
    assert "--index-url" not in " ".join(asked)
    assert not any("--quiet" in line for line in asked)  # the large steps show their progress


@pytest.mark.parametrize(
    ("value", "option"),
    [(INDEX, f"--index-url {INDEX} torch"), ("default", "")],
)
def test_make_takes_an_index_for_torch_alone(tmp_path: Path, value: str, option: str) -> None:
    code, said, asked = install(tmp_path, f"TORCH_INDEX={value}", found="nvidia-cublas")
    assert code == 0, said
    assert option in asked[0]
    assert ("--index-url" in asked[0]) == bool(option)
    assert "--index-url" not in " ".join(asked[1:])
