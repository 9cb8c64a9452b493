"""CogAgent's tower for the larger picture: EVA2-CLIP-L's blocks, all but the last, and learned positions after them.

Turns pixel values into what every layer of the decoder attends to. Knows nothing of text. Two kinds of positions are
in here beside the rotary ones, learned before and after the blocks; published checkpoints also hold a last block, a
norm and a head, which are never run and are not loaded, and rotary tables, which are computed here.
Shapes: B pictures, S pixels a side, P patches, N tokens (P and a class token), W width, H heads, d head width.
"""

# mypy: disable-error-code="no-any-return"
# Calls of torch modules are Any to the type checker.

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from demo.errors import InvalidInput
from demo.models.cogvlm.attention import choose_attention
from demo.models.cogvlm.base import CogVLMPreTrainedModel
from demo.models.cogvlm.configuration_cogagent import CogAgentConfig, CogAgentCrossVisionConfig

Turning = tuple[torch.Tensor, torch.Tensor]  # cosines and signed sines, each (N, d), in float32
THETA = 10000.0


def turning_of(config: CogAgentCrossVisionConfig, device: torch.device) -> Turning:
    """How far each pair of numbers turns: the first half of a head by the patch's row, the second by its column.

    The class token, which comes first, does not turn.
    """
    half = config.head_dim // 2
    steps = torch.arange(0, half, 2, device=device, dtype=torch.float32) / half
    places = torch.arange(config.grid, device=device, dtype=torch.float32) / config.grid * config.rotary_grid
    angles = (places[:, None] * (1.0 / THETA**steps)).repeat_interleave(2, dim=-1)  # (grid, d / 2), each for a pair
    rows = angles[:, None].expand(-1, config.grid, -1)
    columns = angles[None].expand(config.grid, -1, -1)
    angles = torch.cat((rows, columns), dim=-1).flatten(0, 1)  # (P, d)
    angles = nn.functional.pad(angles, (0, 0, 1, 0))  # (N, d)
    signs = torch.tensor((-1.0, 1.0), device=device).repeat(half)
    return angles.cos(), angles.sin() * signs


def turn(states: torch.Tensor, turning: Turning) -> torch.Tensor:
    """Each neighbouring pair of (B, H, N, d) by its token's angle, computed in float32."""
    cos, signed_sin = turning
    swapped = states.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (states * cos + swapped * signed_sin).to(states.dtype)


