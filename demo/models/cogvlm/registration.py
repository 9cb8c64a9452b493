"""Which of our classes belong together, and how transformers' auto classes get to know them by their model types.

Imports torch when it is asked, and only then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
    from demo.models.cogvlm.modeling_cogvlm import CogVLMForConditionalGeneration
    from demo.models.cogvlm.processing_cogvlm import CogVLMProcessor


@dataclass(frozen=True, slots=True)
class Classes:
    """What one kind of checkpoint is read, run and asked with."""

    config: type[CogVLMConfig]
    model: type[CogVLMForConditionalGeneration]
    processor: type[CogVLMProcessor]


def classes_of(family: str) -> Classes:
    """CogAgent's classes for "cogagent"; CogVLM's own, which are CogVLM2's too, for any other name."""
    if family == "cogagent":
        from demo.models.cogvlm.configuration_cogagent import CogAgentConfig
        from demo.models.cogvlm.modeling_cogagent import CogAgentForConditionalGeneration
        from demo.models.cogvlm.processing_cogagent import CogAgentProcessor

        return Classes(CogAgentConfig, CogAgentForConditionalGeneration, CogAgentProcessor)
    from demo.models.cogvlm.configuration_cogvlm import CogVLMConfig
    from demo.models.cogvlm.modeling_cogvlm import CogVLMForConditionalGeneration
    from demo.models.cogvlm.processing_cogvlm import CogVLMProcessor

    return Classes(CogVLMConfig, CogVLMForConditionalGeneration, CogVLMProcessor)


def register() -> None:
    """Teach AutoConfig, AutoModelForImageTextToText and AutoProcessor our types; safe to call again."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    for family in ("cogvlm", "cogagent"):
        ours = classes_of(family)
        AutoConfig.register(ours.config.model_type, ours.config, exist_ok=True)
        AutoModelForImageTextToText.register(ours.config, ours.model, exist_ok=True)
        AutoProcessor.register(ours.config, ours.processor, exist_ok=True)
