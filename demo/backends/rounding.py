"""How far rounding alone moves a model's scores: what two right ways to compute them may be apart.

Owns the trial: the same prompt once more, with every other number that a linear layer gives moved to the next one that
its dtype knows, which is about what another kernel's order of additions does. Deep models in bfloat16 carry that far: a
CogVLM of 32 layers with random weights to half of the scores' norm, and to a third where attention is computed by
another kernel. Knows nothing of slots. Shapes: N tokens of an answer, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # numbers of so many bytes

log = logging.getLogger(__name__)


def distance(found: torch.Tensor, true: torch.Tensor) -> float:
    """Between scores, as a share of the true ones' norm; those that have nothing in common are about 1.4 apart."""
    kept = true.isfinite()  # a vocabulary may be padded with -inf
    return float((found[kept] - true[kept]).norm() / true[kept].norm().clamp_min(1e-9))


def noise_of(model: torch.nn.Module, scores: torch.Tensor, answer: Callable[[], torch.Tensor]) -> float:
    """How far the first token's scores come to lie from ``scores`` (N, V) when ``answer`` computes them once more.

    0.0 where they cannot be: then no more is allowed than of any model.
    """
    try:
        with rounded_otherwise(model):
            return distance(answer()[0], scores[0])
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the trial's, and the model answers without
        log.info("what rounding does to the scores could not be tried: %r", error)
        return 0.0


@contextmanager
def rounded_otherwise(model: torch.nn.Module) -> Iterator[None]:
    """Until it ends the model's linear layers give what is off by rounding."""
    hooks = [module.register_forward_hook(_off) for module in model.modules() if isinstance(module, torch.nn.Linear)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _off(_module: torch.nn.Module, _inputs: Any, given: torch.Tensor) -> None:
    """In place: a copy of a tower's widest tensor is memory that nobody planned."""
    bits = given.view(WHOLE[given.element_size()])
    bits[..., 1::2] += 1  # of a floating-point number, read as a whole one: the next, away from zero
