"""The decoder's parts: rotary positions, RMS norm, and layers in which picture tokens have experts of their own.

Knows nothing of how pictures become tokens. Shapes: B batch, T tokens, D width, H heads, K key-value heads,
d head width, V and L the numbers of vision and language tokens in a batch (V + L = B * T).
"""

# mypy: disable-error-code="no-any-return"
# Calls of torch modules are Any to the type checker.

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from demo.models.cogvlm.attention import AttentionResult, choose_attention
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig

# Rows of the flattened batch for the vision expert (V,), for the language expert (L,), and for every token its row in
# their concatenation (V + L,). A plain tuple, so that hooks of a model spread over devices move it along.
Routing = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Rotary = tuple[torch.Tensor, torch.Tensor]  # cosines and signed sines, each (B or 1, T, 1, d)


def route_tokens(is_vision: torch.Tensor) -> Routing | None:
    """Who takes the vision expert, from a mask (B, T); None when nobody does."""
    flat = is_vision.flatten()
    vision = flat.nonzero().squeeze(1)
    if len(vision) == 0:
        return None
    language = flat.logical_not().nonzero().squeeze(1)
    return vision, language, torch.cat((vision, language)).argsort()


def apply_experts(
    hidden_states: torch.Tensor, routing: Routing | None, vision: nn.Module, language: nn.Module
) -> torch.Tensor:
    """Each token through its own expert; a step without picture tokens costs what a plain decoder costs."""
    if routing is None:
        return language(hidden_states)  # type: ignore[no-any-return]
    vision_rows, language_rows, order = routing
    flat = hidden_states.flatten(0, 1)  # (B * T, D)
    parts = (vision(flat.index_select(0, vision_rows)), language(flat.index_select(0, language_rows)))
    return torch.cat(parts).index_select(0, order).unflatten(0, hidden_states.shape[:2])


class CogVLMRMSNorm(nn.Module):
    """RMS norm in fp32, the gain included; rounded to the input's dtype once, at the end."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        normed = nn.functional.rms_norm(hidden_states.float(), self.weight.shape, self.weight.float(), self.eps)
        return normed.to(hidden_states.dtype)


class CogVLMRotaryEmbedding(nn.Module):
    """Rotary angles of positions. Holds no buffer: one would be rounded by `model.to(bfloat16)`."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.theta = float(config.rope_theta)  # type: ignore[arg-type]
        self.head_dim = config.head_dim
        self.in_model_dtype = config.rotary_in_model_dtype

    @torch.no_grad()
    def forward(self, position_ids: torch.Tensor, dtype: torch.dtype) -> Rotary:
        steps = torch.arange(0, self.head_dim, 2, device=position_ids.device, dtype=torch.float32) / self.head_dim
        frequencies = 1.0 / self.theta**steps  # (d / 2,)
        # Published code kept both factors in the model's dtype; in bf16 positions 300 and 301 are then the same.
        compute = dtype if self.in_model_dtype else torch.float32
        angles = position_ids[..., None].to(compute) * frequencies.to(compute)  # (B, T, d / 2)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1).unsqueeze(2), torch.cat((-sin, sin), dim=-1).unsqueeze(2)


def rotate(states: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Turn each half-split pair of (B, T, heads, d) by its position's angle."""
    cos, signed_sin = rotary
    return states * cos + states.roll(states.shape[-1] // 2, dims=-1) * signed_sin


class CogVLMAttention(nn.Module):
    """Self-attention in which pictures and words attend to each other through different projections."""

    is_causal = True

    def __init__(self, config: CogVLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.num_key_value_groups = self.heads // self.kv_heads
        self.scaling = self.head_dim**-0.5
        width, qkv = config.hidden_size, (self.heads + 2 * self.kv_heads) * self.head_dim
        self.vision_expert_query_key_value = nn.Linear(width, qkv, bias=bool(config.vision_qkv_bias))
        self.vision_expert_dense = nn.Linear(width, width, bias=False)
        self.language_expert_query_key_value = nn.Linear(width, qkv, bias=False)
        self.language_expert_dense = nn.Linear(width, width, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        rotary: Rotary,
        attention_mask: torch.Tensor | None,
        routing: Routing | None,
        past_key_values: Cache | None,
        **kwargs: Any,
    ) -> AttentionResult:
        query, key, value = self._project(hidden_states, rotary, routing)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = choose_attention(self.config)
        attended, weights = attend(self, query, key, value, attention_mask, scaling=self.scaling, **kwargs)
        attended = attended.reshape(hidden_states.shape)
        return apply_experts(attended, routing, self.vision_expert_dense, self.language_expert_dense), weights

    def _project(
        self, hidden_states: torch.Tensor, rotary: Rotary, routing: Routing | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fused = apply_experts(
            hidden_states, routing, self.vision_expert_query_key_value, self.language_expert_query_key_value
        )
        fused = fused.unflatten(-1, (-1, self.head_dim))  # (B, T, H + 2K, d): queries, then keys, then values
        query_key, value = fused.split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        query, key = rotate(query_key, rotary).transpose(1, 2).split((self.heads, self.kv_heads), dim=1)
        return query, key, value.transpose(1, 2)  # (B, H, T, d), (B, K, T, d), (B, K, T, d)


class CogVLMMLP(nn.Module):
    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.activation = ACT2FN[config.hidden_act]
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.activation(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class CogVLMExpertMLP(nn.Module):
    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.language_mlp = CogVLMMLP(config)
        self.vision_mlp = CogVLMMLP(config)

    def forward(self, hidden_states: torch.Tensor, routing: Routing | None) -> torch.Tensor:
        return apply_experts(hidden_states, routing, self.vision_mlp, self.language_mlp)


class CogVLMDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: CogVLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = CogVLMAttention(config, layer_idx)
        self.mlp = CogVLMExpertMLP(config)
        self.input_layernorm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        rotary: Rotary,
        attention_mask: torch.Tensor | None,
        routing: Routing | None,
        past_key_values: Cache | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        attended, _ = self.self_attn(
            self.input_layernorm(hidden_states),
            rotary=rotary,
            attention_mask=attention_mask,
            routing=routing,
            past_key_values=past_key_values,
            **kwargs,
        )
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states), routing=routing)
