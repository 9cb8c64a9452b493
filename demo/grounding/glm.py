"""GLM's box dialect (GLM-4.1V, 4.5V, 4.6V): ``... are <|begin_of_box|>[[94,598,177,991]]<|end_of_box|>.``

Numbers are thousandths of the picture's width and height. The tokens mark the final answer, whatever it is, and may be
missing; brackets vary, so ``[..]``, ``[[..]]``, ``(..)``, ``<..>`` and JSON objects are read. Boxes have no names but
what stands directly before them, since answers are sentences about what was asked for. Boxes in the model's thinking
are read like any others: whoever parses an answer parts the two.

Verified: tokens, brackets and scale with the README of zai-org/GLM-V; an answer of GLM-4.6V with a published response
of its API; that boxes come without labels with zai-org/GLM-V issue 118 (a maintainer).
"""

from __future__ import annotations

import re

from demo.grounding import jsonish
from demo.grounding.finding import NUMBER, enclosed, finding, merged, numbers, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.remnants import OPEN_JSON
from demo.types import Box, Region, Size

name = "glm"
unfinished = OPEN_JSON
marks = re.compile(r"<\|(?:begin|end)_of_box\|>")

_FRAME = Size(1000, 1000)

_ROUND = re.compile(rf"[(<](\s*{NUMBER}\s*(?:,\s*{NUMBER}\s*){{3}})[)>]", re.ASCII)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its label or the words directly before it."""
    square = jsonish.findings(text, lambda corners: placed(corners.numbers, size, _FRAME))
    round_ = (finding(placed(numbers(found[1]), size, _FRAME), found.span()) for found in _ROUND.finditer(text))
    marked = enclosed(text, merged(square, round_), "<|begin_of_box|>", "<|end_of_box|>")
    return regions(text, marked, adjacent=True)


def format(box: Box, size: Size) -> str:
    """A box as the model writes it; ``parse`` gives it back within a thousandth of the picture."""
    return f"[{list(quantized(box, size, _FRAME, last=1000))}]"
