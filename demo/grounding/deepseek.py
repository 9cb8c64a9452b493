"""DeepSeek's box dialect (VL2, OCR, OCR 2): ``<|ref|>title<|/ref|><|det|>[[x0,y0,x1,y1]]<|/det|>``.

Numbers are 0..999 of the picture's width and height: 999 is the far edge. In OCR answers the reference is the kind of a
block ("title", "image") and the block's text follows. Lists nested once more and answers whose tags were dropped are
read as well.

Verified: syntax, 999 and that the picture is the upright original, with deepseek-ai/DeepSeek-OCR-2,
run_dpsk_ocr2_image.py; answers with published transcripts. Not verified: that DeepSeek-VL2 divides by 999 too.
"""

from __future__ import annotations

import re

from demo.grounding.finding import regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.remnants import open_tag
from demo.grounding.tagged import findings, lists
from demo.types import Box, Region, Size

name = "deepseek"
unfinished = open_tag(r"<\|det\|>", r"\[\[?")
marks = re.compile(r"<\|/?(?:ref|det|grounding)\|>")

_FRAME = Size(999, 999)
_SYNTAX = lists(("<|ref|>", "<|/ref|>"), ("<|det|>", "<|/det|>"))


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its reference or the words just before it."""
    return regions(text, findings(_SYNTAX, text, lambda corners: placed(corners, size, _FRAME)))


def format(box: Box, size: Size) -> str:
    """A box as the model writes it; ``parse`` gives it back within a 999th of the picture."""
    return f"<|det|>[{list(quantized(box, size, _FRAME, last=999))}]<|/det|>"