class LinearWithLooseBias(nn.Linear):
    """A linear whose bias belongs to somebody else, who hands it over with each call."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, bias=False)

    def forward(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        return nn.functional.linear(states, self.weight, bias)


class CogAgentCrossVisionAttention(nn.Module):
    """Published checkpoints name the biases apart from the weights, and there is none for the keys."""

    is_causal = False
    num_key_value_groups = 1
    learned_biases: ClassVar[tuple[str, ...]] = ("q_bias", "v_bias")

    def __init__(self, config: CogAgentConfig) -> None:
        super().__init__()
        self.config = config  # the whole model's: transformers settles the kind of attention there
        tower = config.cross_vision_config
        width = tower.hidden_size
        self.head_dim = tower.head_dim
        self.scaling = tower.head_dim**-0.5
        self.q_proj = LinearWithLooseBias(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = LinearWithLooseBias(width, width)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.inner_attn_ln = nn.LayerNorm(width, eps=tower.layer_norm_eps)
        self.proj = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor, turning: Turning) -> torch.Tensor:
        query = turn(self._by_head(self.q_proj(hidden_states, self.q_bias)), turning)
        key = turn(self._by_head(self.k_proj(hidden_states)), turning)
        value = self._by_head(self.v_proj(hidden_states, self.v_bias))
        attend = choose_attention(self.config)
        attended, _ = attend(self, query, key, value, None, scaling=self.scaling, is_causal=False)
        return self.proj(self.inner_attn_ln(attended.flatten(2)))

    def _by_head(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H, N, d)


class CogAgentCrossVisionMLP(nn.Module):
    def __init__(self, config: CogAgentCrossVisionConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.w1 = nn.Linear(width, inner)
        self.w2 = nn.Linear(width, inner)
        self.ffn_ln = nn.LayerNorm(inner, eps=config.layer_norm_eps)
        self.w3 = nn.Linear(inner, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.w3(self.ffn_ln(nn.functional.silu(self.w1(hidden_states)) * self.w2(hidden_states)))


class CogAgentCrossVisionLayer(GradientCheckpointingLayer):
    def __init__(self, config: CogAgentConfig) -> None:
        super().__init__()
        tower = config.cross_vision_config
        self.norm1 = nn.LayerNorm(tower.hidden_size, eps=tower.layer_norm_eps)
        self.attn = CogAgentCrossVisionAttention(config)
        self.norm2 = nn.LayerNorm(tower.hidden_size, eps=tower.layer_norm_eps)
        self.mlp = CogAgentCrossVisionMLP(tower)

    def forward(self, hidden_states: torch.Tensor, turning: Turning) -> torch.Tensor:
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states), turning)
        return hidden_states + self.mlp(self.norm2(hidden_states))


class CogAgentCrossPatchEmbedding(nn.Module):
    def __init__(self, config: CogAgentCrossVisionConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, config.hidden_size, config.patch_size, stride=config.patch_size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        pixel_values = pixel_values.to(self.proj.weight.dtype)
        return self.proj(pixel_values).flatten(2).transpose(1, 2)  # (B, P, W)


class CogAgentCrossVisionTransformer(nn.Module):
    """Pixels to patches (B, P, W), the class token dropped at the end."""

    learned_tokens: ClassVar[tuple[str, ...]] = ("cls_token", "pos_embed")

    def __init__(self, config: CogAgentConfig) -> None:
        super().__init__()
        self.config = tower = config.cross_vision_config
        self.patch_embed = CogAgentCrossPatchEmbedding(tower)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, tower.hidden_size))
        self.pos_embed = nn.Parameter(torch.zeros(1, tower.grid**2 + 1, tower.hidden_size))
        self.blocks = nn.ModuleList(CogAgentCrossVisionLayer(config) for _ in range(tower.num_hidden_layers - 1))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden_states = self._with_class_token(self.patch_embed(pixel_values)) + self.pos_embed  # (B, N, W)
        turning = turning_of(self.config, hidden_states.device)
        for block in self.blocks:
            hidden_states = block(hidden_states, turning)
        return hidden_states[:, 1:]

    def _with_class_token(self, patches: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1)


class CogAgentCrossVisionModel(CogVLMPreTrainedModel):
    """Pixels (B, channels, S, S) to what the decoder attends to (B, P, W). Its config is the whole model's."""

    config: CogAgentConfig
    config_class = CogAgentConfig
    main_input_name = "high_res_pixel_values"
    _no_split_modules: ClassVar[list[str]] = ["CogAgentCrossVisionModel"]
    learned_tokens: ClassVar[tuple[str, ...]] = ("pos_embed",)

    def __init__(self, config: CogAgentConfig) -> None:
        super().__init__(config)
        tower = config.cross_vision_config
        self.vit = nn.ModuleDict({"model": CogAgentCrossVisionTransformer(config)})  # a level of the published names
        self.pos_embed = nn.Parameter(torch.zeros(tower.grid**2, tower.hidden_size))
        unused = rf"cross_vision\.vit\.model\.(norm|head|rope|blocks\.{tower.num_hidden_layers - 1})\."
        # Of this model alone, whose config knows the last block's number.
        self._keys_to_ignore_on_load_unexpected = [unused]  # type: ignore[misc]
        self.post_init()

    def forward(self, high_res_pixel_values: torch.Tensor) -> torch.Tensor:
        self._check_size(high_res_pixel_values)
        return self.vit["model"](high_res_pixel_values) + self.pos_embed

    def _check_size(self, pixel_values: torch.Tensor) -> None:
        tower = self.config.cross_vision_config
        expected = (tower.in_channels, tower.image_size, tower.image_size)
        if tuple(pixel_values.shape[1:]) != expected:
            raise InvalidInput(
                "The larger picture does not have the size this model reads",
                value=tuple(pixel_values.shape[1:]),
                remedy=f"Prepare it with the model's own processor, to {expected}.",
            )
