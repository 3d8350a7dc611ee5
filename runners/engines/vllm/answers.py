"""Convert vLLM's outputs to our answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.engines import ChatPrompt, Generation, GenerationRequest
from runners.engines.encoding import Tokenizer
from runners.engines.stopping import without_tokens
from runners.engines.thinking import ThinkingMarks, without_label
from runners.engines.vllm.scoring import Probe, ProbeRows
from tracker.records import CUT_OFF

Output = Any  # vllm.RequestOutput


def lacks_rows(probe: Probe, output: Output) -> bool:
    """Whether rows that the probe needs were not computed: read from the cache, or lost by a preemption."""
    if not probe.has_rows:
        return False
    is_cached = (output.num_cached_tokens or 0) > probe.first_row
    return is_cached or len(output.prompt_logprobs.start_indices) < _n_rows(probe)


def _n_rows(probe: Probe) -> int:
    return len(probe.ids) - 1 - probe.first_row


def probe_rows(probe: Probe, output: Output) -> ProbeRows:
    """A probe's rows; vLLM's two runners differ in the entries before the computed rows."""
    own: list[float] = []
    top: list[float] = []
    if probe.has_rows:
        prompt = output.prompt_logprobs
        n_rows = _n_rows(probe)
        for start, stop in zip(prompt.start_indices[-n_rows:], prompt.end_indices[-n_rows:], strict=True):
            own.append(prompt.logprobs[start])  # the prompt's own token comes first
            top.append(max(prompt.logprobs[start:stop]))
    after = output.outputs[0].logprobs
    # The generated token comes first, then the requested ones, then padding that looks like token 0.
    asked = after.logprobs[1 : 1 + len(probe.next_ids)]
    return ProbeRows(
        first_row=probe.first_row,
        log_probs=own,
        top_log_probs=top,
        next_log_probs=dict(zip(probe.next_ids, asked, strict=True)),
        next_top_log_prob=after.logprobs[0],
        n_cached=output.num_cached_tokens or 0,
    )


def ids_before_end(completion: Any) -> Sequence[int]:
    """The tokens of the answer without the one that ended it, which vLLM leaves at the end."""
    is_ended_by_token = completion.finish_reason == "stop" and not isinstance(completion.stop_reason, str)
    ids: Sequence[int] = completion.token_ids
    return ids[:-1] if is_ended_by_token else ids


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Splits generated text into thinking and answer; `AnswerEnd` does so token by token."""

    tokenizer: Tokenizer
    marks: ThinkingMarks | None
    may_think: bool  # unless disabled in the settings

    def stops_late(self, request: GenerationRequest) -> bool:
        """Whether stop strings must be ignored while generating, since one could end the thinking."""
        return self.may_think and self.marks is not None and isinstance(request.prompt, ChatPrompt)

    def generation(self, request: GenerationRequest, output: Output) -> Generation:
        """The answer to `request`."""
        (completion,) = output.outputs
        text, thinking = self._split(request, self.tokenizer.decode(completion.token_ids))
        answer = before_stop(text, request.stop)
        # else it continued after a stop string
        is_cut = completion.finish_reason in CUT_OFF and answer == text
        metrics = output.metrics
        return Generation(
            text=self._plain(answer),
            finish_reason=completion.finish_reason if is_cut else "stop",
            prompt_tokens=len(output.prompt_token_ids),
            output_tokens=len(completion.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            # From the assignment of a slot: the wait for one depends on us, not on the model.
            latency_s=metrics.last_token_ts - metrics.scheduled_ts,
            ttft_s=metrics.first_token_ts - metrics.scheduled_ts,
            thinking=None if thinking is None else without_label(self._plain(thinking)).strip(),
        )

    def _split(self, request: GenerationRequest, text: str) -> tuple[str, str | None]:
        """The answer and the thinking; if the thinking did not end, there is no answer."""
        if self.marks is None:
            return text, None
        marks = self.marks.in_use(request.prompt, text)
        is_open = marks.is_open(request.prompt) or text.lstrip().startswith(marks.start)
        thinking, mark, rest = text.partition(marks.end)
        if not mark:
            return ("", text) if is_open else (marks.unwrapped(text), None)
        # Newlines after the thinking are not stop strings. The model may think again before it answers.
        while marks.end in before_stop(rest.lstrip(), request.stop):
            more, mark, rest = rest.partition(marks.end)
            thinking += mark + more
        return marks.unwrapped(rest.lstrip()), thinking

    def _plain(self, text: str) -> str:
        pairs = () if self.marks is None else (self.marks, *self.marks.others)
        marks = [mark for pair in pairs for mark in (pair.start, pair.end)]
        return without_tokens(text, [*marks, *self.tokenizer.all_special_tokens])


def before_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the stop strings."""
    for string in stop:
        if string:
            text = text.split(string, 1)[0]
    return text
