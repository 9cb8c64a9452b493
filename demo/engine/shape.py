"""The shapes in a ``config.json`` that decide what a conversation costs, in whatever words a family puts them.

Owns that reading. Knows nothing of weights, devices or bytes: counts are of layers, numbers, tokens and patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo.catalog import OURS, family_of_ours

TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
PLANNED_CONTEXT = 8192  # tokens; longer contexts are planned for when a flag asks for them
PICTURE_TOKENS = (  # where a family states them
    *("image_seq_length", "mm_tokens_per_image", "num_query_tokens", "vision_soft_tokens_per_image"),
)
HEADS = ("num_attention_heads", "decoder_attention_heads", "attention_heads")
WIDTHS = ("hidden_size", "d_model", "embed_dim")
COGVLM_MARKS = 2  # tokens before and after a picture
ENCODERS = ("florence2", "kosmos-2", "kosmos-2.5", "pix2struct", "vision-encoder-decoder")
ROUTED = (*OURS, "", None)  # types whose picture tokens have experts of their own; published ones say none
# What CogAgent's published code, not its configuration, says of the larger picture and of its tower.
LARGE_SIDE, LARGE_PATCH = 1120, 14  # pixels
LARGE_WIDTH, LARGE_HEAD, LARGE_RATIO = 1024, 64, 2.6667


@dataclass(frozen=True, slots=True)
class Limits:
    """What a conversation may hold of pictures, as the demo keeps them."""

    pictures: int = 8
    side: int | None = 1568  # pixels; None: the model reduces them itself
    tiles: int = 1  # pieces that a picture is cut into at most, its overview among them


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class LargePicture:
    """CogAgent's second picture: no tokens stand for it, every layer of the decoder attends to its patches."""

    patches: int  # without the class token, which ends with the tower
    hidden: int  # width of the tower, and of what it gives
    intermediate: int
    heads: int
    width: int  # of its keys in one layer, all heads together, and of its values
    patch_values: int  # numbers in one patch as it goes in


