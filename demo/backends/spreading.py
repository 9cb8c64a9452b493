"""A model over several devices: where its input goes, and what accelerate's hooks must not leave to chance.

Owns the hooks after `from_pretrained` has attached them, and where others reach behind them. accelerate takes for its
main device, where offloaded layers compute, the first of a set of cards, which changes from process to process; here
it is the card of the embeddings. Knows nothing of plans' reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from demo.backends.tensors import hooks_of


def forward_name(module: torch.nn.Module) -> str:
    """The attribute by which what a module computes is called, to exchange it; a hook stands before it."""
    return "_old_forward" if hasattr(module, "_hf_hook") else "forward"


def settle(model: Any, device_map: Mapping[str, str]) -> None:
    """Give every hook that has a choice the card where the model's input goes."""
    if not hasattr(model, "_hf_hook"):
        return  # on one device
    home = _home(model, device_map)
    for hook in hooks_of(model):
        hook.execution_device = home
    for path in (path for path, device in device_map.items() if device == "cpu" and home != torch.device("cpu")):
        for module in model.get_submodule(path).modules():
            for hook in hooks_of(module):
                hook.execution_device = home
            for name, buffer in module._buffers.items():
                if buffer is not None and not buffer.is_meta:
                    module._buffers[name] = buffer.to(home)


def input_device(model: Any) -> torch.device:
    """Where a request's tensors go: to the embeddings, or where they compute when they wait in main memory."""
    if not hasattr(model, "_hf_hook"):
        return torch.device(model.device)
    return next(torch.device(hook.execution_device) for hook in hooks_of(model))


def _home(model: Any, device_map: Mapping[str, str]) -> torch.device:
    cards = [torch.device(device) for device in device_map.values() if device != "cpu"]
    own = model.get_input_embeddings().weight.device
    return own if own in cards else cards[0] if cards else torch.device("cpu")
