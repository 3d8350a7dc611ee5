"""`tracker research improve-program` with real studies, on the tier made for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runners.research.comparability import PROGRAM
from tests.conftest import ROOT
from tracker.files.programs import SearchLedger
from tracker.files.studies import Ledger, study_folders

AGENT = "tests.doubles.obedient_agent:ObedientAgent"


def improve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    more = {"TRACKER_HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "tracker", "research", "improve-program", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=dict(os.environ) | more,
    )


@pytest.mark.studies
@pytest.mark.timeout(900)  # two studies on a machine that does much else
def test_improve_program_compares_whole_studies_and_keeps_all_of_them(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    home, versions = tmp_path / "home", tmp_path / "versions.json"
    versions.write_text(json.dumps([PROGRAM.read_text() + "\nTry beta1=0.975 first.\n"]))
    arguments = ["--agent", AGENT, "--proposals", str(versions), "--trials", "1", "--placebos", "0"]
    done = improve(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["version"], document["is_confirmed"], document["gain_bpb"]) == (0, False, 0.0)
    (version,) = document["versions"]
    assert (version["verdict"], version["reason"], version["n_pairs"]) == ("rejected", "lost_first_pair", 1)
    studies = [Ledger(folder).read_study() for folder in study_folders(home / "studies")]
    assert [study.study_id for study in studies] == version["studies"]
    assert [study.has_own_program for study in studies] == [False, True]
    assert "beta1=0.975" in studies[1].program
    assert (studies[0].seed, studies[0].secret_hash) == (studies[1].seed, studies[1].secret_hash)
    ledger = SearchLedger(home / "programs" / document["search"])
    assert ledger.text_path(1).read_text().endswith("Try beta1=0.975 first.\n")
    again = improve(home, "--resume", document["search"][:20])
    assert again.returncode == 1
    assert "is complete" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("--agent tpe", 2, "agent `tpe` writes no instructions"),
        ("--agent demo --versions 0", 2, "`--versions 0` must be at least 1"),
        ("--agent demo --seeds 1", 2, "`--seeds 1` must be at least 2"),
        ("--agent tpe --proposals no-such.json", 2, "`no-such.json` cannot be read"),
        ("--agent tpe --held-out nope --proposer demo", 1, "nope"),
        ("--resume nope", 1, "no search is called `nope`"),
    ],
)
def test_improve_program_what_is_wrong_is_said_in_one_sentence(
    arguments: str, code: int, says: str, tmp_path: Path
) -> None:
    done = improve(tmp_path / "home", *arguments.split())
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / "programs").exists()
