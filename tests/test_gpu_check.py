"""`make gpu-check`: how a section that answers, crashes or hangs is reported, and what it needs to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.card import CONTEXT_BYTES
from benchmarks.gpu_check.engines import compare_runs
from benchmarks.gpu_check.findings import Findings, Verdict, read_findings
from benchmarks.gpu_check.sections import SECTIONS, Section
from benchmarks.gpu_check.supervision import BUDGET_S, obstacle, run_section
from runners.memory import vllm
from tests.builders.some_runs import run
from tests.conftest import ROOT
from tracker.cli.bench_output import document

PLACE = "tests.doubles.card_sections:"
SENTENCES = {"first": "the first is so", "second": "the second is so"}


def section(function: str, **more: object) -> Section:
    fields: dict[str, object] = {"timeout_s": 60.0, "assumptions": SENTENCES, "needs": ()}
    return Section(function, f"{PLACE}{function}", **(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "verdicts", "detail", "is_good"),
    [
        ("answers", ("holds", "holds"), "", True),
        ("fails", ("holds", "does not hold"), "2 of 3", False),
        ("raises", ("holds", "not checked"), "ended with exit code 1: ValueError: no such kernel", False),
        ("dies", ("holds", "not checked"), "ended with SIGSEGV: no message", False),
        ("hangs", ("holds", "not checked"), "was stopped after 2 s", False),
        ("forgets", ("holds", "not checked"), "the section did not decide it", True),
    ],
)
def test_gpu_check_a_section_that_ends_early_keeps_what_it_found(
    function: str, verdicts: tuple[str, str], detail: str, is_good: bool
) -> None:
    result = run_section(section(function), "cpu", limit_s=2.0 if function == "hangs" else 60.0)
    assert tuple(one.verdict for one in result.findings) == verdicts
    assert result.findings[1].detail == detail
    assert result.is_good is is_good
    assert result.figures == {"speed": 2.5}


def test_gpu_check_what_a_section_leaves_behind_is_ended_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setenv("TEST_PIPE", str(pipe))
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as left_open:
        assert run_section(section("leaves_a_child"), "cpu", limit_s=60.0).is_good
        os.set_blocking(left_open.fileno(), True)
        assert left_open.read() == b"open"  # ends once no process holds the other end


def test_gpu_check_a_missing_module_or_program_is_named() -> None:
    assert obstacle(section("answers", needs=("no_such_module",))) == "`no_such_module` is not installed"
    assert obstacle(section("answers", programs=("no-such-program",))).startswith("the program `no-such")
    assert obstacle(section("answers", needs=("json",), programs=("sh",))) == ""


def test_gpu_check_writes_one_document_and_fails_for_one_wrong_assumption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "check.json"
    sections = (section("answers"), section("fails"), section("answers", on_cpu="there is no card"))
    assert main(["--device", "cpu", "--out", str(out)], sections) == 1
    assert main(["--device", "cpu", "--out", str(out), "--only", "answers"], sections) == 0
    assert main(["--device", "cpu", "--out", str(out)], (section("forgets", on_cpu="no card"),)) == 1
    assert main(["--device", "cpu", "--out", str(out)], sections) == 1
    written = json.loads(out.read_text())
    assert (written["format_version"], written["device"]) == (1, "cpu")
    assert [[one["verdict"] for one in part["findings"]] for part in written["sections"]] == [
        ["holds", "holds"], ["holds", "does not hold"], ["not checked", "not checked"],
    ]  # fmt: skip
    assert written["sections"][1]["findings"][1]["sentence"] == "the second is so"
    assert written["sections"][0]["figures"] == {"speed": 2.5}
    said = capsys.readouterr().out
    assert "does not hold  the second is so (2 of 3)" in said
    assert "3 holds, 1 does not hold, 2 not checked" in said


def test_gpu_check_without_cuda_asks_nothing_more(tmp_path: Path) -> None:
    cuda = Section("card", f"{PLACE}finds_no_cuda", 60.0, {"cuda_starts": "CUDA starts"}, needs=())
    out = tmp_path / "check.json"
    assert main(["--out", str(out)], (cuda, section("hangs"))) == 1
    last = json.loads(out.read_text())["sections"][1]
    assert {one["detail"] for one in last["findings"]} == {"CUDA does not start"}


def test_gpu_check_starts_with_bare_python(tmp_path: Path) -> None:
    """Without site-packages, it names what is missing for each section."""
    out = tmp_path / "check.json"
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from benchmarks.gpu_check.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT), "--device", "cpu", "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    details = {one["detail"] for part in json.loads(out.read_text())["sections"] for one in part["findings"]}
    assert "`torch` is not installed" in details


def test_gpu_check_torch_is_enough_for_the_sections_of_the_card() -> None:
    bare = [one.name for one in SECTIONS if one.needs == ("torch",) and not one.programs]
    assert bare == ["card", "processes", "memory", "float32", "training", "compiled", "gpt2"]


def test_gpu_check_fits_into_ten_minutes_and_names_every_assumption_once() -> None:
    names = [name for one in SECTIONS for name in one.assumptions]
    assert len(names) == len(set(names))
    assert max(one.timeout_s for one in SECTIONS) < BUDGET_S < 600


def test_gpu_check_allows_a_context_what_the_share_of_vllm_leaves() -> None:
    assert CONTEXT_BYTES == vllm.CONTEXT_BYTES


def test_gpu_check_compares_the_scores_of_two_runs_task_by_task(tmp_path: Path) -> None:
    first, other = run(1), run(2)
    assert first.scores
    moved = replace(other, scores=(replace(other.scores[0], value=0.25), *other.scores[1:]))
    found = []
    for number, second in enumerate((other, moved)):
        path = tmp_path / str(number)
        compare_runs(Findings(path), document(first, None), document(second, None))
        found.append(read_findings(path))
    assert [verdicts[0].verdict for verdicts, _ in found] == [Verdict.HOLDS, Verdict.FAILS]
    assert found[1][0][0].detail.endswith(f"apart: ['{moved.scores[0].task}']")
    assert found[0][1].keys() == {"v1_peak_memory_mib", "v2_peak_memory_mib"}


def test_gpu_check_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "findings"
    findings = Findings(path)
    findings.decide("first", True, "so")
    findings.leave_out("second", "one card")
    findings.figure("speed", 1.5)
    path.write_text(path.read_text() + '{"assumption": "thi')
    found, figures = read_findings(path)
    assert [(one.assumption, one.verdict) for one in found] == [
        ("first", Verdict.HOLDS), ("second", Verdict.NOT_CHECKED),
    ]  # fmt: skip
    assert figures == {"speed": 1.5}
