"""How the bundled model's weights start: scaled to the fan-in, residual branches small.

Owns the numbers, found in a feasibility study; knows nothing of data.
"""

from __future__ import annotations

from torch import nn

_POST_NORM_GAIN = 0.1  # the tower adds LayerNorm(branch) to its input: a small gain starts it near the identity


def initialise(model: nn.Module) -> None:
    """In place, over a freshly built `CogVLMForConditionalGeneration`."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=_gain(name) * fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02 if "position" in name else 0.5)
    nn.init.normal_(model.lm_head.weight, std=0.02)
    for name, parameter in model.named_parameters():
        if "vision.transformer" in name and "layernorm.weight" in name:
            nn.init.constant_(parameter, _POST_NORM_GAIN)
        elif name.endswith(("cls_embedding", "vision.boi", "vision.eoi")):
            nn.init.normal_(parameter, std=0.02 if "cls" in name else 0.5)


def _gain(name: str) -> float:
    if "vision.transformer" in name:
        return 0.5
    if name.endswith(("expert_dense", "down_proj")):
        return 0.3
    return 0.8
