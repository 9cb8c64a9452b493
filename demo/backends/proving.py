"""The checks after a load: every weight is there, once, in the planned dtype and on the planned device.

Owns what is compared and the refusals. Knows nothing of how a model is loaded. Sizes are bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from demo.backends import memory, tensors
from demo.backends.base import LoadFacts
from demo.errors import BrokenCheckpoint, DemoError, DoesNotFit
from demo.types import Placement

# More than this over the plan on a card is refused: the plan left room for other things there.
TOLERANCE = 1.1
SLACK_BYTES = 64 * 2**20

log = logging.getLogger(__name__)


def prove(model: Any, found: Mapping[str, Any], name: str, placement: Placement, dtype: Any) -> None:
    """Refuse a model that is not whole, or not as and where it was planned; ``found`` is what the loading told."""
    weights = dict(tensors.kept(model))
    _check_whole(weights, found, name)
    _check_ties(model, weights, name)
    _check_dtype(model, dtype, name)
    _check_devices(weights, placement)
    _compare(tensors.resident(model), placement.planned)


def facts(model: Any) -> LoadFacts:
    """What is resident; tensors that share memory (tied weights) count once."""
    count = sum(tensors.num_weights(weight) for weight in model.parameters())
    return LoadFacts(count, tensors.resident(model), str(model.dtype).removeprefix("torch."))


def _check_whole(weights: Mapping[str, torch.Tensor], found: Mapping[str, Any], name: str) -> None:
    missing = sorted(found["missing_keys"]) + sorted(key for key, weight in weights.items() if weight.is_meta)
    if missing:
        value = f"{missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        remedy = "Its weights and its config.json do not belong together; download it again."
        raise BrokenCheckpoint(f"{name} lacks weights", value=value, remedy=remedy)
    if unexpected := sorted(found["unexpected_keys"]):
        log.warning("%s has %d weights that its model does not use, such as %s", name, len(unexpected), unexpected[0])


def _check_ties(model: Any, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Weights that the configuration ties must be one in memory, else they are resident twice."""
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    for one, other in tied.items():
        both = one in weights and other in weights
        if both and tensors.place_of(weights[one]) != tensors.place_of(weights[other]):
            remedy = "Start with --placement single; this is a fault of the demo's, and a report of it is welcome."
            raise DemoError(f"{name}: tied weights came apart", value=f"{one}, {other}", remedy=remedy)


def _check_dtype(model: Any, dtype: Any, name: str) -> None:
    """Most floating-point weights have the dtype that was asked for; a few may keep their own by the model's wish."""
    held: Counter[torch.dtype] = Counter()
    for weight in model.parameters():
        if weight.is_floating_point():
            held[weight.dtype] += weight.numel()
    if dtype != "auto" and held and (most := held.most_common(1)[0][0]) != dtype:
        remedy = "Choose the dtype that it has with --dtype."
        raise BrokenCheckpoint(f"{name} was not loaded in {dtype}", value=str(most), remedy=remedy)


def _check_devices(weights: Mapping[str, torch.Tensor], placement: Placement) -> None:
    astray = {memory.device_name(weight.device) for weight in weights.values()} - set(memory.devices_of(placement))
    if astray:
        remedy = "Choose a smaller model or another --placement; --offload allows the CPU."
        raise DoesNotFit(
            "Weights were placed where nobody asked for them", value=", ".join(sorted(astray)), remedy=remedy
        )


def _compare(resident: Mapping[str, int], planned: Mapping[str, int]) -> None:
    for device, size in sorted(resident.items()):
        if device not in planned:
            continue
        log.info("%s holds %d bytes of weights, %d were planned", device, size, planned[device])
        if device != "cpu" and size > planned[device] * TOLERANCE + SLACK_BYTES:
            remedy = "Start with --placement single or --devices with more cards."
            value = f"{device}: {size} bytes, {planned[device]} planned"
            raise DoesNotFit("The weights take more than was planned", value=value, remedy=remedy)
