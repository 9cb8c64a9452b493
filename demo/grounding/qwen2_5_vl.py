"""Qwen2.5-VL's box dialect: JSON, ``[{"bbox_2d": [x0, y0, x1, y1], "label": "a dog"}]``.

Numbers are pixels of the **resized** picture that the model was shown, whose size has to be told (``seen``); where it
is not, `resized` computes it by the published rule and the published limits of the checkpoints. ``point_2d`` is read
as a box without extent. The ``<points x1= y1=>`` that the model also writes is not read.

Verified: numbers and rule with QwenLM/Qwen3-VL issues 676, 866 and 1035 (maintainers) and the image processor in
transformers; syntax with the project's spatial_understanding cookbook as others quote it.
"""

from __future__ import annotations

import math

from demo.grounding.finding import regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.jsonish import findings
from demo.grounding.remnants import NOTHING, OPEN_JSON
from demo.types import Box, Region, Size

name = "qwen2_5_vl"
unfinished = OPEN_JSON
marks = NOTHING

FACTOR = 28  # two patches of 14 pixels, merged
MIN_PIXELS = 56 * 56
MAX_PIXELS = 16384 * 28 * 28


def parse(text: str, size: Size, *, seen: Size | None = None) -> list[Region]:
    """The boxes of a text in their order, each with its label; pixels of the picture itself, not of ``seen``."""
    frame = seen or resized(size)
    return regions(text, findings(text, lambda corners: placed(corners.numbers, size, frame)))


def format(box: Box, size: Size, *, seen: Size | None = None) -> str:
    """A box as the model writes it; ``parse`` gives it back within a pixel of what the model sees."""
    frame = seen or resized(size)
    x0, y0, x1, y1 = quantized(box, size, frame, last=max(frame.width, frame.height))
    return f'{{"bbox_2d": [{x0}, {y0}, {x1}, {y1}]}}'


def resized(size: Size, *, factor: int = FACTOR, min_pixels: int = MIN_PIXELS, max_pixels: int = MAX_PIXELS) -> Size:
    """The size the processor gives a picture: sides that ``factor`` divides, pixels within limits, about its shape."""
    width, height = (round(side / factor) * factor for side in (size.width, size.height))
    if width * height > max_pixels:
        shrink = math.sqrt(size.pixels / max_pixels)
        width, height = (max(factor, math.floor(side / shrink / factor) * factor) for side in (size.width, size.height))
    elif width * height < min_pixels:
        grow = math.sqrt(min_pixels / size.pixels)
        width, height = (math.ceil(side * grow / factor) * factor for side in (size.width, size.height))
    return Size(width, height)
