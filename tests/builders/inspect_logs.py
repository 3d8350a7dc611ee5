"""Make `tests/fixtures/foreign/inspect`: a log of Inspect as its version 0.3.285 writes it, in both formats.

`python inspect_logs.py`, with `inspect_ai` and outside of a git folder. No model is asked: a rule answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ContentReasoning, ContentText, ModelOutput, ModelUsage
from inspect_ai.scorer import match
from inspect_ai.solver import Solver, solver

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "foreign" / "inspect"
UNREAD = ("events", "attachments", "store", "events_data", "messages")  # of a sample, most of its size


@solver
def rule() -> Solver:
    async def solve(state, generate):
        n = int(state.sample_id[1:])
        is_wrong = n % 3 == 0 or (n % 4 == 1 and state.epoch == 2)
        text = str(0 if is_wrong else n + 1)
        state.output = ModelOutput.from_content("mockllm/model", text)
        if n == 1:
            thought = ContentReasoning(reasoning="One more.")
            state.output.choices[0].message.content = [thought, ContentText(text=text)]
        state.output.usage = ModelUsage(input_tokens=9, output_tokens=1, total_tokens=10)
        state.output.time = 0.25
        return state

    return solve


def main() -> None:
    samples = [Sample(id=f"s{n}", input=f"What is {n}+1?", target=str(n + 1)) for n in range(12)]
    task = Task(
        dataset=MemoryDataset(samples, name="sums"), solver=rule(), scorer=match(), epochs=2, name="sums"
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        for kind in ("eval", "json"):
            (log,) = evaluate(task, model="mockllm/model", log_dir=folder, log_format=kind, display="none")
            content = Path(log.location).read_bytes()
            if kind == "json":
                document = json.loads(content)
                for sample in document["samples"]:
                    for name in UNREAD:
                        sample.pop(name, None)
                content = json.dumps(document, indent=1).encode() + b"\n"
            (FOLDER / f"sums.{kind}").write_bytes(content)


if __name__ == "__main__":
    main()
