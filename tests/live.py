"""Counts the bytes of all tensors that are alive while a model computes: the truth that activation formulas predict.

Every operator of torch passes by; a tensor counts from the operator that made it until nothing holds its memory. The
model's own weights do not count. Works without a card, where torch keeps no such statistics.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """``with Live(model, inputs) as live: ...``; the inputs count, and ``live.peak_bytes`` is the most at once."""

    def __init__(self, model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        gc.collect()
        self.peak_bytes = 0
        self._weights = {_key(tensor) for tensor in [*model.parameters(), *model.buffers()]}
        self._alive = {_key(tensor): _entry(tensor) for tensor in inputs.values()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and _key(tensor) not in self._weights:
                self._alive[_key(tensor)] = _entry(tensor)
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._alive.values()))
        return made


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _entry(tensor: torch.Tensor) -> tuple[StorageWeakRef, int]:
    storage = tensor.untyped_storage()
    return StorageWeakRef(storage), storage.nbytes()
