"""Whether kernels of our own can be had on a machine's cards, and the card they are launched on.

Owns the import of Triton, which torch brings along on Linux and which needs a C compiler, and one trial of it. Compiled
code is kept on disk by Triton (`~/.triton/cache`), so only the first start waits for it. Knows nothing of what the
kernels compute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module, util
from typing import Any

import torch

PARTS = ("attention", "products", "steps")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kernels:
    """What `attention`, `products` and `steps` compute; see there."""

    attended: Callable[..., torch.Tensor]
    weight: Callable[..., Any]
    products: Callable[..., list[torch.Tensor]]
    gated: Callable[..., torch.Tensor]
    normed: Callable[..., torch.Tensor]
    turned: Callable[..., torch.Tensor]
    write: Callable[..., None]


def at_hand(devices: Iterable[str]) -> Kernels | None:
    """The kernels, where Triton compiles for each of these devices; else None, and the log says why."""
    if util.find_spec("triton") is None:
        log.info("steps are computed by torch's own kernels: Triton is not installed")
        return None
    try:
        attention, products, steps = (import_module(f"{__package__}.{name}") for name in PARTS)
        found = Kernels(
            attention.attended,
            products.Weight,
            products.products,
            products.gated,
            steps.normed,
            steps.turned,
            steps.write,
        )
        for device in devices:
            _try(found, torch.device(device))
    except Exception as error:  # noqa: BLE001 - a compiler, a driver or a card that it does not know: all are left alone
        log.warning(
            "steps are computed by torch's own kernels, which take longer: Triton cannot compile here: %s", error
        )
        return None
    return found


def on_card(tensor: torch.Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current card, which is not the tensor's where a model is spread over several."""
    card: AbstractContextManager[Any] = torch.cuda.device_of(tensor)
    return card


def _try(kernels: Kernels, device: torch.device) -> None:
    kept, new = torch.zeros(2, 1, 1, 2, 16, device=device), torch.ones(1, 1, 16, device=device)
    kernels.write(*kept, new, new, torch.ones(1, dtype=torch.int64, device=device))
    if kept[:, 0, 0, 1].sum() != 32 or kept.sum() != 32:
        raise RuntimeError("what it compiled computes something else")
