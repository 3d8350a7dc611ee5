"""`python logits_server.py JOB.json`, in a sandbox: loads models and answers tokens with logits.

The job names a checkpoint, whose model it answers for, or seeds, whose untrained models it answers for.

Nothing that it says is trusted: the code of the model runs in the same process. It is never told what comes
next in a text, it never computes a loss, and it cannot tell which of its requests are probes.

Standard output carries a line when torch is imported and one when the modules of the job are; after each it
waits for a byte on standard input, so that our side can see the cost of importing before any code of the
script runs. Then come one line of JSON and one block of float32 (B, T, V) per request. A request is the place
of the model, B and T as int32, then B × T tokens as int32; all little-endian. What the model prints goes to
standard error. It imports torch and nothing of ours, since it runs alone in a sandbox.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pickle
import struct
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import torch

HEADER = struct.Struct("<iii")
# taken before the script can put its own in their place
set_seed, load, no_gradients = torch.manual_seed, torch.load, torch.inference_mode


def imported(path: str) -> ModuleType:
    """The training script as a module; its own `main` does not run."""
    loader = importlib.machinery.SourceFileLoader("train", path)
    spec = importlib.util.spec_from_loader("train", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def accelerator(asked: str) -> str:
    """The device for a job that asks for a card, as in the training."""
    has_apple = torch.backends.mps.is_available() and not torch.cuda.is_available()
    return "mps" if asked == "cuda" and has_apple else asked


def raw(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor in main memory, which must outlive the view."""
    size = tensor.numel() * tensor.element_size()
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr()))


def likeness(first: Any, second: Any) -> list[tuple[str, int, float | None]]:
    """(name, numbers, cosine) of each weight, between two untrained models.

    A weight with one value throughout, such as zeros or a gain of ones, is not drawn: it has no cosine.
    """
    found: list[tuple[str, int, float | None]] = []
    others = second.state_dict()
    for name, weight in first.state_dict().items():
        a, b = (each.detach().flatten().cpu().to(torch.float64) for each in (weight, others[name]))
        a, b = a - a.mean(), b - b.mean()
        size = float(a.norm() * b.norm())
        is_drawn = a.numel() > 1 and len(a) == len(b) and size > 0
        found.append((name, a.numel(), abs(float(a @ b)) / size if is_drawn else None))
    return found


def begun(script: ModuleType, config: dict[str, Any], seed: int, device: str) -> Any:
    """The model as a training under `seed` begins with it."""
    set_seed(seed)
    model = script.build_model(config).to(device)
    script.Trainer(model, script.Tunables(**config["params"]), compiled=False)
    return model.eval()


def ready(job: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The models, and what is told about them."""
    if job["seeds"]:
        script = imported(job["script"])
        models = [begun(script, job["config"], seed, job["device"]) for seed in job["seeds"]]
        return models, {"starts": likeness(*models[:2])}
    state = load(job["checkpoint"], map_location="cpu", weights_only=True)["state"]
    script = imported(job["script"])
    model = script.build_model(job["config"])
    model.load_state_dict(state)
    return [model.to(job["device"]).eval()], {}


def answer(models: list[Any], device: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        which, B, T = HEADER.unpack(header)
        words = bytearray(requests.read(4 * B * T))
        tokens = torch.frombuffer(words, dtype=torch.int32).view(B, T).long().to(device)
        with no_gradients():
            logits = models[which](tokens)  # (B, T, V)
        block = logits.detach().float().cpu().contiguous()
        answers.write(raw(block))
        answers.flush()


def main(job_path: str) -> None:
    """Say what was loaded, or why it was not, and answer."""
    job = json.loads(Path(job_path).read_bytes())
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    torch.set_num_threads(job["n_threads"])
    job["device"] = accelerator(job["device"])
    for modules in ((), job["modules"]):
        for name in modules:
            importlib.import_module(name)
        answers.write(b"\n")
        requests.read(1)
    problem = ""
    models: list[Any] = []
    told: dict[str, Any] = {}
    try:
        models, told = ready(job)
    except pickle.UnpicklingError:
        print("it contains more than tensors", file=sys.stderr)
        problem = "unsafe_checkpoint"
    except Exception:  # noqa: BLE001 - whatever code that nobody has read may raise
        traceback.print_exc()
        problem = "unreadable_checkpoint"
    answers.write(json.dumps(told | {"problem": problem}).encode() + b"\n")
    if not problem:
        answer(models, job["device"], requests, answers)


if __name__ == "__main__":
    main(sys.argv[1])
