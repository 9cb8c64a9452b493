"""A decoder layer of CogAgent: CogVLM's, and between its two halves attention to the larger picture.

Owns the keys and values of that picture: made once, from the prompt on, and kept beside those of the text. Knows
nothing of how the picture was read. Shapes: B batch, T tokens, D width, H heads, P patches of the larger picture, W
their width, d width of a head here.
"""

# mypy: disable-error-code="no-any-return"
# Calls of torch modules are Any to the type checker.

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import EncoderDecoderCache

from demo.models.cogvlm.attention import choose_attention
from demo.models.cogvlm.configuration_cogagent import CogAgentConfig
from demo.models.cogvlm.decoder import CogVLMDecoderLayer, CogVLMRMSNorm, Rotary, Routing


class CogAgentCrossAttention(nn.Module):
    """All tokens, pictures' and words' alike, through one set of weights; no mask and no positions."""

    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config: CogAgentConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.cross_head_dim
        self.scaling = self.head_dim**-0.5
        inner = config.cross_compute_hidden_size
        self.query = nn.Linear(config.hidden_size, inner, bias=False)
        self.key_value = nn.Linear(config.cross_hidden_size, 2 * inner, bias=False)
        self.dense = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,  # (B, T, D)
        encoder_hidden_states: torch.Tensor | None,  # (B, P, W); not needed where the cache holds its keys
        past_key_values: EncoderDecoderCache | None,
    ) -> torch.Tensor:
        query = self._by_head(self.query(hidden_states))
        key, value = self._keys_and_values(encoder_hidden_states, past_key_values)
        attend = choose_attention(self.config)
        attended, _ = attend(self, query, key, value, None, scaling=self.scaling, is_causal=False)
        return self.dense(attended.flatten(2))

    def _keys_and_values(
        self, encoder_hidden_states: torch.Tensor | None, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each (B, H, P, d), from the cache where they were made before."""
        if cache is not None and cache.is_updated.get(self.layer_idx):
            kept = cache.cross_attention_cache.layers[self.layer_idx]
            return kept.keys, kept.values
        key, value = self._by_head(self.key_value(encoder_hidden_states)).chunk(2, dim=1)
        if cache is not None:
            key, value = cache.cross_attention_cache.update(key, value, self.layer_idx)
            cache.is_updated[self.layer_idx] = True
        return key, value

    def _by_head(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class CogAgentDecoderLayer(CogVLMDecoderLayer):
    """The norm before the attention to the picture is called as if it came after it, as in published checkpoints."""

    def __init__(self, config: CogAgentConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.cross_attn = CogAgentCrossAttention(config, layer_idx)
        self.post_cross_attention_layernorm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(  # type: ignore[override]
        self,
        hidden_states: torch.Tensor,
        rotary: Rotary,
        attention_mask: torch.Tensor | None,
        routing: Routing | None,
        past_key_values: EncoderDecoderCache | None,
        encoder_hidden_states: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        attended = self.self_attn(
            self.input_layernorm(hidden_states),
            rotary=rotary,
            attention_mask=attention_mask,
            routing=routing,
            past_key_values=None if past_key_values is None else past_key_values.self_attention_cache,
            **kwargs,
        )
        hidden_states = hidden_states + attended[0]
        del attended  # a layer's memory is at its peak in the MLP
        hidden_states = hidden_states + self.cross_attn(
            self.post_cross_attention_layernorm(hidden_states), encoder_hidden_states, past_key_values
        )
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states), routing=routing)
