"""Run stock lm-eval on a model folder and print its samples, as an independent reference.

`python -m tests.doubles.stock_lm_eval FOLDER TASK INCLUDE_PATH LIMIT [chat]`
"""

from __future__ import annotations

import contextlib
import json
import sys

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager


def main() -> None:
    folder, task, include_path, limit, *chat = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        results = simple_evaluate(
            model="hf",
            model_args={"pretrained": folder, "dtype": "float32", "device": "cpu"},
            tasks=[task],
            task_manager=TaskManager(include_path=[include_path], include_defaults=False),
            limit=int(limit),
            batch_size=1,
            apply_chat_template=bool(chat),
            fewshot_as_multiturn=bool(chat),
        )
    samples = {}
    for sample in results["samples"][task]:
        entry = samples.setdefault(sample["doc_id"], {"prompt": sample["arguments"][0][0], "metrics": {}})
        entry["resps"] = [response[0] for response in sample["resps"]]
        entry["metrics"] |= {f"{name},{sample['filter']}": sample[name] for name in sample["metrics"]}
    scores = {k: v for k, v in results["results"][task].items() if "," in k and "stderr" not in k}
    json.dump({"samples": samples, "scores": scores}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
