"""CogVLM, CogVLM2 and CogAgent as transformers models, loading the published checkpoints without remote code.

Names are resolved late: reading a configuration or preparing a prompt must not import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "CogVLMConfig": "configuration_cogvlm",
    "CogVLMVisionConfig": "configuration_cogvlm",
    "CogVLMPreTrainedModel": "base",
    "CogVLMVisionModel": "vision",
    "CogVLMModel": "modeling_cogvlm",
    "CogVLMForConditionalGeneration": "modeling_cogvlm",
    "CogVLMImageProcessor": "image_processing_cogvlm",
    "CogVLMProcessor": "processing_cogvlm",
    "CogAgentConfig": "configuration_cogagent",
    "CogAgentCrossVisionConfig": "configuration_cogagent",
    "CogAgentCrossVisionModel": "cross_vision",
    "CogAgentModel": "modeling_cogagent",
    "CogAgentForConditionalGeneration": "modeling_cogagent",
    "CogAgentImageProcessor": "image_processing_cogvlm",
    "CogAgentProcessor": "processing_cogagent",
    "classes_of": "registration",
    "register": "registration",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