@dataclass(frozen=True, slots=True)
class Shape:
    """The shapes that decide what a conversation costs; 0 where the configuration does not say."""

    layers: int = 0
    hidden: int = 0
    intermediate: int = 0
    kv_width: int = 0  # key-value heads x their dimension
    vocabulary: int = 0
    context: int = PLANNED_CONTEXT
    patches: int = 0  # in one picture; its class token counts as one
    vision_hidden: int = 0
    vision_intermediate: int = 0
    heads: int = 0
    query_width: int = 0  # heads x their dimension
    picture_tokens: int = 0  # that one picture takes in the prompt
    max_pictures: int = 1  # that the demo keeps of a conversation
    merge: int = 1  # patches that become one token
    vision_heads: int = 0
    patch_values: int = 0  # numbers in one patch as it goes in: channels x pixels (x frames)
    vision_act: str = "gelu"
    has_experts: bool = False  # picture tokens and words go through weights of their own (CogVLM)
    is_any_size: bool = False  # pictures keep their shape: patches of all of them are one sequence
    keeps_one_logit: bool = True  # generation computes scores for the last position only
    answers_alone: bool = False  # it remembers more of a conversation than keys and values, or not all of these
    large: LargePicture | None = None  # beside the picture that the prompt has tokens for

    @property
    def pictures(self) -> int:
        """The most that one conversation may hold, and its context has room for."""
        return max(1, min(self.max_pictures, self.context // max(1, self.picture_tokens)))

    @property
    def picture_patches(self) -> int:
        """Of the largest picture that the context has room for; the others are of one size."""
        return min(self.patches, self.context * self.merge) if self.is_any_size else self.patches

    @property
    def all_patches(self) -> int:
        """Of all pictures of a conversation."""
        return self.picture_patches * self.pictures


def shape_of(
    config: Mapping[str, Any], limits: Limits = LIMITS, *, max_pixels: int = 0, keeps_one_logit: bool = True
) -> Shape:
    """The shapes in a ``config.json``, flat (CogVLM) or nested (most others).

    ``max_pixels`` is the picture processor's own limit, where it has one.
    """
    text, vision = text_part(config), _tower(config)
    heads, width = _number(text, *HEADS), _number(text, *WIDTHS)
    kv_heads = _number(text, "num_key_value_heads", "num_multi_query_heads") or heads
    head_dim = _number(text, "head_dim") or width // max(heads, 1)
    context = min(_number(text, "max_position_embeddings") or PLANNED_CONTEXT, PLANNED_CONTEXT)
    has_experts = text is config and bool(vision) and config.get("model_type") in ROUTED
    frames = _number(vision, "temporal_patch_size")  # towers for films take any size; GLM's states one all the same
    patch, side = _side(vision, "patch_size"), 0 if frames else _side(vision, "image_size")
    channels = _number(vision, "in_channels", "num_channels", "in_chans") or 3
    merge = _cogvlm_merge(config) if has_experts else _merge(config, vision)
    patches = (side // patch) ** 2 + 1 if side and patch else _most_patches(patch, limits, max_pixels)
    tokens = (side // patch // merge) ** 2 if side and patch else patches // merge**2
    hidden = _number(vision, "embed_dim", "hidden_size")  # where both are there, the second is the decoder's
    large = _large_picture(config, channels) if has_experts and family_of_ours(config) == "cogagent" else None
    return Shape(
        layers=_number(text, "num_hidden_layers", "decoder_layers", "layers"),
        hidden=width,
        intermediate=_number(text, "intermediate_size", "decoder_ffn_dim", "ffn_dim"),
        kv_width=kv_heads * head_dim,
        vocabulary=_number(text, "vocab_size"),
        context=context,
        patches=patches * limits.tiles,
        vision_hidden=hidden,
        vision_intermediate=_number(vision, "intermediate_size") or int(hidden * _ratio(vision)),
        heads=heads,
        query_width=heads * head_dim,
        picture_tokens=(_number(config, *PICTURE_TOKENS) or tokens + COGVLM_MARKS * has_experts) * limits.tiles,
        max_pictures=1 if has_experts else limits.pictures,
        merge=merge**2,
        vision_heads=_number(vision, "num_attention_heads", "num_heads"),
        patch_values=patch * patch * channels * (frames or 1),
        vision_act=str(vision.get("hidden_act", "gelu")),
        has_experts=has_experts,
        is_any_size=bool(patch) and not side,
        keeps_one_logit=keeps_one_logit,
        answers_alone=_answers_alone(config, text) or large is not None,
        large=large,
    )


def _answers_alone(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether several conversations cannot share a forward: see `demo.backends.slots`, which asks the model itself."""
    is_encoder = bool(config.get("is_encoder_decoder")) or config.get("model_type") in ENCODERS
    return is_encoder or any(kind != "full_attention" for kind in text.get("layer_types") or ())


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the decoder: nested, or the whole."""
    nested = (config.get(key) for key in TEXT_CONFIGS)
    return next((part for part in nested if isinstance(part, dict)), config)


def _tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part that describes the tower; of DeepSeek-OCR's two, one after the other, the first, which is the larger."""
    tower = config.get("vision_config") or config.get("vit_config") or {}
    return tower.get("sam_config") or tower


def _side(vision: Mapping[str, Any], key: str) -> int:
    """The longer of two sides, where a family states both."""
    value = vision.get(key)
    return (
        max((side for side in value if isinstance(side, int)), default=0)
        if isinstance(value, list)
        else _number(vision, key)
    )


def _most_patches(patch: int, limits: Limits, max_pixels: int) -> int:
    """Patches of the largest picture that a tower for any size may be shown."""
    allowed = [pixels for pixels in (max_pixels, (limits.side or 0) ** 2) if pixels]
    return min(allowed, default=0) // patch**2 if patch else 0


def _merge(config: Mapping[str, Any], vision: Mapping[str, Any]) -> int:
    """How many patches become one token of the prompt, along each side."""
    ratio = config.get("downsample_ratio")
    if isinstance(ratio, float) and 0 < ratio < 1:
        return round(1 / ratio)
    stated = _number(vision, "spatial_merge_size", "pooling_kernel_size")
    return stated or _number(config, "spatial_merge_size", "scale_factor") or 1


def _cogvlm_merge(config: Mapping[str, Any]) -> int:
    """CogVLM2 merges two by two, whether its configuration says so or not."""
    stated = config.get("downsampling")
    return 2 if (config.get("num_multi_query_heads") is not None if stated is None else stated) else 1


def _large_picture(config: Mapping[str, Any], channels: int) -> LargePicture:
    tower = config.get("cross_vision_config") or {}
    hidden = _number(config, "cross_hidden_size") or LARGE_WIDTH
    patch = _number(tower, "patch_size") or LARGE_PATCH
    return LargePicture(
        patches=((_number(config, "cross_image_size") or LARGE_SIDE) // patch) ** 2,
        hidden=hidden,
        intermediate=int(hidden * _ratio(tower, LARGE_RATIO)),
        heads=hidden // (_number(tower, "head_dim") or LARGE_HEAD),
        width=_number(config, "cross_compute_hidden_size") or LARGE_WIDTH,
        patch_values=patch * patch * channels,
    )


def _ratio(vision: Mapping[str, Any], usual: float = 4.0) -> float:
    ratio = vision.get("mlp_ratio", usual)
    return float(ratio) if isinstance(ratio, int | float) else usual


def _number(config: Mapping[str, Any], *keys: str) -> int:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), 0)
