"""CogVLM's box dialect: ``a dog[[x0,y0,x1,y1]]``, several boxes as ``[[x0,y0,x1,y1;x0,y0,x1,y1]]``.

Coordinates are thousandths of the picture's width and height, written with three digits, 000 to 999. Models also
write spaces, fractions, numbers out of range and corners in the wrong order; all of that is read, anything else is
left alone. Never raises, takes linear time, and returns boxes in pixels, clipped to the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding.finding import MAX_REGIONS, Finding, numbers, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.remnants import NOTHING
from demo.types import Box, Region, Size

name = "cogvlm"
unfinished = re.compile(r"\s*\[\[?[\d.,;\s\[]*\]?\Z")
marks = NOTHING

_FRAME = Size(1000, 1000)

# No bracket inside, so that a scan ends where the next one begins.
_SYNTAX = re.compile(r"\[\[([^\[\]]*)\]\]")


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with the words just before it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """A box in pixels as this dialect writes it; ``parse`` gives it back within a thousandth of the picture."""
    return "[[" + ",".join(f"{number:03d}" for number in quantized(box, size, _FRAME, last=999)) + "]]"


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _SYNTAX.finditer(text):
        parts = found[1].split(";", MAX_REGIONS)[:MAX_REGIONS]
        boxes = [placed(corners, size, _FRAME) for part in parts if len(corners := numbers(part)) == 4]
        yield Finding(tuple(box for box in boxes if box), found.span())
