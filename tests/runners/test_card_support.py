"""Whether the installed torch can use the card, from what driver and packages say."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from runners import card_support
from runners.card_support import (
    Installation,
    can_use_card,
    card_problem,
    describe_installation,
    torch_cuda_in,
)
from runners.engines import AUTO
from runners.hardware import Gpu, Hardware

GIB = 2**30
CARD = Gpu("Tesla card", "GPU-0", 16 * GIB, 16 * GIB, "8.9")
MACHINE = Hardware("cpu", 8, 64 * GIB, 60 * GIB, (CARD,), driver="580.95", cuda="13.0")
GOOD = Installation(torch_cuda="13.0")
HIDDEN = Installation("13.0", has_cuda_library=False)


@pytest.mark.parametrize(
    ("hardware", "installed"),
    [
        (MACHINE, GOOD),
        (MACHINE, Installation("13.2")),  # newer builds run on older drivers of the same major version
        (MACHINE, Installation("12.8")),
        (replace(MACHINE, cuda=None), GOOD),
        (MACHINE, Installation(None)),
        (replace(MACHINE, gpus=(replace(CARD, compute_capability="0.0"),)), GOOD),
        (replace(MACHINE, gpus=(replace(CARD, compute_capability="7.5"),)), GOOD),
        (replace(MACHINE, gpus=()), Installation("", has_cuda_library=False)),
    ],
    ids=["fits", "newer minor", "older", "unknown driver", "no torch", "unknown card", "Turing", "no card"],
)
def test_card_support_finds_nothing_wrong(hardware: Hardware, installed: Installation) -> None:
    assert card_problem(hardware, installed) is None


@pytest.mark.parametrize(
    ("hardware", "installed", "message", "hint"),
    [
        (replace(MACHINE, driver="550.54", cuda="12.4"), GOOD,
         "driver 550.54 supports CUDA up to 12.4, but the installed torch is built for CUDA 13.0",
         "580 or newer,"),
        (replace(MACHINE, driver="470.1", cuda="11.4"), Installation("12.8"), "up to 11.4", "525 or newer,"),
        (replace(MACHINE, cuda="12.4"), Installation("13.0", is_wsl=True), "up to 12.4", "newer on Windows"),
        (replace(MACHINE, gpus=(CARD, replace(CARD, name="GTX 1080", compute_capability="6.1"))), GOOD,
         "GTX 1080 has compute capability 6.1, and vLLM needs 7.5", "--engine transformers"),
        (MACHINE, Installation(""), "built without CUDA", "extra `gpu`"),
        (MACHINE, HIDDEN, "`libcuda.so.1` cannot be loaded", "--gpus all"),
        (MACHINE, replace(HIDDEN, is_wsl=True), "cannot be loaded", "/usr/lib/wsl/lib"),
    ],
    ids=["old driver", "older driver", "WSL2", "old card", "CPU build", "container", "WSL2 library"],
)  # fmt: skip
def test_card_support_names_what_is_wrong(
    hardware: Hardware, installed: Installation, message: str, hint: str
) -> None:
    problem = card_problem(hardware, installed)
    assert problem is not None
    assert message in problem.message
    assert hint in problem.hint


def test_card_support_auto_says_once_why_a_card_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    card_support._say_once.cache_clear()
    pascal = replace(MACHINE, gpus=(replace(CARD, compute_capability="6.1"),))
    with caplog.at_level(logging.WARNING):
        assert not can_use_card(pascal, engine="vllm")
        assert caplog.messages == []
        assert [can_use_card(pascal, engine=AUTO) for _ in range(2)] == [False, False]
    (said,) = caplog.messages
    assert said.startswith("Tesla card is not used: ")
    assert not can_use_card(replace(MACHINE, gpus=()), engine=AUTO)


def test_card_support_reads_the_cuda_version_of_torch_without_importing_it() -> None:
    assert describe_installation().torch_cuda == (torch.version.cuda or "")
    assert torch_cuda_in("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n") == "13.0"
    assert torch_cuda_in("cuda = None\n") == ""
    assert torch_cuda_in("__version__ = '2'\n") is None
    assert card_support.AUTO == AUTO
