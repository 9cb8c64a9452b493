"""From messages and a picture to the tensors CogAgent takes: as for CogVLM, but with the picture in two sizes.

The larger picture takes no places in the prompt. Owns the refusal of conversations without a picture, which CogAgent
was never taught to answer. Knows nothing of the model's layers, and imports no torch itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers.image_processing_utils import BatchFeature

from demo.errors import InvalidInput
from demo.models.cogvlm.chat_template import COGAGENT_CHAT_TEMPLATE
from demo.models.cogvlm.configuration_cogagent import CogAgentConfig
from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
from demo.models.cogvlm.image_processing_cogvlm import CogAgentImageProcessor, CogVLMImageProcessor
from demo.models.cogvlm.processing_cogvlm import CogVLMProcessor


class CogAgentProcessor(CogVLMProcessor):
    """Tokenizer, image processor and prompt format of one checkpoint."""

    _config_class: ClassVar[type[CogVLMConfig]] = CogAgentConfig
    _pictures_class: ClassVar[type[CogVLMImageProcessor]] = CogAgentImageProcessor
    _template: ClassVar[str] = COGAGENT_CHAT_TEMPLATE

    @staticmethod
    def _pictures_of(config: Any) -> CogVLMImageProcessor:
        return CogAgentImageProcessor(config.vision_config.image_size, config.cross_image_size)

    def __call__(self, images: Any = None, text: str | Sequence[str] | None = None, **how: Any) -> BatchFeature:
        """As CogVLM's; raises `InvalidInput` for a prompt without a picture."""
        inputs = super().__call__(images, text, **how)
        num_pictures = len(inputs.get("pixel_values", ()))
        if num_pictures < len(inputs["input_ids"]):
            raise InvalidInput(
                "CogAgent answers about pictures only",
                value=f"{num_pictures} pictures for {len(inputs['input_ids'])} prompts",
                remedy="Add a picture to the question.",
            )
        return inputs
