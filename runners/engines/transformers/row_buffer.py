"""Keys and values of many rows, written in place: token t of row r lies at [r, :, t].

A cache that grows by concatenation would copy itself for every token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from runners.engines.transformers.shared_prefix import States

GROWTH = 256  # minimum number of slots by which the buffer grows


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's buffer: (rows, heads, slots, dim)."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True
        self.aimed = torch.zeros(0, dtype=torch.long)  # slot of each row's next token
        self.width = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the buffer exists from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per row at the slots `aimed`; return views of all used slots."""
        n = key_states.shape[0]
        rows = torch.arange(n, device=self.keys.device)
        self.keys[rows, :, self.aimed] = key_states[:, :, 0]
        self.values[rows, :, self.aimed] = value_states[:, :, 0]
        return self.keys[:n, :, : self.width], self.values[:n, :, : self.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of slots attended to, and the first of them."""
        return self.width, 0

    def get_seq_length(self) -> int:
        """Number of slots used before the next token."""
        return max(0, self.width - 1)

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class RowBuffer:
    """The buffers of all layers, which grow as needed."""

    def __init__(self) -> None:
        """Allocate nothing until the first row arrives."""
        self._layers: list[RowLayer] = []
        self.cache: Cache | None = None

    def put(self, row: int, states: States, *, n_rows: int) -> None:
        """Write a row's keys and values, growing the buffer to at least `n_rows` rows."""
        n_tokens = states[0][0].shape[1]
        if not self._layers:
            self._allocate(states, n_rows=n_rows, n_slots=n_tokens + GROWTH)
        self._reserve(n_rows=n_rows, n_slots=n_tokens + 1)
        for layer, (keys, values) in zip(self._layers, states, strict=True):
            layer.keys[row, :, :n_tokens] = keys.to(layer.keys.device)
            layer.values[row, :, :n_tokens] = values.to(layer.values.device)

    def take(self, row: int, *, n_tokens: int) -> States:
        """Copy a row's keys and values to CPU memory."""
        return [
            (
                layer.keys[row, :, :n_tokens].to("cpu", copy=True),
                layer.values[row, :, :n_tokens].to("cpu", copy=True),
            )
            for layer in self._layers
        ]

    def move(self, source: int, target: int, *, n_tokens: int) -> None:
        """Copy one row over another."""
        for layer in self._layers:
            layer.keys[target, :, :n_tokens] = layer.keys[source, :, :n_tokens]
            layer.values[target, :, :n_tokens] = layer.values[source, :, :n_tokens]

    def aim(self, slots: torch.Tensor, *, n_rows: int) -> None:
        """Set `slots[r]` as the slot for the next token of row r."""
        width = int(slots.max()) + 1
        self._reserve(n_rows=n_rows, n_slots=width)
        for layer in self._layers:
            layer.aimed, layer.width = slots.to(layer.keys.device), width

    def shrink(self, n_rows: int) -> None:
        """Free the memory of all rows beyond `n_rows`."""
        for layer in self._layers:
            layer.keys, layer.values = layer.keys[:n_rows].clone(), layer.values[:n_rows].clone()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # Zeros, not uninitialized memory: masked slots still enter the products, and NaN times 0 is NaN.
    def _allocate(self, states: States, *, n_rows: int, n_slots: int) -> None:
        self._layers = [
            RowLayer(*(x.new_zeros(n_rows, x.shape[0], n_slots, x.shape[2]) for x in (keys, values)))
            for keys, values in states
        ]
        self.cache = Cache(layers=self._layers)

    def _reserve(self, *, n_rows: int, n_slots: int) -> None:
        for layer in self._layers:
            old_rows, _, old_slots, _ = layer.keys.shape
            if n_rows <= old_rows and n_slots <= old_slots:
                continue
            new_slots = old_slots if n_slots <= old_slots else n_slots + max(GROWTH, old_slots // 2)
            layer.keys = _grown(layer.keys, max(n_rows, old_rows), new_slots)
            layer.values = _grown(layer.values, max(n_rows, old_rows), new_slots)


def _grown(old: torch.Tensor, n_rows: int, n_slots: int) -> torch.Tensor:
    new = old.new_zeros(n_rows, old.shape[1], n_slots, old.shape[3])
    new[: old.shape[0], :, : old.shape[2]] = old
    return new
