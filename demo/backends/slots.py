"""Keys and values of several conversations at a time, each in a slot of its own.

Owns the memory and where a forward writes in it: the next tokens of one conversation, or the first of several
(`at_prompt`), or one token of each of the first slots (`at_step`). A slot keeps what was written until it is written
again, so that a conversation can go on where it ended. Knows nothing of requests, of tokens or of a model's other
inputs.

Shapes: S slots, B of them in use, K key-value heads, C columns (one a token), T new tokens, d head width.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

FIRST_COLUMNS = 512  # where it is not known how long conversations may get, memory grows from here


@dataclass(frozen=True, slots=True)
class Prompt:
    """The next tokens of one conversation, behind the ``start`` that its slot holds already."""

    slot: int
    start: int
    count: int = 1  # conversations, in slots beside each other


@dataclass(frozen=True, slots=True)
class Step:
    """One more token of each of the first slots; ``lengths`` (B,) are the tokens that each holds, on every device."""

    lengths: dict[torch.device, torch.Tensor]
    rows: dict[torch.device, torch.Tensor]  # 0 … B - 1
    width: int  # columns that are looked at: the longest conversation with its new token


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's block of memory, (S, K, C, d) for keys and as much for values."""

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        # zeros, not whatever was there: a masked column counts nothing, but nothing times infinity is not a number
        self.keys, self.values = (
            _zeros(states, (self._cache.num_slots, states.shape[1], self._cache.num_columns, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (B, K, T, d) and return what is to be looked at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window = self._cache.window
        if isinstance(window, Prompt):
            rows, end = slice(window.slot, window.slot + window.count), window.start + key_states.shape[2]
            self.keys[rows, :, window.start : end] = key_states
            self.values[rows, :, window.start : end] = value_states
            return self.keys[rows, :, :end], self.values[rows, :, :end]
        index, lengths = window.rows[self.keys.device], window.lengths[self.keys.device]
        if self._cache.write is None:
            self.keys[index, :, lengths] = key_states[:, :, 0]
            self.values[index, :, lengths] = value_states[:, :, 0]
        else:
            self._cache.write(self.keys, self.values, key_states[:, :, 0], value_states[:, :, 0], lengths)
        return self.keys[: len(index), :, : window.width], self.values[: len(index), :, : window.width]

    def get_seq_length(self) -> int:
        window = self._cache.window
        return window.start if isinstance(window, Prompt) else window.width - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def grow(self, num_columns: int) -> None:
        """Make room for longer conversations; what is held stays."""
        if self.is_initialized:
            self.keys, self.values = (_wider(block, num_columns) for block in (self.keys, self.values))

    def copy(self, source: int, target: int, num_columns: int) -> None:
        for block in self._blocks():
            block[target, :, :num_columns] = block[source, :, :num_columns]

    def swap(self, one: int, other: int, num_columns: int) -> None:
        for block in self._blocks():
            held = block[one, :, :num_columns].clone()
            block[one, :, :num_columns] = block[other, :, :num_columns]
            block[other, :, :num_columns] = held

    def _blocks(self) -> tuple[torch.Tensor, ...]:
        return (self.keys, self.values) if self.is_initialized else ()


class SlotCache(Cache):  # type: ignore[misc]
    """All layers. Before each forward it is told where that writes."""

    def __init__(self, num_slots: int, num_columns: int | None, *, write: Callable[..., None] | None = None) -> None:
        """``num_columns`` is the most tokens of a conversation that memory is planned for; it is all taken at once.

        ``write`` is a kernel that writes a step's keys and values; see `demo.backends.kernels.steps`.
        """
        super().__init__(layer_class_to_replicate=partial(SlotLayer, self))
        self.num_slots = num_slots
        self.write = write
        self._first_columns = num_columns or FIRST_COLUMNS
        self.num_columns = self._first_columns
        self.window: Prompt | Step = Prompt(0, 0)
        self.memory = 0  # a number that changes whenever the blocks are others

    def at_prompt(self, slot: int, start: int, end: int, *, count: int = 1) -> None:
        """The next forward reads the tokens from ``start`` to ``end`` of the conversation in a slot, or in several."""
        self.reach(end)
        self.window = Prompt(slot, start, count)

    def at_step(self, lengths: Sequence[int]) -> int:
        """The next forward reads one token of each of the first slots; returns how many columns it looks at."""
        width = max(lengths) + 1
        self.reach(width)
        devices = {layer.keys.device for layer in self.layers}
        numbers = torch.tensor([lengths, range(len(lengths))])  # (2, B), so that one copy takes both along
        on = {device: numbers.to(device, non_blocking=True) for device in devices}
        self.window = Step({d: pair[0] for d, pair in on.items()}, {d: pair[1] for d, pair in on.items()}, width)
        return width

    def copy(self, source: int, target: int, num_columns: int) -> None:
        """Put a slot's first columns into another, too."""
        for layer in self.layers:
            layer.copy(source, target, num_columns)

    def swap(self, one: int, other: int, num_columns: int) -> None:
        """Exchange two slots' first columns."""
        for layer in self.layers if one != other else ():
            layer.swap(one, other, num_columns)

    def release(self) -> None:
        """Give the memory back; the next forward takes it again, empty."""
        self.layers.clear()
        self.num_columns = self._first_columns
        self.memory += 1

    def reach(self, num_columns: int) -> None:
        """Have room for conversations of so many tokens; what is held stays."""
        while self.num_columns < num_columns:
            wider = 2 * self.num_columns
            self.memory += 1
            for layer in self.layers:
                layer.grow(wider)
            self.num_columns = wider  # not before: memory may run out between two layers


def can_be_slots(config: Any) -> bool:
    """Whether all that a model remembers of a conversation are keys and values of all its tokens."""
    if getattr(config, "is_encoder_decoder", False):
        return False
    text = config.get_text_config(decoder=True)
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=text).layers)


def _zeros(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros of another's kind. In main memory they are pages that the system gives once they are written, for memory is
    planned for conversations that nobody has yet. torch writes all at once, and numpy asks for pages of 2 MiB: the
    first tokens of a conversation would write one for each head of each layer."""
    count = math.prod(shape)
    if like.device.type != "cpu" or not count:
        return like.new_zeros(shape)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    pages = mmap.mmap(-1, count * like.element_size(), **private)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # of a system that has no large ones
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype, count=count).view(shape)


def _wider(block: torch.Tensor, num_columns: int) -> torch.Tensor:
    slots, heads, columns, width = block.shape
    wider = _zeros(block, (slots, heads, num_columns, width))
    wider[:, :, :columns] = block
    return wider
