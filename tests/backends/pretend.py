"""Pretended cards: tensors that compute on the CPU but claim to lie on a card, and are as strict about it as one.

Inside `pretended_cards()` the devices ``cpu:0``, ``cpu:1`` ... are cards, and ``cpu`` alone is main memory. What mixes
tensors of two of them raises what torch raises on real cards; the numbers are those of the CPU. It holds for the
thread that enters it only: `HF_DEACTIVATE_ASYNC_LOAD=1` keeps transformers from loading in others.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

MOVES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
INDEXED = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}


class OnCard(torch.Tensor):
    """A tensor on a pretended card; ``inner`` has its numbers."""

    @staticmethod
    def __new__(cls, real, requires_grad=False, card=None, **_):
        if card is None:  # as a Parameter's class is called, by accelerate
            if not isinstance(real, OnCard):
                return torch.nn.Parameter(real, requires_grad=requires_grad)
            real, card = real.inner, real.device
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), storage_offset=0, dtype=real.dtype, device=card
        )
        tensor.inner = real
        return tensor

    def __init__(self, *_, **__):
        pass

    def data_ptr(self):
        return self.inner.data_ptr()

    def __repr__(self, **_):
        return f"OnCard({self.device}, {self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    card = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if card is None:
        # a number may come from main memory, and so may an index; everything else must lie together
        strict = (tensor for tensor in given if isinstance(tensor, OnCard) or (tensor.dim() and func not in INDEXED))
        places = {tensor.device for tensor in strict}
        if len(places) > 1 and func not in MOVES:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {places} in {func}")
        card = args[0].device if func in MOVES else next((t.device for t in given if isinstance(t, OnCard)), None)
    elif card.index is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    homes = {id(tensor.inner): tensor for tensor in given if isinstance(tensor, OnCard)}
    real_args, real_kwargs = tree_map(lambda x: x.inner if isinstance(x, OnCard) else x, (args, kwargs))
    found = func(*real_args, **real_kwargs)
    if card is None or card.index is None:
        return found

    def put(thing):
        if not isinstance(thing, torch.Tensor):
            return thing
        return homes[id(thing)] if id(thing) in homes else OnCard(thing, card=card)

    return tree_map(put, found)


class _Cards(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class _Edges(TorchFunctionMode):
    """Two ways in and out that do not pass where operations are dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") is not None:
            card = kwargs.pop("device")
            numbers = tree_map(lambda x: x.item() if isinstance(x, torch.Tensor) else x, args[0])
            return func(numbers, **kwargs).to(card)
        if func is torch.Tensor.tolist and isinstance(args[0], OnCard):
            return args[0].inner.tolist()
        return func(*args, **kwargs)


@contextmanager
def pretended_cards():
    with _Cards(), _Edges():
        yield
