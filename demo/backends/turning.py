"""Queries and keys turned by their positions in five kernels, or in one, in place of ten, where one token is read.

Owns which functions do just that, which is tried on each and not believed of its name, and their exchange in the
library's modules, for this process: what they give is the same to the bit. Knows nothing of models besides. Rotary
positions: Su et al., 2021. Shapes: B answers, H heads of the queries, K of the keys, T tokens, D head width.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from demo.backends.kernels.launching import Kernels

NAME = "apply_rotary_pos_emb"
PARAMETERS = ["q", "k", "cos", "sin", "unsqueeze_dim"]
SIGNED = "_signed_for_turning"  # what a sine, the same for all layers of a step, is given to remember

Pair = tuple[torch.Tensor, torch.Tensor]


def fuse_turns(model: torch.nn.Module, kernels: Kernels | None = None) -> int:
    """Have the modules that the model's classes are from turn single tokens so; in how many of them that is done."""
    fused = 0
    for name in sorted({type(module).__module__ for module in model.modules()}):
        home = sys.modules.get(name)
        turn = getattr(home, NAME, None)
        if isinstance(turn, Turn):  # by a model that was loaded before into this process
            setattr(home, NAME, replace(turn, kernels=kernels))
        elif home is not None and callable(turn) and _is_plain(turn):
            setattr(home, NAME, Turn(turn, kernels))
            fused += 1
    return fused


@dataclass(frozen=True)
class Turn:
    """Takes the place of such a function, and asks it where many tokens are read: there kernels are long enough."""

    before: Callable[..., Pair]
    kernels: Kernels | None = None

    def __call__(
        self,
        q: torch.Tensor,  # (B, H, T, D); with unsqueeze_dim 2 (B, T, H, D)
        k: torch.Tensor,  # (B, K, T, D)
        cos: torch.Tensor,  # (B, T, D)
        sin: torch.Tensor,
        unsqueeze_dim: int = 1,
    ) -> Pair:
        if not _is_one_token(q, k, cos, unsqueeze_dim):
            return self.before(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
        counts, tokens = (q.shape[unsqueeze_dim], k.shape[unsqueeze_dim]), 3 - unsqueeze_dim
        if self.kernels is not None and _is_for_kernel(q, k, cos, sin):
            alone = (q.squeeze(tokens), k.squeeze(tokens), cos.squeeze(1), sin.squeeze(1))
            queries, keys = self.kernels.turned(*alone).unsqueeze(tokens).split(counts, dim=unsqueeze_dim)
            return queries, keys
        both = torch.cat((q, k), dim=unsqueeze_dim)
        halves = both.roll(both.shape[-1] // 2, dims=-1)  # the second half comes first, and there its sign is other
        turned = both * cos.unsqueeze(unsqueeze_dim) + halves * _signed(sin).unsqueeze(unsqueeze_dim)
        queries, keys = turned.split(counts, dim=unsqueeze_dim)
        return queries, keys


def _is_one_token(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, heads: int) -> bool:
    if q.dim() != 4 or k.dim() != 4 or heads not in (1, 2) or q.dtype != k.dtype:
        return False
    tokens = 3 - heads
    return q.shape[tokens] == k.shape[tokens] == 1 and q.shape[-1] == k.shape[-1] == cos.shape[-1]


def _is_for_kernel(*given: torch.Tensor) -> bool:
    """Whether queries, keys, cosines and sines are of one 16-bit dtype, for each answer, and as wide as it takes."""
    (kind, *others), width = {one.dtype for one in given}, given[0].shape[-1]
    is_plain = all(one.stride(-1) == 1 and one.shape[0] == given[0].shape[0] for one in given)
    return is_plain and not others and kind.itemsize == 2 and width & (width - 1) == 0


def _signed(sin: torch.Tensor) -> torch.Tensor:
    signed: torch.Tensor | None = getattr(sin, SIGNED, None)
    if signed is None:
        half = sin.shape[-1] // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        setattr(sin, SIGNED, signed)
    return signed


def _is_plain(turn: Callable[..., Any]) -> bool:
    """Whether a function gives what `Turn` gives; some take every other number for a half, for example."""
    if list(inspect.signature(turn).parameters) != PARAMETERS:
        return False
    try:
        return all(torch.equal(*pair) for dtype in (torch.float32, torch.bfloat16) for pair in _trials(turn, dtype))
    except Exception:  # noqa: BLE001 - whatever it is, the function wants something else, and stays as it is
        return False


def _trials(turn: Callable[..., Any], dtype: torch.dtype) -> Iterator[Pair]:
    numbers = torch.linspace(-2, 2, 2 * 5 * 8).sin().to(dtype).view(2, 5, 1, 8)  # (B, H + K, T, D)
    cos, sin = numbers[:, 0], numbers[:, 1]
    for heads in (1, 2):
        q, k = (part.transpose(1, heads) for part in numbers.split((3, 2), dim=1))
        yield from zip(turn(q, k, cos, sin, unsqueeze_dim=heads), Turn(turn)(q, k, cos, sin, heads))
