"""`tracker ladder`: rungs on the same items, measured by real child processes, told by every face."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from benchmarks.ladder_items import Case, answers, climbed, coverage
from runners.harness.events import Event
from tests.builders.some_runs import model as some_model
from tests.conftest import ROOT
from tests.doubles.killed_ladder import request_of
from tests.runners.harness.test_worker import ENGINE, rules
from tests.tracker.cli.test_compare import one_task, scored, store
from tracker.answers.ladder import LadderResult, ladder_document, ladder_of
from tracker.answers.ladder_formats import ladder_markdown
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.files.ladders import LADDER_FORMAT, read_ladders, write_ladder
from tracker.ladder.run import ladder as measure_ladder
from tracker.ladder.run import next_limit
from tracker.ladder.rungs import parse_rung
from tracker.records import EngineSettings
from tracker.records.ladders import MOST_LOOKS, Ladder, LadderRung, RungStatus
from tracker.settings import Settings
from tracker.store import open_snapshot

LOSES = 0.1
# Of each model: the answers in all of its runs, and the questions.
ASKED = """
select runs.model_id, count(*), count(distinct items.doc_hash)
from items join runs using (run_id) group by runs.model_id
"""
RULES: dict[str, dict[str, object]] = {
    "tiny": {},
    "tiny-q4": {"loses": LOSES},
    "tiny-broken": {"load_fails": True},
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A ladder that was killed once and then repeated with one more copy, which cannot be loaded."""
    return Measured(tmp_path_factory.mktemp("ladder"))


