"""An episode with tools goes the same way through vLLM as through transformers: same calls, same results."""

from __future__ import annotations

import pytest

from runners.engines import Engine
from tests.doubles.tool_agents import docs_of, played_by
from tracker.records.transcripts import parse_transcript

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]

KINDS = ("single", "missing", "recover")


def test_greedy_episodes_have_the_transcripts_of_transformers(vllm_engine: Engine, reference: Engine) -> None:
    docs = [doc for kind in KINDS for doc in docs_of(kind, n=2)]
    ours, theirs = played_by(vllm_engine, docs), played_by(reference, docs)
    same = [ours[place].text == theirs[place].text for place in range(len(docs))]
    transcripts = [parse_transcript(ours[place].text) for place in range(len(docs))]
    n_answers = sum(one.role == "assistant" for found in transcripts if found for one in found.messages)
    print(f"{sum(same)} of {len(docs)} transcripts are equal, {n_answers} answers")
    assert n_answers > len(docs), "some episodes have several turns"
    assert all(same)
