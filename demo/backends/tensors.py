"""Every tensor that a loaded model keeps, wherever and in whatever form it is kept.

Owns the walk: parameters and buffers, weights that accelerate's hooks hold in main memory, the pieces that a quantized
weight is made of. Knows nothing of plans. Sizes are bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def hooks_of(module: torch.nn.Module) -> Iterator[AlignDevicesHook]:
    """The hooks by which accelerate moves a module's input, and maybe its weights, to where it computes."""
    hook = getattr(module, "_hf_hook", None)
    yield from (part for part in getattr(hook, "hooks", (hook,)) if isinstance(part, AlignDevicesHook))


def kept(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by name; of an offloaded one what waits in main memory, not its empty place."""
    for path, module in model.named_modules():
        store = next((hook.weights_map for hook in hooks_of(module) if hook.offload), None)
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            full_name = f"{path}.{name}" if path else name
            yield full_name, store[name] if tensor.is_meta and store is not None else tensor


def pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The plain tensors that hold a weight's numbers: itself, or what a quantizing library made of it."""
    if is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            yield from pieces(getattr(tensor, name))
        return
    yield tensor
    yield from _scales(tensor)


def _scales(tensor: Any) -> Iterator[torch.Tensor]:
    """bitsandbytes keeps the scales of its weights beside them: 8-bit ones as attributes, 4-bit ones in a state."""
    state = getattr(tensor, "quant_state", None)
    for holder in (tensor, state, getattr(state, "state2", None)):
        for name in ("CB", "SCB", "absmax", "code", "offset"):
            found = getattr(holder, name, None)
            if isinstance(found, torch.Tensor):
                yield found


def num_weights(tensor: torch.Tensor) -> int:
    """How many numbers a parameter stands for; 4-bit ones are stored two to a byte."""
    state = getattr(tensor, "quant_state", None)
    return math.prod(state.shape) if state is not None else tensor.numel()


def place_of(tensor: torch.Tensor) -> tuple[torch.device, int, int]:
    """What two tensors have in common that share their memory."""
    return tensor.device, tensor.data_ptr(), tensor.numel() * tensor.element_size()


def resident(model: torch.nn.Module) -> dict[str, int]:
    """The bytes on each device; what shares memory (tied weights) counts once."""
    places = {place_of(piece) for _, tensor in kept(model) for piece in pieces(tensor) if piece.numel()}
    found: dict[str, int] = {}
    for device, _, size in places:
        found[str(device)] = found.get(str(device), 0) + size
    return found
