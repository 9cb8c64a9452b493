"""CogAgent: CogVLM with a second, larger picture, which every layer of the decoder attends to.

Loads published checkpoints under their own key names and saves under the same, without the few weights that are never
used. Owns the larger picture's way into the decoder and the rule that every row has exactly one picture, in both
sizes: the published code answers rows without one too, by what another row's picture shows. Knows nothing of prompts
or tokenizers. Shapes: B batch, T tokens, D width, N tokens a picture, P patches of the larger picture, W their width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from demo.errors import InvalidInput
from demo.models.caches import takes_cache
from demo.models.cogvlm.base import CogVLMPreTrainedModel
from demo.models.cogvlm.configuration_cogagent import CogAgentConfig
from demo.models.cogvlm.cross_attention import CogAgentDecoderLayer
from demo.models.cogvlm.cross_vision import CogAgentCrossVisionModel
from demo.models.cogvlm.decoder import CogVLMDecoderLayer
from demo.models.cogvlm.modeling_cogvlm import CogVLMForConditionalGeneration, CogVLMModel

NO_SPLIT_MODULES = [*CogVLMPreTrainedModel._no_split_modules, "CogAgentDecoderLayer", "CogAgentCrossVisionModel"]


class CogAgentModel(CogVLMModel):
    """Embeddings, both towers and decoder layers, up to the last norm."""

    config: CogAgentConfig
    config_class = CogAgentConfig
    _no_split_modules: ClassVar[list[str]] = NO_SPLIT_MODULES
    _layer_class: ClassVar[type[CogVLMDecoderLayer]] = CogAgentDecoderLayer

    def _add_towers(self, config: CogAgentConfig) -> None:  # type: ignore[override]
        super()._add_towers(config)
        self.cross_vision = CogAgentCrossVisionModel(config)

    def get_high_res_image_features(self, high_res_pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, channels, S, S) to what the decoder attends to, (B, P, W)."""
        return self.cross_vision(high_res_pixel_values)  # type: ignore[no-any-return]

    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        high_res_pixel_values: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Pictures are looked at once: a cache that has seen them needs none, and those given again are passed over."""
        past_key_values = self._cache(past_key_values, use_cache)
        seen = None
        if _has_seen_pictures(past_key_values):
            pixel_values = None
        else:
            tokens = input_ids if inputs_embeds is None else inputs_embeds
            self._check_pictures(len(tokens), pixel_values, high_res_pixel_values, mm_token_type_ids)  # type: ignore[arg-type]
            seen = self.get_high_res_image_features(high_res_pixel_values)  # type: ignore[arg-type]
        return super().forward(  # type: ignore[no-any-return]
            input_ids=input_ids,
            pixel_values=pixel_values,
            mm_token_type_ids=mm_token_type_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            encoder_hidden_states=seen,
            **kwargs,
        )

    def _cache(self, past_key_values: Cache | None, use_cache: bool | None) -> EncoderDecoderCache | None:
        """Whatever cache is wanted for the text, and beside it one for the keys and values of the larger picture."""
        cache = super()._cache(past_key_values, use_cache)
        if cache is None or isinstance(cache, EncoderDecoderCache):
            return cache
        return EncoderDecoderCache(cache, DynamicCache(config=self.config))

    def _check_pictures(
        self,
        rows: int,
        small: torch.Tensor | None,
        large: torch.Tensor | None,
        types: torch.Tensor | None,
    ) -> None:
        """One large picture for each row, and one small one in its places; or no small ones and no places at all."""
        num_small, num_large = (0 if pictures is None else len(pictures) for pictures in (small, large))
        places = [0] * rows if types is None else (types == 1).sum(-1).tolist()
        wanted = self.config.num_image_tokens if num_small else 0
        if num_large != rows or num_small not in (0, rows) or set(places) != {wanted}:
            raise InvalidInput(
                "CogAgent reads exactly one picture in every conversation, in both of its sizes",
                value=f"{rows} conversations with {places} places, {num_small} small and {num_large} large pictures",
                remedy="Ask about each picture in a conversation of its own, prepared with the model's own processor.",
            )


class CogAgentForConditionalGeneration(CogVLMForConditionalGeneration):
    """The whole model: text and one picture in, text out."""

    config: CogAgentConfig
    config_class = CogAgentConfig
    _no_split_modules: ClassVar[list[str]] = NO_SPLIT_MODULES
    _model_class: ClassVar[type[CogVLMModel]] = CogAgentModel

    def get_high_res_image_features(self, high_res_pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, channels, S, S) to what the decoder attends to, (B, P, W)."""
        return self.model.get_high_res_image_features(high_res_pixel_values)  # type: ignore[no-any-return]

    @takes_cache
    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        high_res_pixel_values: torch.Tensor | None = None,
        cross_images: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """``cross_images`` and ``token_type_ids`` are the published code's names; either will do."""
        return super().forward(  # type: ignore[no-any-return]
            input_ids=input_ids,
            pixel_values=pixel_values,
            high_res_pixel_values=cross_images if high_res_pixel_values is None else high_res_pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            mm_token_type_ids=mm_token_type_ids,
            token_type_ids=token_type_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )


def _has_seen_pictures(cache: EncoderDecoderCache | None) -> bool:
    return cache is not None and any(cache.is_updated.values())
