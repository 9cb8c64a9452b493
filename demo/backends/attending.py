"""What attention is computed by, where that is not best left to the libraries.

Owns three things. One token's attention without copies of keys and values for every head that shares them, which newer
versions of transformers do by themselves, for those that do not: the queries of heads that share keys are put one below
the other, as if they were several tokens. Without it a step of 16 answers of 8,192 tokens copies 1.75 GiB in every
layer of a Qwen2.5-VL-7B. On a card a kernel of our own may do it, which is compared with torch for each shape once.
A step's mask as what is added to scores, made once: torch makes it of a mask of booleans anew in every layer, in two or
three kernels. And kernels that take a shape as soon as they are given it, for what has another shape each time. Knows
nothing of models. Shapes: B answers, H heads, K of them with keys of their own, T tokens, C columns, d head width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from transformers.integrations import sdpa_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from demo.backends.kernels.launching import Kernels
from demo.backends.windows import told_of_windows

MORE = ("position_bias", "softcap")  # what is given to attention at times, and is transformers' to mind
CLOSE = 2e-2  # of the norm of what is attended to, in 16 bits
ADDED = "_added_to_scores"  # what a mask, the same for all layers of a step, is given to remember

log = logging.getLogger(__name__)


def attend_in_fewer_kernels(kernels: Kernels | None = None) -> None:
    """Have all models of this process attend so by `sdpa`, those that look through windows among them."""
    function = attend if kernels is None else partial(attend, compute=ByKernel(kernels))
    ALL_ATTENTION_FUNCTIONS.register("sdpa", told_of_windows(function))


def plan_for_shapes(is_worth_it: bool) -> None:
    """Whether cuDNN, which makes a plan for every shape that is new to it, may compute what follows in this process.

    torch asks it first on cards such as the H100. Others measured 20 to 440 ms for a plan, and a prompt's length and a
    picture's size are mostly new; what is recorded has few shapes. Whoever computes says so each time, and nothing is
    put back: two replicas in one process that put back what they found could leave it off for good.
    """
    torch.backends.cuda.enable_cudnn_sdp(is_worth_it)


def by_torch(
    packed: torch.Tensor,  # (B, K, H / K, d)
    key: torch.Tensor,  # (B, K, C, d)
    value: torch.Tensor,
    mask: torch.Tensor,  # (B, 1, 1, C)
    scale: float | None,
) -> torch.Tensor:
    """What heads that share keys take from them, (B, K, H / K, d)."""
    return functional.scaled_dot_product_attention(packed, key, value, mask, scale=scale)


class ByKernel:
    """The same by `demo.backends.kernels.attention`, where it takes what it is given and gives what torch gives."""

    def __init__(self, kernels: Kernels) -> None:
        self._attended = kernels.attended
        self._is_good: dict[tuple[object, ...], bool] = {}

    def __call__(
        self, packed: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        given = (packed, key, value, mask, packed.shape[-1] ** -0.5 if scale is None else scale)
        kind = (packed.shape, packed.dtype, packed.device, key.shape[2].bit_length())
        if kind not in self._is_good:  # before a step is recorded it is computed once
            self._is_good[kind] = _is_for_kernel(packed, key, value, mask) and self._is_alike(given)
        return self._attended(*given).view(packed.shape) if self._is_good[kind] else by_torch(*given)

    def _is_alike(self, given: tuple[Any, ...]) -> bool:
        wanted = by_torch(*given).float()
        try:
            found = self._attended(*given).view(wanted.shape).float()
        except Exception as error:  # noqa: BLE001 - a card without room for so wide a head, say
            log.info("attention is left to torch: %r", error)
            return False
        return bool((found - wanted).norm() <= CLOSE * wanted.norm())


def attend(
    module: Any,
    query: torch.Tensor,  # (B, H, T, d)
    key: torch.Tensor,  # (B, K, C, d)
    value: torch.Tensor,  # (B, K, C, d)
    attention_mask: torch.Tensor | None,  # (B, 1, T, C)
    *,
    compute: Callable[..., torch.Tensor] = by_torch,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' function gives, (B, T, H, d)."""
    batch, heads, tokens, width = query.shape
    mask, has_more = attention_mask, any(how.get(name) is not None for name in MORE)
    if mask is not None and tokens == 1 and not has_more:
        mask = _added(mask, query.dtype)
        if mask.shape[1] == 1:
            packed = query.reshape(batch, key.shape[1], -1, width)  # (B, K, H / K, d)
            return compute(packed, key, value, mask, how.get("scaling")).reshape(batch, 1, heads, width), None
    found: tuple[torch.Tensor, None] = sdpa_attention.sdpa_attention_forward(module, query, key, value, mask, **how)
    return found


def _is_for_kernel(packed: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> bool:
    width, dtypes = packed.shape[-1], {packed.dtype, key.dtype, value.dtype}
    is_wide = width >= 16 and width & (width - 1) == 0 and key.shape[-1] == value.shape[-1] == width
    is_plain = all(one.stride(-1) == 1 for one in (packed, key, value, mask)) and len(mask) == len(packed)
    return len(dtypes) == 1 and packed.dtype.itemsize == 2 and is_wide and is_plain


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Nothing where a mask of booleans is true, and what leaves nothing of a score where it is not."""
    if mask.dtype != torch.bool:
        return mask
    added: torch.Tensor | None = getattr(mask, ADDED, None)
    if added is None or added.dtype != dtype:
        added = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
        setattr(mask, ADDED, added)
    return added
