"""InternVL's box dialect: ``<ref>a car</ref><box>[[75,658,250,871],[286,558,444,711]]</box>``.

Numbers are thousandths of the picture's width and height. The tags are special tokens: a tokenizer that drops them
leaves ``car[[75, 658, 250, 871], [286, 558, 444, 711]]``, which is what InternVL2.5 answers are reported to look like.

Verified: syntax and scale with OpenGVLab/InternVL issues 227 (a maintainer confirms) and 953 (real answers).
"""

from __future__ import annotations

from demo.grounding.finding import regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.remnants import open_tag, tags
from demo.grounding.tagged import findings, lists
from demo.types import Box, Region, Size

name = "internvl"
unfinished = open_tag("<box>", r"\[\[?")
marks = tags("ref", "box")

_FRAME = Size(1000, 1000)
_SYNTAX = lists(("<ref>", "</ref>"), ("<box>", "</box>"))


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its reference or the words just before it."""
    return regions(text, findings(_SYNTAX, text, lambda corners: placed(corners, size, _FRAME)))


def format(box: Box, size: Size) -> str:
    """A box as in the model's training data; ``parse`` gives it back within a thousandth of the picture."""
    return f"<box>[{list(quantized(box, size, _FRAME, last=1000))}]</box>"
