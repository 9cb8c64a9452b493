"""Norms in one kernel in place of seven: of the time of a step on a card, a twentieth.

Owns which modules are such norms, which is tried on each and not believed of its name, and their exchange. For few rows
there may be a kernel of our own. Knows nothing of models besides. The root mean square norm: Zhang and Sennrich, 2019.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from demo.backends.kernels.launching import Kernels
from demo.backends.spreading import forward_name

EPSILONS = ("variance_epsilon", "eps", "epsilon")
CLOSE = 1e-5  # of float32 numbers near 1
SCALES = (1.0, 1e-2, 1e-3)  # of the rows that are tried: in small ones the epsilon counts
FEW_NUMBERS = 2**17  # of a norm in a step; for those of prompts torch's own kernel is as quick


def fuse_norms(model: torch.nn.Module, kernels: Kernels | None = None) -> int:
    """Have root mean square norms computed by torch's own function, or by a kernel of our own; how many that are."""
    fused = 0
    module: Any
    for module in model.modules():
        epsilon = _epsilon(module)
        if epsilon is not None and _is_plain(module, epsilon):
            name = forward_name(module)
            quick = kernels if module.weight.element_size() == 2 else None
            setattr(module, name, partial(_norm, module, epsilon, getattr(module, name), quick))
            fused += 1
    return fused


def _epsilon(module: Any) -> float | None:
    """Of a module that may be such a norm: one weight, as long as what is normed is wide, and nothing else."""
    if "rmsnorm" not in type(module).__name__.lower():
        return None
    if [name for name, _ in module.named_parameters()] != ["weight"] or module.weight.dim() != 1:
        return None
    compute: Any = getattr(module, forward_name(module), None)
    if module.weight.is_meta or getattr(compute, "__func__", None) is not type(module).forward:
        return None  # it waits elsewhere, or somebody else has exchanged it
    if len(inspect.signature(compute).parameters) != 1:  # a gate, for example, may be given or not
        return None
    found = next((getattr(module, name) for name in EPSILONS if hasattr(module, name)), None)
    return float(found) if isinstance(found, float | int) else None


@torch.no_grad()
def _is_plain(module: Any, epsilon: float) -> bool:
    """Whether it computes what torch's function does; some multiply by one more than the weight, for example.

    Each is tried: two of a class may be told different things, and a wrong one would go unnoticed.
    """
    weight = module.weight
    trial = copy(module)
    numbers = torch.linspace(0.5, 1.5, weight.numel(), device=weight.device)
    trial._parameters = {"weight": torch.nn.Parameter(numbers, requires_grad=False)}
    given = torch.linspace(-2, 2, len(SCALES) * weight.numel(), device=weight.device).view(len(SCALES), -1)
    given *= torch.tensor(SCALES, device=weight.device)[:, None]
    try:
        found = type(module).forward(trial, given)
    except Exception:  # noqa: BLE001 - whatever it is, the norm wants something else, and stays as it is
        return False
    wanted = functional.rms_norm(given, numbers.shape, numbers, epsilon)
    is_alike = isinstance(found, torch.Tensor) and (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    return is_alike and torch.allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


def _norm(
    module: Any,
    epsilon: float,
    before: Callable[[torch.Tensor], torch.Tensor],
    kernels: Kernels | None,
    hidden: torch.Tensor,
) -> torch.Tensor:
    if hidden.dtype != module.weight.dtype:  # torch would give another dtype than the norm does, and not be faster
        return before(hidden)
    if kernels is not None and hidden.numel() <= FEW_NUMBERS:
        return kernels.normed(hidden.reshape(-1, hidden.shape[-1]), module.weight, epsilon).view(hidden.shape)
    return functional.rms_norm(hidden, module.weight.shape, module.weight, epsilon)
