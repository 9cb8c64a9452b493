"""MiniCPM-V's box dialect: ``<ref>ball</ref><box>x0 y0 x1 y1</box>``, thousandths parted by blanks.

Verified: syntax and scale with OpenBMB/MiniCPM-V issue 982 (a maintainer, for MiniCPM-V 4.5).
Not verified: an answer of the 4.6 and 4.7 models that transformers has; they keep the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding.finding import Finding, finding, numbers, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.labels import phrase_at
from demo.grounding.remnants import open_tag, tags
from demo.types import Box, Region, Size

name = "minicpm"
unfinished = open_tag("<box>")
marks = tags("ref", "box")

_FRAME = Size(1000, 1000)
_SYNTAX = re.compile(r"(?:<ref>(?P<label>[^<]*)</ref>\s*)?<box>(?P<corners>[^<]*)</box>")


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its reference or the words just before it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """A box as the model writes it; ``parse`` gives it back within a thousandth of the picture."""
    x0, y0, x1, y1 = quantized(box, size, _FRAME, last=1000)
    return f"<box>{x0} {y0} {x1} {y1}</box>"


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _SYNTAX.finditer(text):
        corners = numbers(found["corners"].replace(",", " ").strip(), None)
        box = placed(corners, size, _FRAME) if len(corners) == 4 else None
        yield finding(box, found.span(), phrase_at(text, *found.span("label")) if found["label"] else None)
