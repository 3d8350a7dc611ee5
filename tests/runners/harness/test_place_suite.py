"""The suite `place` on stand-in tasks: a model with the scores of a published one gets that one's index."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runners.harness.test_worker import job, run
from tracker.answers.placement import place_run
from tracker.frontier.bridges import index_names
from tracker.frontier.placement import Placement
from tracker.frontier.question import Question, fitted
from tracker.frontier.tables import load_harness_scores, load_tables
from tracker.records import EngineSettings, Run, RunRequest, RunStatus
from tracker.settings import Settings
from tracker.store import Store, publish
from tracker.suites import get_suite

ENGINE = "tests.doubles.engines:KnownModelEngine"
N_DOCS = 1000
WHOLE = {"mmlu": 14_042, "gsm8k": 1_319, "arc_challenge": 1_172, "hellaswag": 10_042, "winogrande": 1_267}
MAKE = f"""from datasets import Dataset

def rows(task, **_):
    return {{"test": Dataset.from_list([{{"question": f"{{task}} number {{n}}"}} for n in range({N_DOCS})])}}
"""
CHOICE = """task: {task}
custom_dataset: !function make.{task}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: 0
doc_to_choice: ["right", "wrong"]
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
TEXT = """task: {task}
custom_dataset: !function make.{task}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "42"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 16, do_sample: false}}
filter_list:
  - name: flexible-extract
    filter: [{{function: regex, regex_pattern: "(-?[0-9]+)"}}, {{function: take_first}}]
  - name: none
    filter: [{{function: regex, regex_pattern: "(-?[0-9]+)"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """A folder with a small task under the name of each task of `place`."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    code = [MAKE]
    for task in get_suite("place").tasks:
        code.append(f'\ndef {task.task}(**_):\n    return rows("{task.task}")\n')
        text = TEXT if task.metric == "exact_match" else CHOICE
        (folder / f"{task.task}.yaml").write_text(text.format(task=task.task))
    (folder / "make.py").write_text("".join(code))
    return folder


def bench_as(hub_id: str, settings: Settings, model_folder: Path, stand_ins: Path) -> Run:
    """Bench the suite on an engine that has the published lm-eval scores of this model."""
    right = {row.task: row.score for row in load_harness_scores() if row.hub_id == hub_id}
    (model_folder / "double.json").write_text(json.dumps({"right": right}))
    suite = replace(get_suite("place"), include_path=str(stand_ins))
    made = job(settings, model_folder)
    made = replace(
        made, settings=EngineSettings(engine=ENGINE, thinking=False), runs=(RunRequest("run-1", suite),)
    )
    end, _ = run(settings, made)
    with Store.open(settings) as store:
        store.add_runs(end.runs)
    publish(settings)
    return end.runs[0]


EXPECTED = {
    "mistralai/Mistral-7B-v0.1": [*WHOLE, "leaderboard_mmlu_pro", "leaderboard_bbh"],  # 111
    "meta-llama/Llama-2-7b-hf": [*WHOLE],  # 98
    "meta-llama/Meta-Llama-3-70B-Instruct": ["mmlu", "leaderboard_mmlu_pro", "leaderboard_bbh"],  # 122
}


@pytest.mark.parametrize("hub_id", EXPECTED)
def test_place_suite_finds_the_index_of_a_published_model_from_a_few_hundred_items(
    settings: Settings, model_folder: Path, stand_ins: Path, hub_id: str
) -> None:
    ended = bench_as(hub_id, settings, model_folder, stand_ins)
    assert ended.status is RunStatus.COMPLETE
    assert [score.task for score in ended.scores] == EXPECTED[hub_id]
    assert ended.n_items == 200 * len(EXPECTED[hub_id]) < 0.06 * sum(WHOLE.values())
    found = place_run(ended, settings)
    assert isinstance(found, Placement)
    fit = fitted(load_tables(), Question(), settings.frontier_path).fit
    name = index_names(load_tables().models.values())[hub_id]
    truth = float(fit.index[fit.data.models.index(name)])
    assert (found.calibrated, found.in_range) == (True, True)
    assert found.ci_low <= truth <= found.ci_high
    assert found.ci_high - found.ci_low < 16
