"""Attention by plain matrix products: the `eager` choice, for which transformers has no shared implementation.

Shapes: B batch, H heads, K key-value heads, T queries, S keys, d head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

AttentionResult = tuple[torch.Tensor, torch.Tensor | None]


def choose_attention(config: PreTrainedConfig) -> Callable[..., AttentionResult]:
    """The implementation that the config asks for (eager, sdpa, flash, flex)."""
    return ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager_attention)  # type: ignore[no-any-return]


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,  # (B, H, T, d)
    key: torch.Tensor,  # (B, K, S, d)
    value: torch.Tensor,  # (B, K, S, d)
    attention_mask: torch.Tensor | None,  # (B, 1, T, S), added to the scores
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> AttentionResult:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling  # (B, H, T, S)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights  # (B, T, H, d)
