"""The model's forward pass over packed rows, on the model's own weights.

`CogVLMForConditionalGeneration` sees one conversation at a time; here one picture serves about ten segments. The
layers are the model's; only the routing (which is static here), the mask and the positions differ. A test holds that a
packed segment gets the same logits as the model gives it alone. Owns that forward and the training-only dense head.

Memory order of a row: V image tokens that the vision expert serves (beginning of image and patches), then the
beginning of text, the end of image and T text tokens, which the language expert serves. N = V + 2 + T.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.models.cogvlm import CogVLMForConditionalGeneration
from demo.models.cogvlm.decoder import CogVLMDecoderLayer, Rotary, rotate

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as all CogVLM checkpoints use
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
_PREFIX_TEXT = 2  # beginning of text, end of image
_PATCH_POSITION, _END_POSITION = 2, 3


def normalised(pictures: Tensor) -> Tensor:
    """(B, 3, S, S) bytes -> what the model reads, as its image processor makes it."""
    mean, std = (pictures.new_tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    return (pictures.float() / 255 - mean) / std


def packed_mask(segment: Tensor, images: int) -> Tensor:
    """(B, T) segment numbers -> (B, 1, N, N), true where attention is allowed.

    Text sees the picture and its own segment's past; a blind segment (negative) sees the beginning of text in place of
    the picture; padding (0) sees padding, which keeps its rows finite.
    """
    batch, text = segment.shape
    order = torch.cat(
        (torch.arange(1, images + 1), torch.tensor([0, images + 1]), torch.arange(images + 2, images + 2 + text))
    )
    order = order.to(segment.device)
    causal = order[None, :] <= order[:, None]
    prefix = images + _PREFIX_TEXT
    allowed = segment.new_zeros((batch, prefix + text, prefix + text), dtype=torch.bool)
    allowed[:, :prefix, :prefix] = True
    allowed[:, prefix:, :prefix] = (segment > 0)[..., None]
    allowed[:, prefix:, images] = True
    allowed[:, prefix:, prefix:] = segment[:, :, None] == segment[:, None, :]
    return (allowed & causal)[:, None]


def _experts(vision: nn.Module, language: nn.Module, x: Tensor, images: int) -> Tensor:
    return torch.cat((vision(x[:, :images]), language(x[:, images:])), 1)


def decoder_layer(layer: CogVLMDecoderLayer, x: Tensor, mask: Tensor, rotary: Rotary, images: int) -> Tensor:
    """One layer over (B, N, D)."""
    attention, mlp = layer.self_attn, layer.mlp
    fused = _experts(
        attention.vision_expert_query_key_value,
        attention.language_expert_query_key_value,
        layer.input_layernorm(x),
        images,
    ).unflatten(-1, (-1, attention.head_dim))  # (B, N, H + 2K, d)
    q, k, v = fused.split((attention.heads, attention.kv_heads, attention.kv_heads), 2)
    q, k = rotate(q, rotary).to(v.dtype), rotate(k, rotary).to(v.dtype)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=attention.heads != attention.kv_heads)
    mixed = mixed.transpose(1, 2).flatten(2)
    x = x + _experts(attention.vision_expert_dense, attention.language_expert_dense, mixed, images)
    return x + _experts(mlp.vision_mlp, mlp.language_mlp, layer.post_attention_layernorm(x), images)


class DenseHead(nn.Module):
    """Training only: what each patch shows, read off the vision tower's output (B, P, W)."""

    def __init__(self, width: int, nouns: int, colours: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.noun = nn.Linear(width, nouns + 1)
        self.colour = nn.Linear(width, colours + 1)
        self.box = nn.Linear(width, 4)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.norm(patches)
        return self.noun(x), self.colour(x), self.box(x)


class PackedModel(nn.Module):
    """The model with a forward over packed rows. Holds the weights by reference."""

    def __init__(self, model: CogVLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.decoder_layer = decoder_layer
        self._tower_output: Tensor | None = None
        model.model.vision.transformer.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._tower_output = output

    def compile_layers(self) -> None:
        """Compile layer by layer: far quicker to start than compiling the whole."""
        torch._dynamo.config.recompile_limit = 64
        self.decoder_layer = torch.compile(decoder_layer, dynamic=False)
        for layer in self.model.model.vision.transformer.layers:
            layer.compile(dynamic=False)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> image tokens (B, V + 1, D) with both marks, and patches (B, P, W) for the dense head."""
        features = self.model.model.vision(pixels)
        output, self._tower_output = self._tower_output, None
        if output is None:
            raise RuntimeError("the picture tower ran without its transformer")
        return features, output[:, 1:]

    def forward(self, pixels: Tensor, ids: Tensor, positions: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels -> hidden states of the text (B, T, D) after the last norm, and patches (B, P, W)."""
        body = self.model.model
        pictures, patches = self.see(pixels)
        batch, count = len(pictures), pictures.shape[1] - 1
        words = body.embed_tokens(F.pad(ids, (1, 0), value=self.model.config.bos_token_id))  # (B, 1 + T, D)
        x = torch.cat((pictures[:, :-1], words[:, :1], pictures[:, -1:], words[:, 1:]), 1)
        prefix = torch.full((count + _PREFIX_TEXT,), _PATCH_POSITION, device=ids.device)
        prefix[0], prefix[count], prefix[count + 1] = 1, 0, _END_POSITION
        rotary = body.rotary_emb(torch.cat((prefix.expand(batch, -1), positions), 1), torch.float32)
        mask = packed_mask(segment, count)
        for layer in body.layers:
            x = self.decoder_layer(layer, x, mask, rotary, count)
        return body.norm(x[:, count + _PREFIX_TEXT :]), patches
