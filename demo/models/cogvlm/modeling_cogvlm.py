"""CogVLM and CogVLM2: the decoder over text and pictures, and the model that generates.

Loads published checkpoints under their own key names and saves under the same. Owns where picture tokens go and
which positions they take; knows nothing of prompts or tokenizers. Shapes: B batch, T tokens, D width, N tokens a
picture, `mm_token_type_ids` 1 on the N tokens of a picture and 0 elsewhere.
"""

# mypy: disable-error-code="untyped-decorator"
# The decorators are transformers', which says no types.

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationConfig, GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from demo.errors import InvalidInput
from demo.models.caches import cache_name, takes_cache
from demo.models.cogvlm.base import CogVLMPreTrainedModel
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
from demo.models.cogvlm.decoder import (
    CogVLMAttention,
    CogVLMDecoderLayer,
    CogVLMRMSNorm,
    CogVLMRotaryEmbedding,
    route_tokens,
)
from demo.models.cogvlm.positions import picture_positions, takes_vision_expert
from demo.models.cogvlm.vision import CogVLMVisionModel


class CogVLMModel(CogVLMPreTrainedModel):
    """Embeddings, picture tower and decoder layers, up to the last norm."""

    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": CogVLMDecoderLayer,
        "attentions": CogVLMAttention,
    }
    _layer_class: ClassVar[type[CogVLMDecoderLayer]] = CogVLMDecoderLayer

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        # No padding_idx: the padding id also holds a picture's places, which features overwrite.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self._add_towers(config)  # before the layers, so that sharding puts them on the first device
        self.layers = nn.ModuleList(self._layer_class(config, index) for index in range(config.num_hidden_layers))
        self.norm = CogVLMRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = CogVLMRotaryEmbedding(config)
        self.post_init()

    def _add_towers(self, config: CogVLMConfig) -> None:
        self.vision = CogVLMVisionModel(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, channels, S, S) to the pictures' prompt tokens (B, N, D)."""
        return self.vision(pixel_values)  # type: ignore[no-any-return]

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        past_key_values = self._cache(past_key_values, use_cache)
        if position_ids is None:
            template = input_ids if input_ids is not None else inputs_embeds[..., 0]  # type: ignore[index]
            position_ids = self._positions(template, mm_token_type_ids, attention_mask, past_key_values)
        hidden_states, routing = self._embed(input_ids, inputs_embeds, pixel_values, mm_token_type_ids)
        # The mask never sees the positions: patches that share one would be taken for packed sequences.
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden_states,
            attention_mask=attention_mask,
            **{cache_name(): past_key_values},
        )
        rotary = self.rotary_emb(position_ids, hidden_states.dtype)
        for layer in self.layers:
            if rotary[0].device != hidden_states.device:  # on several devices each layer would fetch its own copy
                rotary, mask, routing, kwargs = _moved((rotary, mask, routing, kwargs), hidden_states.device)
            hidden_states = layer(
                hidden_states,
                rotary=rotary,
                attention_mask=mask,
                routing=routing,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), **{cache_name(): past_key_values})

    def _cache(self, past_key_values: Cache | None, use_cache: bool | None) -> Cache | None:
        wanted = self.config.use_cache if use_cache is None else use_cache
        if self.training and any(layer.gradient_checkpointing for layer in self.layers):
            wanted = False  # layers run twice, and would write their keys twice
        if not wanted:
            return None
        return DynamicCache(config=self.config) if past_key_values is None else past_key_values

    @staticmethod
    def _positions(
        tokens: torch.Tensor,  # (B, T), for its shape
        types: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None,
    ) -> torch.Tensor:
        """Positions of the new tokens. After a picture in the cache, pass types of the whole length, or positions."""
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        total = past + tokens.shape[1]
        if types is None or types.shape[1] < total:
            types = tokens.new_zeros((len(tokens), total), dtype=torch.long)
        if attention_mask is not None and (attention_mask.ndim != 2 or attention_mask.shape[1] != total):
            attention_mask = None
        return picture_positions(types, attention_mask)[:, past:]

    def _embed(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        pixel_values: torch.Tensor | None,
        types: torch.Tensor | None,
    ) -> tuple[torch.Tensor, Any]:
        """Input vectors (B, T, D) with pictures in their places, and each token's expert."""
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        tokens = embeds.shape[1]
        if types is None or tokens == 1:
            if pixel_values is not None:
                raise InvalidInput(
                    "A picture came without its places in the prompt", remedy="Pass mm_token_type_ids with it."
                )
            return embeds, None
        types = types[:, -tokens:]
        if pixel_values is not None:
            embeds = self._place_pictures(embeds, pixel_values, types)
        return embeds, route_tokens(takes_vision_expert(types))

    def _place_pictures(self, embeds: torch.Tensor, pixel_values: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        features = self.get_image_features(pixel_values).to(embeds.device, embeds.dtype)  # (pictures, N, D)
        places = (types == 1).to(embeds.device)
        num_places = int(places.sum())
        if num_places != features.shape[0] * features.shape[1]:
            raise InvalidInput(
                "The prompt does not have the places that its pictures need",
                value=f"{num_places} places for {features.shape[0]} pictures of {features.shape[1]} tokens",
                remedy="Build prompts with the model's own processor.",
            )
        return embeds.masked_scatter(places.unsqueeze(-1), features)


class CogVLMForConditionalGeneration(CogVLMPreTrainedModel, GenerationMixin):
    """The whole model: text and pictures in, text out."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}
    _model_class: ClassVar[type[CogVLMModel]] = CogVLMModel

    def __init__(self, config: CogVLMConfig) -> None:
        super().__init__(config)
        self.model = self._model_class(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, channels, S, S) to the pictures' prompt tokens (B, N, D)."""
        return self.model.get_image_features(pixel_values)

    @takes_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
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
        """``token_type_ids`` is the published code's name for ``mm_token_type_ids``; either will do."""
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            mm_token_type_ids=token_type_ids if mm_token_type_ids is None else mm_token_type_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept]).float()
        loss = None if labels is None else self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{cache_name(): outputs.get(cache_name())},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _prepare_position_ids_for_generation(
        self, inputs_tensor: torch.Tensor, model_kwargs: dict[str, Any]
    ) -> torch.Tensor:
        """`generate` asks this once, for the prompt; from there it counts on by one."""
        types = _given_types(model_kwargs)
        if types is None:
            return super()._prepare_position_ids_for_generation(inputs_tensor, model_kwargs)  # type: ignore[no-any-return]
        return picture_positions(types, model_kwargs.get("attention_mask"))

    def _prepare_attention_mask_for_generation(
        self, inputs_tensor: torch.Tensor, generation_config: GenerationConfig, model_kwargs: dict[str, Any]
    ) -> torch.Tensor:
        """Where no mask is given, padding is told by its id, which a picture's places share."""
        mask = super()._prepare_attention_mask_for_generation(inputs_tensor, generation_config, model_kwargs)
        types = _given_types(model_kwargs)
        return mask if types is None else mask.masked_fill(types == 1, 1)  # type: ignore[no-any-return]


def _moved(things: Any, device: torch.device) -> Any:
    """Tensors on a device, also those in tuples and dicts; other things as they are."""
    if isinstance(things, tuple):
        return tuple(_moved(thing, device) for thing in things)
    if isinstance(things, dict):
        return {name: _moved(thing, device) for name, thing in things.items()}
    return things.to(device) if isinstance(things, torch.Tensor) else things


def _given_types(model_kwargs: dict[str, Any]) -> torch.Tensor | None:
    types = model_kwargs.get("mm_token_type_ids")
    return model_kwargs.get("token_type_ids") if types is None else types
