"""Our engines on the card against transformers on the CPU, and vLLM's two runners against each other."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.findings import Findings
from benchmarks.gpu_check.programs import run_program
from tracker.interpreter import ROOT, python_command, python_environment

LOG_PROB_TOLERANCE = (
    1e-3  # nats, summed over a choice; both in float32, but their kernels add in another order
)
EQUAL_TEXTS = 0.9  # greedy answers: near a tie, one may go another way
N_ITEMS = 24  # of each task of the embedded suite
RUNNER_S = 140.0  # for one run of the bench
SHOTS = "".join(f"Question: what is {n} plus {n}?\nAnswer: {2 * n}\n\n" for n in range(1, 11))
CHOICES = (" forty", " forty one", " forty two", " I do not know", " none of these")


def check_transformers_engine(findings: Findings, device: str) -> None:
    """The embedded model in float32 by our transformers engine, on the card and on the CPU."""
    del device
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (answers("transformers", Path(folder), on_cpu=on_cpu) for on_cpu in (False, True))
    findings.figure("engine_device", ours["device"])
    _compare(findings, "engine", ours, theirs)


def check_scores(findings: Findings, device: str) -> None:
    """Log-probabilities, greedy answers, and the rows of prompts that the cache has in part."""
    with tempfile.TemporaryDirectory() as folder:
        ours = answers("vllm", Path(folder), on_cpu=device == "cpu")
        for name in ("version", "attention", "load_s"):
            findings.figure(f"vllm_{name}", ours[name])
        rows = ours["rows"]
        findings.decide("vllm_rows", all(one["rows"] >= one["needed"] for one in rows), json.dumps(rows))
        theirs = answers("transformers", Path(folder), on_cpu=True)
    _compare(findings, "vllm", ours, theirs)


def check_runners(findings: Findings, device: str) -> None:
    """The embedded suite by `tracker bench`, with vLLM's runner V1 and V2."""
    del device
    with tempfile.TemporaryDirectory() as folder:
        compare_runs(findings, *(_benched(Path(folder, version), version) for version in "01"))


def compare_runs(findings: Findings, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Decide whether two documents of `tracker bench --json` have the same scores."""
    for name, run in (("v1", first), ("v2", second)):
        findings.figure(f"{name}_peak_memory_mib", (run["peak_memory_bytes"] or 0) >> 20)
    scores = [{one["task"]: one["value"] for one in run["scores"]} for run in (first, second)]
    apart = sorted(task for task in scores[0] if scores[0][task] != scores[1].get(task))
    findings.decide("same_scores", not apart and bool(scores[0]), f"{len(scores[0])} tasks; apart: {apart}")


def answers(engine: str, folder: Path, *, on_cpu: bool) -> dict[str, Any]:
    """What an engine answers in a process of its own."""
    path = folder / f"{engine}-{on_cpu}.json"
    environment = _environment() | ({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})
    command = python_command("-m", "benchmarks.gpu_check.engines", engine, str(path))
    run_program(command, environment)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _environment() -> dict[str, str]:
    environment = python_environment()
    return environment | {
        "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, environment.get("PYTHONPATH", "")]))
    }


def _compare(findings: Findings, prefix: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    pairs = list(zip(ours["log_probs"], theirs["log_probs"], strict=True))
    worst = max(abs(a - b) for a, b in pairs)
    findings.decide(f"{prefix}_log_probs", worst <= LOG_PROB_TOLERANCE, f"at most {worst:.1e} nats apart")
    texts = list(zip(ours["texts"], theirs["texts"], strict=True))
    n_equal = sum(a == b for a, b in texts)
    findings.decide(f"{prefix}_greedy", n_equal >= EQUAL_TEXTS * len(texts), f"{n_equal} of {len(texts)}")


def _benched(home: Path, version: str) -> dict[str, Any]:
    environment = _environment() | {"VLLM_USE_V2_MODEL_RUNNER": version, "TRACKER_HOME": str(home)}
    asked = f"bench demo --engine vllm --suite quick --limit {N_ITEMS} --json"
    command = python_command("-m", "tracker", *asked.split())
    run: dict[str, Any] = json.loads(run_program(command, environment, limit_s=RUNNER_S))
    return run


def ask(name: str, path: Path) -> None:
    """Ask the engine and write its answers; the body of the process that `answers` starts."""
    import time

    from runners.engines import ContinuationRequest, GenerationRequest, open_engine
    from runners.models.demo import demo_model
    from tracker.records import EngineSettings
    from tracker.settings import load_settings

    scored = [ContinuationRequest(f"{SHOTS}Question: what is {n} plus 2?\nAnswer:", choice)
              for n in range(38, 42) for choice in CHOICES]  # fmt: skip
    asked = [GenerationRequest(f"{SHOTS}Question: what is {n} plus 1?\nAnswer:", 8) for n in range(20, 32)]
    model, started = demo_model(load_settings()), time.monotonic()
    engine = open_engine(model, EngineSettings(engine=name, dtype="float32", max_model_len=2048))
    load_s = time.monotonic() - started
    try:
        log_probs, texts = dict(engine.log_probs(scored)), dict(engine.generate(asked))
        said = {
            "version": engine.info.engine_version,
            "device": engine.info.device,
            "attention": engine.info.attention,
            "load_s": round(load_s, 1),
            "log_probs": [log_probs[n].log_prob for n in range(len(scored))],
            "texts": [texts[n].text for n in range(len(asked))],
            "rows": cached_rows(engine) if name == "vllm" else [],
        }
    finally:
        engine.close()
    path.write_text(json.dumps(said))


def cached_rows(engine: Any) -> list[dict[str, int]]:
    """For prompts that the cache has in part: how many rows came, and how many were computed."""
    import vllm

    found = []
    params = vllm.SamplingParams(
        temperature=0.0, max_tokens=1, prompt_logprobs=1, flat_logprobs=True, detokenize=False,
        skip_reading_prefix_cache=False,
    )  # fmt: skip
    tokenizer, llm = engine._tokenizer, engine._llm
    for ending in CHOICES:
        ids = tokenizer.encode(f"{SHOTS}Question: what is 99 plus 2?\nAnswer:{ending}")
        (output,) = llm.generate({"prompt_token_ids": ids}, params, use_tqdm=False)
        n_cached = output.num_cached_tokens or 0
        # a computed position predicts the token after it; the last one's is the answer's
        needed = len(ids) - 1 - n_cached
        found.append(
            {
                "tokens": len(ids),
                "cached": n_cached,
                "rows": len(output.prompt_logprobs.start_indices),
                "needed": needed,
            }
        )
    return found


if __name__ == "__main__":
    ask(sys.argv[1], Path(sys.argv[2]))