class Measured:
    """Three folders of weights and the ladder that was measured on them."""

    def __init__(self, root: Path) -> None:
        self.folders = {name: root / "acme" / name for name in ("tiny", "tiny-q4", "tiny-broken")}
        for name, folder in self.folders.items():
            _weights(folder)
            rules(folder, **RULES[name])
        self.settings = Settings(home=root / "home")
        paths = {name: str(self.folders[name]) for name in ("tiny", "tiny-broken", "tiny-q4")}
        self.request = request_of(paths, ENGINE)
        self.lines: list[str] = []
        first = {name: path for name, path in paths.items() if name != "tiny-broken"}
        asked = {"home": str(self.settings.home), "folders": first, "engine": ENGINE}
        killed = subprocess.run(
            [sys.executable, "-m", "tests.doubles.killed_ladder"],
            input=json.dumps(asked), text=True, capture_output=True, check=False, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        self.killed = read_ladders(self.settings)[0][0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            self.found = measure_ladder(self.request, self.settings, _ignore, tell=self.lines.append)

    def rung(self, end: str) -> Any:
        return next(rung for rung in self.found.rungs if rung.label.endswith(end))


def _ignore(event: Event) -> None:
    """Nobody looks."""


def _weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16}
    config |= {"intermediate_size": 16, "max_position_embeddings": 64, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    tensor = {"dtype": "F32", "shape": [16, 8], "data_offsets": [0, 512]}
    header = json.dumps({"lm_head.weight": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(512))
    (folder / "tokenizer.json").write_text("{}")


def test_ladder_the_loss_of_a_copy_is_that_of_its_items_on_the_same_questions(measured: Measured) -> None:
    copy = measured.rung("tiny-q4")
    with open_snapshot(measured.settings) as snapshot:
        rows = snapshot.query(
            "paired_items", first="local/tiny", second="local/tiny-q4", suite=None, task=None
        )
    change = np.array([row["second_score"] - row["first_score"] for row in rows])
    assert copy.loss.n_items == len(rows)
    assert copy.loss.difference == pytest.approx(change.mean())
    assert (copy.loss.n_lost, copy.loss.n_gained) == ((change < 0).sum(), (change > 0).sum())
    assert copy.loss.ci_low < -0.68 * LOSES < copy.loss.ci_high  # it solves 68%, and loses a tenth of these
    assert copy.loss.mcnemar_p == pytest.approx(2 * 0.5**copy.loss.n_lost)
    assert copy.divergence.changed_text_fraction == pytest.approx(LOSES, abs=0.05)
    assert copy.empty_fraction > 0.0 == measured.rung("tiny").empty_fraction
    assert copy.shift is None
    assert "the index contains none of these tasks (sums)" in copy.shift_note
    assert copy.cost.device == measured.rung("tiny").cost.device
    assert copy.cost.speed_ratio > 0  # also if all of its answers were written before the kill


def test_ladder_a_rung_that_cannot_be_loaded_is_told_and_the_others_are_measured(measured: Measured) -> None:
    broken = measured.rung("tiny-broken")
    assert (broken.status, broken.reason, broken.loss) == ("failed", "out_of_memory", None)
    assert "not enough memory to load" in broken.detail
    assert any("tiny-broken cannot be measured: not enough memory" in line for line in measured.lines)
    assert measured.rung("tiny-q4").status == "measured"


def test_ladder_that_was_killed_amid_a_rung_continues_where_it_was_and_doubles_nothing(
    measured: Measured,
) -> None:
    parent, copy = measured.killed.rungs
    assert (parent.status, copy.status) == (RungStatus.MEASURED, RungStatus.WAITING)
    (after,), problems = read_ladders(measured.settings)
    assert problems == []
    assert after.ladder_id == measured.killed.ladder_id
    assert after.started_at == measured.killed.started_at
    assert after.parent.run_ids[0] == parent.run_id
    assert not any(line.startswith("rung 1") and "128 items" in line for line in measured.lines)
    assert after.rungs[2].end == "precise"
    with open_snapshot(measured.settings) as snapshot:
        asked = {row[0]: row[1:] for row in snapshot.select(ASKED).rows}
    assert set(asked) == {"local/tiny", "local/tiny-q4"}
    assert all(n_answers == n_questions >= 128 for n_answers, n_questions in asked.values()), asked


def test_ladder_every_face_tells_the_same(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(measured.settings.home))
    name = str(measured.folders["tiny"])
    main(["ladder", name, "--show", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(json.dumps(ladder_document(measured.found)))
    assert tracker.open_home(measured.settings.home).ladder_results("local/tiny") == measured.found
    main(["ladder", "local/tiny", "--show"])
    shown = capsys.readouterr().out
    assert "tiny-broken: not measured (out_of_memory)" in shown
    loss = measured.rung("tiny-q4").loss
    assert f"{100 * loss.difference:+.1f} ({100 * loss.ci_low:+.1f} … {100 * loss.ci_high:+.1f})" in shown


def test_ladder_a_hostile_name_stays_in_its_cell_of_the_model_card(measured: Measured) -> None:
    rung = replace(measured.rung("tiny-q4"), label="a|b`|`c](http://x) <img src=x> @all", engine="x|y\n| z")
    card = ladder_markdown(replace(measured.found, rungs=(measured.found.rungs[0], rung)))
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert [line.count("|") for line in table] == [11] * 4
    assert "`a¦b`" not in card
    assert card.count("<img") == card.count("\\<img")
    assert "](http" not in re.sub(r"`[^`]+`", "", card)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty part"),
        ("org/a,,b=1", "empty part"),
        ("org/a,dtype", "`dtype` has no value"),
        ("dtpe=bfloat16", "did you mean"),
        ("max-model-len=long", "must be a number, not `long`"),
        ("thinking=maybe", "is yes or no"),
        ("seed=1", "no setting of a rung is called `seed`"),
    ],
)
def test_ladder_a_rung_that_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(TrackerError) as raised:
        parse_rung(text)
    assert says in f"{raised.value} {raised.value.hint}"


def test_ladder_a_rung_is_a_model_with_the_settings_that_differ() -> None:
    base = EngineSettings(engine="transformers", dtype="float32")
    rung = parse_rung("thinking=no,dtype=bfloat16").rung("acme/atlas-8b", base)
    assert (rung.model, rung.label) == ("acme/atlas-8b", "thinking=no, dtype=bfloat16")
    assert rung.settings == replace(base, thinking=False, dtype="bfloat16")
    assert parse_rung("acme/atlas-8b-AWQ").rung("acme/atlas-8b", base).settings == base
    cache = parse_rung("kv-cache-dtype=q8_0").rung("demo", EngineSettings(engine="llamacpp"))
    assert (cache.label, cache.settings.kv_cache_dtype) == ("kv-cache-dtype=q8_0", "q8_0")
    steady = parse_rung("batch-invariant=yes").rung("demo", EngineSettings(engine="vllm"))
    assert (steady.label, steady.settings.batch_invariant) == ("batch-invariant=yes", True)
    proposed = parse_rung("speculative=ngram").rung("demo", EngineSettings(engine="llamacpp"))
    assert (proposed.label, proposed.settings.speculative) == ("speculative=ngram", "ngram")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo",), "no copy of `demo` is known here"),
        (("demo", "demo"), "are the same model with the same settings"),
        (("demo", "--rung", "speculative=banana"), "must be `ngram` or the GGUF file of a draft model"),
        (("demo", "--rung", "kv-cache-dtype=q9_9"), "no KV cache type of llamacpp is called `q9_9`"),
        (
            ("demo", "--rung", "dtype=bfloat16", "--precision", "0"),
            "must be between 0 and 50 percentage points",
        ),
        (("demo", "--rung", "dtype=bfloat16", "--suite", "quik"), "no suite is called `quik`"),
        (("demo", "--engine", "llamacpp", "--rung", "kv-cache-dtype=q4_2"), "did you mean"),
        (("demo", "--engine", "transformers", "--rung", "kv-cache-dtype=q8_0"), "is not supported by"),
        (("demo", "--engine", "transformers", "--rung", "speculative=ngram"), "is not supported by"),
        (("demo", "--rung", "dtype=bfloat16", "--limit", "0"), "`--limit` must be at least 1"),
        (("demo", "--show"), "no ladder has been measured here yet"),
        (("demo", "--show", "--rung", "dtype=bfloat16"), "`--show` measures nothing"),
        (("demo", "--show", "--json", "--markdown"), "cannot be combined"),
    ],
)
@pytest.mark.usefixtures("home")
def test_ladder_a_wrong_call_is_one_sentence_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit):
        main(["ladder", *arguments])
    assert says in capsys.readouterr().err


