"""What every CogVLM module tree shares with transformers: capabilities, sharding rules, initialisation.

Owns no layers. Modules that hold bare parameters name them in ``learned_tokens`` or, where they begin at zero, in
``learned_biases``, so that they are initialised here.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig


class CogVLMPreTrainedModel(PreTrainedModel):
    """Base class of the picture tower, the decoder and the model that generates."""

    config: CogVLMConfig
    config_class = CogVLMConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # The whole tower stays together: its marks and positions are added to features right where they are made.
    _no_split_modules: ClassVar[list[str]] = ["CogVLMDecoderLayer", "CogVLMVisionModel"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    # Published checkpoints carry rotary frequencies, rounded to their dtype; they are computed here instead.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"rotary_emb\.inv_freq"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        for name in getattr(module, "learned_tokens", ()):
            init.normal_(getattr(module, name), mean=0.0, std=0.02)
        for name in getattr(module, "learned_biases", ()):
            init.zeros_(getattr(module, name))
