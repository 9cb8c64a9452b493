"""Queries and keys turned by their positions in one kernel in place of ten or more, or in five where one token is read.

Owns which functions do just that, which is tried on each and not believed of its name, and their exchange in the
library's modules, for this process: what they give is the same to the bit. Of a picture the library's kernels for it
are a seventh of the time that a card needs to read it. Knows nothing of models besides. Rotary positions: Su et al.,
2021. Shapes: B answers, H heads of the queries, K of the keys, T tokens, N patches of pictures, D head width.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from demo.backends.kernels.launching import Kernels

NAME = "apply_rotary_pos_emb"
PARAMETERS = ["q", "k", "cos", "sin", "unsqueeze_dim"]
OF_PICTURES = "apply_rotary_pos_emb_vision"
PARAMETERS_OF_PICTURES = ["q", "k", "cos", "sin"]
SIGNED = "_signed_for_turning"  # what a sine, the same for all layers of a step, is given to remember

Pair = tuple[torch.Tensor, torch.Tensor]


def fuse_turns(model: torch.nn.Module, kernels: Kernels | None = None) -> int:
    """Have the modules that the model's classes are from turn so; how many of their functions are exchanged."""
    fused = 0
    for name in sorted({type(module).__module__ for module in model.modules()}):
        home = sys.modules.get(name)
        for function, kind in ((NAME, Turn), (OF_PICTURES, TurnOfPictures)):
            turn: Any = getattr(home, function, None)
            if isinstance(turn, kind):  # by a model that was loaded before into this process
                setattr(home, function, replace(turn, kernels=kernels))
            elif home is not None and callable(turn) and kind.is_like(turn):
                setattr(home, function, kind(turn, kernels))
                fused += 1
    return fused