def test_ladder_without_its_parent_the_first_measured_rung_is_the_reference(settings: Settings) -> None:
    first, second = some_model("acme/atlas-8b-fp8"), some_model("acme/atlas-8b-awq")
    store(
        settings,
        one_task(1, scored([1.0, 0.0] * 40), first),
        one_task(2, scored([1.0, 0.0, 0.0, 0.0] * 20), second),
    )
    runs = {run["model_id"]: run["run_id"] for run in _runs(settings)}
    engine = EngineSettings()
    rungs = (
        LadderRung(
            "acme/atlas-8b",
            "acme/atlas-8b",
            "acme/atlas-8b",
            engine,
            status=RungStatus.FAILED,
            reason="does_not_fit",
        ),
        *(
            LadderRung(
                one.model_id,
                one.model_id,
                one.model_id,
                engine,
                status=RungStatus.MEASURED,
                run_ids=(runs[one.model_id],),
            )
            for one in (first, second)
        ),
    )
    found = _stored(settings, rungs)
    assert found.reference == "acme/atlas-8b-fp8"
    assert [rung.loss is None for rung in found.rungs] == [True, True, False]
    assert found.rungs[2].loss.difference == pytest.approx(-0.25)  # type: ignore[union-attr]


def _runs(settings: Settings) -> list[dict[str, Any]]:
    with open_snapshot(settings) as snapshot:
        return [dict(row) for row in snapshot.query("runs")]


def _stored(settings: Settings, rungs: tuple[LadderRung, ...]) -> LadderResult:
    now = _runs(settings)[0]["started_at"]
    write_ladder(settings, Ladder("0" * 32, "quick", 1, ("sums",), 0.01, rungs, now, now))
    return ladder_of("atlas-8b", settings)


def test_ladder_a_broken_or_newer_file_is_told_and_hides_no_other(settings: Settings) -> None:
    settings.ladders_path.mkdir(parents=True)
    (settings.ladders_path / "broken.json").write_text("{")
    newer = json.dumps({"format_version": LADDER_FORMAT.version + 1})
    (settings.ladders_path / "newer.json").write_text(newer)
    found, problems = read_ladders(settings)
    assert found == []
    assert len(problems) == 2
    with pytest.raises(TrackerError, match="no ladder has been measured here yet"):
        ladder_of("demo", settings)


def test_ladder_stops_when_precise_and_its_interval_covers_the_known_loss() -> None:
    case = Case(0.9, 0.02, 0.02)
    share, ended = coverage(case, 20_000, 150)
    assert share >= 0.95
    assert all(one.interval.half_width <= 0.01 for one in ended)
    assert max(one.n_looks for one in ended) <= MOST_LOOKS


def test_ladder_needs_a_quarter_of_the_items_of_separate_benches() -> None:
    rng = np.random.default_rng(3)
    case = Case(0.6, 0.08, 0.02)
    before, after = answers(case, 120_000, rng)
    assert case.correlation == pytest.approx(float(np.corrcoef(before, after)[0, 1]), abs=0.01)
    apart = climbed(before, rng.permutation(after))
    assert 4 * climbed(before, after).n_items < apart.n_items


def test_ladder_the_next_look_is_where_the_difference_should_be_known() -> None:
    assert next_limit(100, 0.02, 0.01, n_looks=1) == 440
    assert next_limit(100, 0.5, 0.01, n_looks=1) == 800  # the first estimates are rough
    assert next_limit(100, 0.0101, 0.01, n_looks=2) == 125
    assert next_limit(1000, 0.02, 0.01, n_looks=MOST_LOOKS - 1) == 6000
