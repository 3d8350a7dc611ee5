"""Scoring and decoding without the prefix tree, for inputs that cannot be packed.

These are inputs of models with a recurrent state, a sliding window shorter than the input, or a rotation that
depends on the total length. Only inputs of equal length share a batch, so that there is no padding either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from runners.engines.encoding import Ids, SharedInput
from runners.engines.loading import is_out_of_memory
from runners.engines.steps import note_step
from runners.engines.transformers.decoding import Row
from tracker.errors import EngineError

PADDING = 0  # input of a completed row; its output is ignored


class UnpackedReader:
    """Reads batches of full inputs, halved if memory runs out."""

    def __init__(self, model: Any, *, max_tokens: int) -> None:
        """Read with `model`, at most `max_tokens` at once (but at least one input)."""
        self._model = model
        self._max_tokens = max_tokens
        self.prefilled_tokens = 0

    def logits(
        self, plan: Sequence[SharedInput], n_last: Sequence[int]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield each index in `plan` with the logits of its last `n_last` positions: (n_last, V).

        Raises:
            EngineError: a single input does not fit into memory.
        """
        for batch in self._batches([item.ids for item in plan]):
            n_kept = max(n_last[place] for place in batch)
            output = self._fitting(batch, [plan[place].ids for place in batch], n_kept)
            for place, logits in output:
                yield place, logits[len(logits) - n_last[place] :]

    def decode(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield each row when its batch is complete.

        Raises:
            EngineError: a single prompt does not fit into memory.
        """
        for batch in self._batches([row.prompt for row in rows]):
            yield from self._written([rows[place] for place in batch])

    def _batches(self, inputs: Sequence[Ids]) -> Iterator[list[int]]:
        """Indices of inputs of equal length, longest first, so that a lack of memory shows at once."""
        order = sorted(range(len(inputs)), key=lambda place: -len(inputs[place]))
        for length, group in groupby(order, key=lambda place: len(inputs[place])):
            places = list(group)
            while places:
                size = max(1, self._max_tokens // length)
                yield places[:size]
                places = places[size:]

    def _fitting(
        self, batch: list[int], inputs: list[Ids], n_kept: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """The logits of a batch, which is halved until it fits."""
        try:
            logits = self._forward(inputs, n_kept)
        except RuntimeError as error:
            self._halve(error, len(inputs), len(inputs[0]))
            half = len(batch) // 2
            yield from self._fitting(batch[:half], inputs[:half], n_kept)
            yield from self._fitting(batch[half:], inputs[half:], n_kept)
            return
        self.prefilled_tokens += sum(map(len, inputs))
        yield from zip(batch, logits, strict=True)

    def _forward(self, inputs: list[Ids], n_kept: int) -> torch.Tensor:
        note_step()
        device = self._model.get_input_embeddings().weight.device
        logits = self._model(torch.tensor(inputs, device=device), use_cache=False).logits
        return logits[:, -n_kept:]  # (B, n_kept, V)

    def _written(self, rows: list[Row]) -> Iterator[Row]:
        """The completed rows of a batch, which is halved until it fits."""
        for row in rows:
            row.restart()
        try:
            self._generate(rows)
        except RuntimeError as error:
            self._halve(error, len(rows), len(rows[0].prompt))
            half = len(rows) // 2
            yield from self._written(rows[:half])
            yield from self._written(rows[half:])
            return
        for row in rows:
            row.n_computed = len(row.prompt)
            self.prefilled_tokens += len(row.prompt)
            yield row

    def _generate(self, rows: list[Row]) -> None:
        """Let transformers run the model with its own kind of cache; the rows choose their tokens."""
        device = self._model.get_input_embeddings().weight.device
        prompts = torch.tensor([row.prompt for row in rows], device=device)
        self._model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=max(row.budget for row in rows),
            do_sample=False,
            logits_processor=LogitsProcessorList([_RowsChoose(rows)]),
            stopping_criteria=StoppingCriteriaList([_RowsComplete(rows)]),
            pad_token_id=PADDING,
            # applied by the rows themselves
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
        )

    def _halve(self, error: RuntimeError, n_inputs: int, length: int) -> None:
        if not is_out_of_memory(error):
            raise error
        if n_inputs == 1:
            raise EngineError(
                f"the model ran out of memory even with a single input of {length} tokens",
                reason="out_of_memory",
                hint="lower `--max-model-len`, or use a quantized variant of the model",
            ) from error
        self._max_tokens = max(1, n_inputs // 2) * length


class _RowsChoose(LogitsProcessor):  # type: ignore[misc]
    """Leaves only the token that each row chose."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        note_step()
        chosen = [self._choose(row, row_scores) for row, row_scores in zip(self._rows, scores, strict=True)]
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(1, torch.tensor(chosen, device=scores.device)[:, None], 0.0)

    @staticmethod
    def _choose(row: Row, scores: torch.Tensor) -> int:
        if row.is_complete:
            return PADDING
        row.add(row.pick(scores))
        return row.ids[-1]


class _RowsComplete(StoppingCriteria):  # type: ignore[misc]
    """Ends the batch when every row is complete."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([row.is_complete for row in self._rows], device=input_ids.device)