@dataclass(frozen=True)
class Turn:
    """Takes the place of such a function, which is asked where there is no kernel of our own for many tokens."""

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
        if not _are_tokens(q, k, cos, unsqueeze_dim):
            return self.before(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
        if self.kernels is not None and _is_for_kernel(q, k, cos, sin, heads=unsqueeze_dim):
            return _by_kernel(self.kernels, q, k, cos, sin, unsqueeze_dim)
        if q.shape[3 - unsqueeze_dim] > 1:
            return self.before(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
        both = torch.cat((q, k), dim=unsqueeze_dim)
        halves = both.roll(both.shape[-1] // 2, dims=-1)  # the second half comes first, and there its sign is other
        turned = both * cos.unsqueeze(unsqueeze_dim) + halves * _signed(sin).unsqueeze(unsqueeze_dim)
        queries, keys = turned.split((q.shape[unsqueeze_dim], k.shape[unsqueeze_dim]), dim=unsqueeze_dim)
        return queries, keys

    @staticmethod
    def is_like(turn: Callable[..., Any]) -> bool:
        """Whether a function gives what this gives; some take every other number for a half, for example."""
        return _is_alike(turn, PARAMETERS, _trials)


@dataclass(frozen=True)
class TurnOfPictures:
    """Takes the place of a function that turns patches in float32, and is asked where there is no kernel for them."""

    before: Callable[..., Pair]
    kernels: Kernels | None = None

    def __call__(
        self,
        q: torch.Tensor,  # (N, H, D)
        k: torch.Tensor,
        cos: torch.Tensor,  # (N, D)
        sin: torch.Tensor,
    ) -> Pair:
        if self.kernels is None or not _are_patches(q, k, cos, sin):
            return self.before(q, k, cos, sin)
        both = self.kernels.turned(q, k, cos, sin, is_rounded=False)
        queries, keys = both.split((q.shape[1], k.shape[1]), dim=1)
        return queries, keys

    @staticmethod
    def is_like(turn: Callable[..., Any]) -> bool:
        """Whether a function gives what the kernel gives."""
        return _is_alike(turn, PARAMETERS_OF_PICTURES, _trials_of_pictures)


def _by_kernel(
    kernels: Kernels, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int
) -> Pair:
    """``heads`` is the dimension of the heads, 1 or 2."""
    (batch, tokens), counts = cos.shape[:2], (q.shape[heads], k.shape[heads])
    flat = [one.transpose(1, 2).flatten(0, 1) if heads == 1 else one.flatten(0, 1) for one in (q, k)]  # (B * T, H, D)
    both = kernels.turned(*flat, cos.flatten(0, 1), sin.flatten(0, 1), is_rounded=True)
    queries, keys = both.unflatten(0, (batch, tokens)).split(counts, dim=2)  # (B, T, H, D)
    return (queries.transpose(1, 2), keys.transpose(1, 2)) if heads == 1 else (queries, keys)


def _are_tokens(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, heads: int) -> bool:
    if q.dim() != 4 or k.dim() != 4 or heads not in (1, 2) or q.dtype != k.dtype:
        return False
    tokens = 3 - heads
    return q.shape[tokens] == k.shape[tokens] and q.shape[-1] == k.shape[-1] == cos.shape[-1]


def _is_for_kernel(*given: torch.Tensor, heads: int) -> bool:
    """Whether queries, keys, cosines and sines are of one 16-bit dtype, and each token of each answer has its own."""
    (kind, *others), (q, _, cos, sin) = {one.dtype for one in given}, given
    is_plain = all(one.stride(-1) == 1 for one in given) and kind.itemsize == 2 and q.shape[-1] % 2 == 0
    return is_plain and not others and cos.shape == sin.shape == (len(q), q.shape[3 - heads], q.shape[-1])


def _are_patches(*given: torch.Tensor) -> bool:
    """Whether queries and keys are of one 16-bit dtype, and each patch has its own cosines and sines."""
    q, k, cos, sin = given
    if q.dim() != 3 or k.dim() != 3 or (k.dtype, len(k), k.shape[-1]) != (q.dtype, len(q), q.shape[-1]):
        return False
    is_plain = all(one.stride(-1) == 1 for one in given) and q.dtype.itemsize == 2 and q.shape[-1] % 2 == 0
    return is_plain and cos.shape == sin.shape == (len(q), q.shape[-1])


def _signed(sin: torch.Tensor) -> torch.Tensor:
    signed: torch.Tensor | None = getattr(sin, SIGNED, None)
    if signed is None:
        half = sin.shape[-1] // 2
        signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        setattr(sin, SIGNED, signed)
    return signed


def _is_alike(
    turn: Callable[..., Any],
    parameters: list[str],
    trials: Callable[[Callable[..., Any], torch.dtype], Iterable[Pair]],
) -> bool:
    if list(inspect.signature(turn).parameters) != parameters:
        return False
    try:
        return all(torch.equal(*pair) for dtype in (torch.float32, torch.bfloat16) for pair in trials(turn, dtype))
    except Exception:  # noqa: BLE001 - whatever it is, the function wants something else, and stays as it is
        return False


def _trials(turn: Callable[..., Any], dtype: torch.dtype) -> Iterator[Pair]:
    numbers = torch.linspace(-2, 2, 2 * 5 * 8).sin().to(dtype).view(2, 5, 1, 8)  # (B, H + K, T, D)
    cos, sin = numbers[:, 0], numbers[:, 1]
    for heads in (1, 2):
        q, k = (part.transpose(1, heads) for part in numbers.split((3, 2), dim=1))
        yield from zip(turn(q, k, cos, sin, unsqueeze_dim=heads), Turn(turn)(q, k, cos, sin, heads))


def _trials_of_pictures(turn: Callable[..., Any], dtype: torch.dtype) -> Iterator[Pair]:
    numbers = torch.linspace(-2, 2, 2 * 5 * 8).sin().view(2, 5, 8)  # (N, H + K, D)
    cos, sin = numbers[:, 0], numbers[:, 1]
    pair = numbers.to(dtype).split((3, 2), dim=1)
    for states, found in zip(pair, turn(*pair, cos, sin), strict=True):
        halves = torch.cat((-states[..., 4:], states[..., :4]), dim=-1).float()
        yield found, (states.float() * cos[:, None] + halves * sin[:, None]).to(dtype)
