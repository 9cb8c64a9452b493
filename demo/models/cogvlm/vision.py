"""The picture tower of CogVLM: EVA2-CLIP's blocks, the optional stride-2 merge, and the projector to the decoder.

Turns pixel values into the tokens that stand for one picture in the prompt, both marks included. Knows nothing of
text. Shapes: B pictures, S pixels a side, P patches, W tower width, D decoder width, N tokens a picture.
"""

# mypy: disable-error-code="no-any-return"
# Calls of torch modules are Any to the type checker.

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from demo.errors import InvalidInput
from demo.models.cogvlm.attention import choose_attention
from demo.models.cogvlm.base import CogVLMPreTrainedModel
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig, CogVLMVisionConfig


class CogVLMPatchEmbedding(nn.Module):
    """Patches and the class token, each with its learned position."""

    learned_tokens: ClassVar[tuple[str, ...]] = ("cls_embedding",)

    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.cls_embedding = nn.Parameter(torch.zeros(1, config.hidden_size))
        self.position_embedding = nn.Embedding(config.grid**2 + 1, config.hidden_size)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = self.proj(pixel_values).flatten(2).transpose(1, 2)  # (B, P, W)
        cls = self.cls_embedding.expand(len(patches), 1, -1)
        tokens = torch.cat((cls, patches), dim=1)  # (B, 1 + P, W)
        # Called as a module, not read as a weight: hooks that place or offload weights act on calls only.
        return tokens + self.position_embedding(torch.arange(tokens.shape[1], device=tokens.device))


class CogVLMVisionAttention(nn.Module):
    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        self.config = config  # the whole model's: transformers settles the kind of attention there
        width = config.vision_config.hidden_size
        self.num_heads = config.vision_config.num_heads
        self.scaling = (width // self.num_heads) ** -0.5
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = hidden_states.shape
        qkv = self.query_key_value(hidden_states).view(batch, tokens, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, 1 + P, W / heads)
        attend = choose_attention(self.config)
        attended, _ = attend(self, query, key, value, None, scaling=self.scaling, is_causal=False)
        return self.dense(attended.reshape(batch, tokens, width))


class CogVLMVisionMLP(nn.Module):
    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__()
        self.activation = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class CogVLMVisionLayer(GradientCheckpointingLayer):
    """A post-norm block: what attention and MLP give is normalised, then added. The norms' names are historical."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        vision = config.vision_config
        self.input_layernorm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.attention = CogVLMVisionAttention(config)
        self.mlp = CogVLMVisionMLP(vision)
        self.post_attention_layernorm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.input_layernorm(self.attention(hidden_states))
        return hidden_states + self.post_attention_layernorm(self.mlp(hidden_states))


class CogVLMVisionTransformer(nn.Module):
    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        depth = config.vision_config.num_hidden_layers
        self.layers = nn.ModuleList(CogVLMVisionLayer(config) for _ in range(depth))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states


class CogVLMProjector(nn.Module):
    """From the tower's width to the decoder's, through a gated MLP as wide as the decoder's own."""

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.linear_proj = nn.Linear(config.vision_config.hidden_size, width, bias=False)
        self.norm1 = nn.LayerNorm(width)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.dense_h_to_4h = nn.Linear(width, inner, bias=False)
        self.dense_4h_to_h = nn.Linear(inner, width, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = nn.functional.gelu(self.norm1(self.linear_proj(features)))
        return self.dense_4h_to_h(nn.functional.silu(self.gate_proj(features)) * self.dense_h_to_4h(features))


class CogVLMVisionModel(CogVLMPreTrainedModel):
    """Pixels to prompt tokens: `boi`, the projected patches, `eoi`. Its config is the whole model's."""

    main_input_name = "pixel_values"

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        vision = config.vision_config
        self.patch_embedding = CogVLMPatchEmbedding(vision)
        self.transformer = CogVLMVisionTransformer(config)
        if config.downsampling:
            self.conv = nn.Conv2d(vision.hidden_size, vision.hidden_size, kernel_size=2, stride=2)
        self.linear_proj = CogVLMProjector(config)
        self.boi = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.eoi = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.learned_tokens: tuple[str, ...] = ("boi", "eoi")
        if config.has_late_positions:
            self.pos_embed = nn.Parameter(torch.zeros(vision.grid**2, vision.hidden_size))
            self.learned_tokens += ("pos_embed",)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, channels, S, S) to (B, N, D)."""
        self._check_size(pixel_values)
        pixel_values = pixel_values.to(self.patch_embedding.proj.weight.dtype)
        patches = self.transformer(self.patch_embedding(pixel_values))[:, 1:]  # (B, P, W), the class token dropped
        if self.config.downsampling:
            patches = self._merge(patches)
        if self.config.has_late_positions:
            patches = patches + self.pos_embed
        features = self.linear_proj(patches)
        marks = (len(features), 1, features.shape[-1])
        return torch.cat((self.boi.expand(marks), features, self.eoi.expand(marks)), dim=1)

    def _merge(self, patches: torch.Tensor) -> torch.Tensor:
        grid = self.config.vision_config.grid
        as_image = patches.transpose(1, 2).unflatten(2, (grid, grid))  # (B, W, grid, grid)
        return self.conv(as_image).flatten(2).transpose(1, 2)  # (B, (grid // 2) ** 2, W); an odd row is dropped

    def _check_size(self, pixel_values: torch.Tensor) -> None:
        vision = self.config.vision_config
        expected = (vision.in_channels, vision.image_size, vision.image_size)
        if tuple(pixel_values.shape[1:]) != expected:
            raise InvalidInput(
                "The picture does not have the size this model reads",
                value=tuple(pixel_values.shape[1:]),
                remedy=f"Prepare it with the model's own processor, to {expected}.",
            )
