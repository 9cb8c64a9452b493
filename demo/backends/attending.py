"""What attention is computed by, where that is not best left to the libraries.

Owns two things. One token's attention without copies of keys and values for every head that shares them, which newer
versions of transformers do by themselves, for those that do not: the queries of heads that share keys are put one below
the other, as if they were several tokens. Without it a step of 16 answers of 8,192 tokens copies 1.75 GiB in every
layer of a Qwen2.5-VL-7B. And kernels that take a shape as soon as they are given it, for what has another shape each
time. Knows nothing of models. Shapes: B answers, H heads, K of them with keys of their own, T tokens, C columns, d head
width.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers.integrations import sdpa_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ALONE = SimpleNamespace(is_causal=False)  # a module whose heads share nothing


def share_keys() -> None:
    """Have all models of this process attend so by `sdpa`; to be called before one is used."""
    if not hasattr(sdpa_attention, "pack_gqa"):
        ALL_ATTENTION_FUNCTIONS.register("sdpa", attend)


def plan_for_shapes(is_worth_it: bool) -> None:
    """Whether cuDNN, which makes a plan for every shape that is new to it, may compute what follows in this process.

    torch asks it first on cards such as the H100. Others measured 20 to 440 ms for a plan, and a prompt's length and a
    picture's size are mostly new; what is recorded has few shapes. Whoever computes says so each time, and nothing is
    put back: two replicas in one process that put back what they found could leave it off for good.
    """
    torch.backends.cuda.enable_cudnn_sdp(is_worth_it)


def attend(
    module: Any,
    query: torch.Tensor,  # (B, H, T, d)
    key: torch.Tensor,  # (B, K, C, d)
    value: torch.Tensor,  # (B, K, C, d)
    attention_mask: torch.Tensor | None,  # (B, 1, T, C)
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' function gives, (B, T, H, d)."""
    batch, heads, tokens, width = query.shape
    is_shared = tokens == 1 and attention_mask is not None and attention_mask.shape[1] == 1 and heads > key.shape[1]
    if not is_shared or how.get("position_bias") is not None:  # which each head has of its own
        found: tuple[torch.Tensor, None] = sdpa_attention.sdpa_attention_forward(
            module, query, key, value, attention_mask, **how
        )
        return found
    packed = query.reshape(batch, key.shape[1], -1, width)  # (B, K, H / K, d)
    attended, _ = sdpa_attention.sdpa_attention_forward(ALONE, packed, key, value, attention_mask, **how)
    return attended.transpose(1, 2).reshape(batch, 1, heads, -1), None
