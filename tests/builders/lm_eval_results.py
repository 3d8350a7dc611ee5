"""Make `tests/fixtures/foreign/lm_eval`: results with samples, as stock lm-eval writes them, of `demo`.

`python -m tests.builders.lm_eval_results MODEL_FOLDER`, where the folder is that of the embedded model in a
home. What says something of the machine is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from tests.conftest import ROOT
from tracker.records import EMBEDDED_MODEL_ID
from tracker.suites import get_suite

FOLDER = ROOT / "tests" / "fixtures" / "foreign" / "lm_eval"
LIMIT = 5  # as in tests/runners/engines/test_parity.py
OF_THE_MACHINE = (
    "pretty_env_info",
    "git_hash",
    "upper_git_hash",
    "transformers_version",
    "start_time",
    "end_time",
)


def main() -> None:
    model, suite = sys.argv[1], get_suite("smoke")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for task in suite.tasks:
        is_chat = task.metric == "exact_match"  # written answers go through the chat template
        with TemporaryDirectory() as folder:
            tracker = EvaluationTracker(output_path=folder)
            found = simple_evaluate(
                model="hf",
                model_args={"pretrained": model, "dtype": "float32", "device": "cpu"},
                tasks=[task.task],
                task_manager=TaskManager(include_path=[str(suite.include_path)], include_defaults=False),
                limit=LIMIT,
                batch_size=1,
                apply_chat_template=is_chat,
                fewshot_as_multiturn=is_chat,
                evaluation_tracker=tracker,
            )
            samples = found.pop("samples")
            tracker.save_results_aggregated(results=found, samples=samples)
            for name, rows in samples.items():
                tracker.save_results_samples(task_name=name, samples=rows)
            _keep(Path(folder), model)


def _keep(folder: Path, model: str) -> None:
    for path in folder.rglob("*.json*"):
        text = path.read_text().replace(model, EMBEDDED_MODEL_ID).replace(str(ROOT), ".")
        if path.suffix == ".json":
            document = {key: value for key, value in json.loads(text).items() if key not in OF_THE_MACHINE}
            text = json.dumps(document, indent=1) + "\n"
        (FOLDER / path.name).write_text(text)


if __name__ == "__main__":
    main()
