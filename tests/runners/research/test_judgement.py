"""`tracker research judge`: which script is judged, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runners.research import judgement
from runners.research.judgement import SeedJudgement, judged_script, read_script
from runners.research.problem import script as scripts
from runners.research.problem.tiers import SMOKE
from tracker.cli.research import judge
from tracker.cli.research_output import judgement_line
from tracker.errors import TrackerError, UsageError
from tracker.records.studies import Training, TrainingStatus

SHIPPED = Training("k", 7, TrainingStatus.OK, bpb={"val": 2.05, "select": 2.01})


def test_judgement_code_without_markers_is_added_to_the_editable_part() -> None:
    shipped = scripts.regions(scripts.shipped(SMOKE))
    whole = scripts.regions(judged_script("WORDS = 1\n", SMOKE))
    assert whole.frozen_hash == shipped.frozen_hash
    assert whole.editable == f"{shipped.editable}\nWORDS = 1\n\n\n"


@pytest.mark.parametrize("text", [scripts.shipped(SMOKE), f"{scripts.BEGIN}\nnothing else\n"])
def test_judgement_what_has_a_marker_is_the_whole_script(text: str) -> None:
    assert judged_script(text, SMOKE) == text


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"\xff\xfe", "is no UTF-8 text"), (b"#" * (1 << 20) + b"#", "more than")],
    ids=["missing", "no text", "large"],
)
def test_judgement_a_file_that_is_no_script_is_refused_in_a_sentence(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "edit.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrackerError, match=says) as found:
        read_script(path, SMOKE)
    assert found.value.hint


@pytest.mark.parametrize(
    ("training", "verdict", "reason"),
    [
        (Training("k", 7, TrainingStatus.OK, bpb={"val": 2.0, "select": 2.0}), "ok", None),
        (Training("k", 7, TrainingStatus.CAUGHT, "not_causal", "looks ahead"), "caught", "not_causal"),
        (Training("k", 7, TrainingStatus.DIVERGED, "not_finite", "nan"), "failed", "not_finite"),
        (Training("k", 7, TrainingStatus.TIMED_OUT), "failed", "timed_out"),
    ],
)
def test_judgement_says_what_a_trial_would(training: Training, verdict: str, reason: str | None) -> None:
    found = judgement.judgement(training, SHIPPED)
    assert (found.seed, found.verdict, found.reason) == (7, verdict, reason)
    if verdict == "ok":
        assert (found.gain_val, found.gain_select) == (pytest.approx(0.05), pytest.approx(0.01))
        assert judgement_line(found).startswith("seed 7: ok, gain +0.0500 on val, +0.0100 on select")
    else:
        assert (found.val, found.gain_select) == (None, None)


@pytest.mark.parametrize("seeds", ["", "7,x", "-1", "7,,8", str(2**31)])
def test_judgement_seeds_that_are_none_are_refused(seeds: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        judge(Path("edit.py"), seeds=seeds)


@pytest.mark.sandbox
def test_judgement_of_honest_code_and_of_a_crash_is_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / "home"))
    found = []
    for name, code in (("edit.py", "# nothing is changed\n"), ("crash.py", "1 / 0\n")):
        (tmp_path / name).write_text(code)
        judge(tmp_path / name, seeds="7", as_json=True)
        document = json.loads(capsys.readouterr().out)
        assert (document["script"], document["tier"]) == (name, "smoke")
        found += [SeedJudgement(**one) for one in document["seeds"]]
    assert (found[0].verdict, found[0].gain_val, found[0].gain_select) == ("ok", 0.0, 0.0), found[0].detail
    assert (found[1].verdict, found[1].reason) == ("failed", "crashed")
