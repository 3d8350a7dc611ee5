"""`python logits_server.py JOB.json`, in a sandbox: loads a checkpoint and answers tokens with logits.

Nothing that it says is trusted: the code of the model runs in the same process. It is never told what comes
next in a text, it never computes a loss, and it cannot tell which of its requests are probes.

Standard output carries one line of JSON, then one block of float32 (B, T, V) per request. A request on
standard input is B and T as int32, then B × T tokens as int32; all little-endian. What the model prints goes
to standard error. It imports torch and nothing of ours, since it runs alone in a sandbox.
"""

from __future__ import annotations

import ctypes
import hashlib
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

HEADER = struct.Struct("<ii")
DIGESTED = 4096  # first numbers of a weight that are compared between two seeds
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


def raw(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor in main memory, which must outlive the view."""
    size = tensor.numel() * tensor.element_size()
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr()))


def digests(model: Any) -> dict[str, str]:
    """Name → hash of each weight that is not one value throughout: those are drawn at random."""
    found = {}
    for name, weight in model.named_parameters():
        flat = weight.detach().flatten()[:DIGESTED].to("cpu", torch.float32).contiguous()
        if flat.numel() > 1 and bool((flat != flat[0]).any()):
            found[name] = hashlib.sha256(raw(flat)).hexdigest()
    return found


def begun(script: ModuleType, config: dict[str, Any], seed: int) -> Any:
    """The model as a training under `seed` begins with it."""
    set_seed(seed)
    model = script.build_model(config)
    script.Trainer(model, script.Tunables(**config["params"]), compiled=False)
    return model


def ready(job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The trained model, and what is told about it."""
    state = load(job["checkpoint"], map_location="cpu", weights_only=True)["state"]
    script = imported(job["script"])
    starts = [digests(begun(script, job["config"], seed)) for seed in job["seeds"]]
    model = script.build_model(job["config"])
    model.load_state_dict(state)
    n_params = sum(weight.numel() for weight in model.state_dict().values())
    return model.to(job["device"]).eval(), {"n_params": n_params, "starts": starts}


def answer(model: Any, device: str, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the requests end."""
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        B, T = HEADER.unpack(header)
        words = bytearray(requests.read(4 * B * T))
        tokens = torch.frombuffer(words, dtype=torch.int32).view(B, T).long().to(device)
        with no_gradients():
            logits = model(tokens)  # (B, T, V)
        block = logits.detach().to("cpu", torch.float32).contiguous()
        answers.write(raw(block))
        answers.flush()


def main(job_path: str) -> None:
    """Say what was loaded, or why it was not, and answer."""
    job = json.loads(Path(job_path).read_bytes())
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    torch.set_num_threads(job["n_threads"])
    problem = ""
    try:
        model, told = ready(job)
    except pickle.UnpicklingError:
        print("it contains more than tensors", file=sys.stderr)
        problem, told = "unsafe_checkpoint", {}
    except Exception:  # noqa: BLE001 - whatever code that nobody has read may raise
        traceback.print_exc()
        problem, told = "unreadable_checkpoint", {}
    answers.write(json.dumps(told | {"problem": problem}).encode() + b"\n")
    if not problem:
        answer(model, job["device"], os.fdopen(0, "rb"), answers)


if __name__ == "__main__":
    main(sys.argv[1])
