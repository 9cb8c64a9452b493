"""Makes transformers' auto classes know CogVLM by its model type. Called by whoever wants that; safe to call again."""

from __future__ import annotations


def register() -> None:
    """Teach AutoConfig, AutoModelForImageTextToText and AutoProcessor the type "cogvlm"."""
    # Late, because this is the one place that needs all of them, torch included.
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
    from demo.models.cogvlm.modeling_cogvlm import CogVLMForConditionalGeneration
    from demo.models.cogvlm.processing_cogvlm import CogVLMProcessor

    AutoConfig.register(CogVLMConfig.model_type, CogVLMConfig, exist_ok=True)
    AutoModelForImageTextToText.register(CogVLMConfig, CogVLMForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(CogVLMConfig, CogVLMProcessor, exist_ok=True)
