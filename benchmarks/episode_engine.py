"""Engines that solve every request of the suites `tools` and `home`, slowly: for kills amid episodes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from runners.engines import Generation, GenerationRequest
from runners.harness.tasks.tools.draw import document
from runners.harness.tasks.tools.kinds import KINDS
from tests.doubles.home_agents import SolvingHomeEngine
from tests.doubles.tool_agents import RuleEngine, oracle
from tracker.records import EngineInfo, EngineSettings, Model

SEED, N_REQUESTS = 20261130, 16  # of each task of the suite
ANSWER_S = 0.02  # of one answer


class SolvingEngine(RuleEngine):
    """Answers as the one who knows the calls; for a real worker."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        docs = [document(kind, seed=SEED, number=number) for kind in KINDS for number in range(N_REQUESTS)]
        super().__init__(oracle(docs), max_model_len=1_000_000)
        self.info: EngineInfo = replace(self.info, engine="solving")

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for answer in super().generate(requests):
            time.sleep(ANSWER_S)
            yield answer


class SlowHomeEngine(SolvingHomeEngine):
    """Carries out every command of the suite `home`; for a real worker."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for answer in super().generate(requests):
            time.sleep(ANSWER_S)
            yield answer
