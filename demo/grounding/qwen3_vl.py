"""Qwen3-VL's box dialect and that of its successors: Qwen2.5-VL's JSON, numbers in thousandths of the picture.

``[{"bbox_2d": [139, 768, 315, 954], "label": "cat"}]``; ``point_2d`` is read as a box without extent. Answers in
Qwen2-VL's tokens, ``<|box_start|>(x0,y0),(x1,y1)<|box_end|>``, which mean the same, are read as well.

Verified: syntax and scale with the project's 2d_grounding cookbook as supervision's documentation and QwenLM/Qwen3-VL
issue 1927 quote it. Not verified: that later Qwen models keep the scale (their maintainers say so of most answers).
"""

from __future__ import annotations

from demo.grounding import jsonish, qwen2_vl
from demo.grounding.finding import merged, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.remnants import OPEN_JSON
from demo.types import Box, Region, Size

name = "qwen3_vl"
unfinished = OPEN_JSON
marks = qwen2_vl.marks

_FRAME = Size(1000, 1000)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its label."""
    objects = jsonish.findings(text, lambda corners: placed(corners.numbers, size, _FRAME))
    return regions(text, merged(objects, qwen2_vl.findings(text, size)))


def format(box: Box, size: Size) -> str:
    """A box as the model reads and writes it; ``parse`` gives it back within a thousandth of the picture."""
    return f'{{"bbox_2d": {list(quantized(box, size, _FRAME, last=1000))}}}'
