"""Run a model over a prefix tree, keeping the keys and values of the current path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from runners.engines.encoding import Ids, SharedInput, plan_inputs
from runners.engines.loading import is_out_of_memory
from runners.engines.steps import note_step
from runners.engines.transformers.prefix_tree import (
    Chunk,
    IntArray,
    TreeWalk,
    continue_plan,
)
from runners.engines.transformers.shared_prefix import Attended, States, attend
from tracker.errors import EngineError

ATTENTION = "grouped_sdpa"
CHECK_LEN = 6  # tokens of an input in a check of the model
CHECK_CHUNK = 4  # so that the check needs the cache
# Largest difference of a log-prob, in nats. Rounding stays under 1e-4 in float32 and under 0.1 in 16 bits; a
# mask or a position that is ignored moves most of them by more than 0.5 on trained weights.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.1}


class PrefixReader:
    """Computes each token of a tree walk once; halves its chunks if memory runs out."""

    def __init__(self, model: Any, *, max_tokens: int) -> None:
        """Read with `model`, at most `max_tokens` at once."""
        self.model = model
        self.max_tokens = max_tokens
        self.prefilled_tokens = 0
        self._cache = DynamicCache()
        self._path: Ids = ()  # tokens in the cache

    def start(self, plan: Sequence[SharedInput], *, n_fresh: Sequence[int]) -> TreeWalk:
        """Start a walk over `plan`, reusing the part of the previous walk that is in the cache.

        Logits will be available after each of the last `n_fresh[i]` tokens of input i.
        """
        plan = continue_plan(plan, self._path, n_fresh=n_fresh)
        self._keep(np.arange(plan[0].n_shared if plan else 0))
        return TreeWalk(plan)

    def read(
        self,
        walk: TreeWalk,
        wanted: Callable[[Chunk], IntArray],
        *,
        max_ended: int | None = None,
    ) -> Iterator[tuple[Chunk, torch.Tensor]]:
        """Yield each chunk with the logits after its `wanted` tokens: (n_wanted, V).

        Until the walk continues, `states` gives the keys and values of every input that ended.

        Raises:
            EngineError: a single token does not fit into memory.
        """
        while not walk.is_done:
            chunk = walk.chunk(max_tokens=self.max_tokens, max_ended=max_ended)
            self._path = walk.path  # valid even if the caller stops here
            try:
                logits = self._forward(chunk, wanted(chunk))
            except RuntimeError as error:
                self._keep(np.arange(chunk.n_cached))
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
                continue
            self.prefilled_tokens += len(chunk.ids)
            yield chunk, logits
            walk.advance(chunk)
            self._keep(chunk.kept)
            self._path = walk.path

    def states(self, slots: IntArray) -> States:
        """Copies of the keys and values at these slots."""
        return [(_at(layer.keys, slots)[0], _at(layer.values, slots)[0]) for layer in self._cache.layers]

    def forget(self) -> None:
        """Clear the cache; the next walk starts from scratch."""
        self._cache = DynamicCache()
        self._path = ()

    def _forward(self, chunk: Chunk, wanted: IntArray) -> torch.Tensor:
        note_step()
        device = self.model.get_input_embeddings().weight.device
        visible = torch.from_numpy(chunk.visible).to(device)
        mask = torch.zeros(visible.shape, dtype=self.model.dtype, device=device)
        mask.masked_fill_(~visible, torch.finfo(self.model.dtype).min)
        output = self.model(
            input_ids=torch.from_numpy(chunk.ids).to(device)[None],
            position_ids=torch.from_numpy(chunk.positions).to(device)[None],
            attention_mask=mask[None, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.from_numpy(wanted).to(device),
        )
        return output.logits[0]

    def _keep(self, slots: IntArray) -> None:
        if not len(slots):
            self.forget()
            return
        for layer in self._cache.layers:
            layer.keys, layer.values = _at(layer.keys, slots), _at(layer.values, slots)

    def _halve(self, error: RuntimeError) -> None:
        if self.max_tokens == 1:
            raise EngineError(
                "the model ran out of memory even with one token at a time",
                reason="out_of_memory",
                hint="lower `--max-model-len`, or use a quantized variant of the model",
            ) from error
        self.max_tokens = max(1, self.max_tokens // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _at(tensor: torch.Tensor, slots: IntArray) -> torch.Tensor:
    """The tokens (dimension 2) at `slots`; a view if they are simply the first ones."""
    if len(slots) == 0 or slots[-1] == len(slots) - 1:
        return tensor[:, :, : len(slots)]
    return tensor.index_select(2, torch.from_numpy(slots).to(tensor.device))


def share_key_heads(model: Any) -> None:
    """Let `model` attend without copying each key head per query head, if it uses SDPA.

    transformers repeats keys and values whenever there is a mask; on a CPU that copy took longer than
    the attention itself (3.3 times in all, 32 rows of 300 tokens, SmolLM2-135M, torch 2.13).
    """
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(ATTENTION, _grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)


def _grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    attended: Sequence[Attended] = (),
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """`sdpa_attention_forward` without copying the key heads, and with the prefixes of decoded rows."""
    scale = kwargs.get("scaling")
    if attended and attention_mask is not None:
        layer = int(module.layer_idx)
        seen = [(one.rows, *one.prefix.states[layer]) for one in attended]
        return attend(query, key, value, attention_mask, attended=seen, scale=scale), None
    n_groups = query.shape[1] // key.shape[1]
    if n_groups == 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    if query.shape[2] == 1:  # treat the queries of one key head as tokens
        B, H, _, D = query.shape
        grouped = query.reshape(B, key.shape[1], n_groups, D)
        output = functional.scaled_dot_product_attention(
            grouped, key, value, attn_mask=attention_mask, scale=scale
        )  # (B, key heads, groups, D)
        return output.reshape(B, 1, H, -1), None
    if query.device.type == "cpu":
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scale, enable_gqa=True
        )
        return output.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]


def packed_limit(config: Any) -> int | None:
    """Length of the longest input that may be packed; None: any, 0: none.

    A sliding window and a rotation that depends on the total length give the same result as unpacked reading
    only below their own length. A recurrent state cannot be packed.
    """
    config = config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention", "chunked_attention"}:
        return 0
    limits = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    rope = getattr(config, "rope_parameters", None) or {}
    rotations = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    if any(rotation.get("rope_type") in {"dynamic", "longrope"} for rotation in rotations):
        lengths = [rotation.get("original_max_position_embeddings") for rotation in rotations]
        limits.extend([*lengths, getattr(config, "original_max_position_embeddings", None)])
        limits.append(config.max_position_embeddings)
    return min((int(limit) for limit in limits if limit), default=None)


def reads_packed(model: Any, *, vocab_size: int) -> bool:
    """Whether `model` gives the same log-probs for a packed tree as for each input alone."""
    ids = [(7 * place + 3) % vocab_size for place in range(CHECK_LEN)]
    inputs = [
        tuple(ids[:split]) + tuple((i + 1 + split) % vocab_size for i in ids[split:]) for split in (2, 4, 5)
    ]
    plan = plan_inputs(inputs)
    reader = PrefixReader(model, max_tokens=CHECK_CHUNK)
    last: dict[int, torch.Tensor] = {}

    def ends(chunk: Chunk) -> IntArray:
        return np.asarray([ended.slots[-1] - chunk.n_cached for ended in chunk.ended], dtype=np.int64)

    try:
        for chunk, logits in reader.read(reader.start(plan, n_fresh=[1] * len(plan)), ends):
            last.update(zip((ended.place for ended in chunk.ended), logits, strict=True))
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # it needs another kind of cache or mask
    device = model.get_input_embeddings().weight.device
    for place, item in enumerate(plan):
        alone = model(torch.tensor([item.ids], device=device), use_cache=False).logits[0, -1]
        difference = torch.log_softmax(alone.float(), -1) - torch.log_softmax(last[place].float(), -1)
        if not difference.abs().max().item() < TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16]):
            return False
    return True
