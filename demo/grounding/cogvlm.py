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
SYNTAX = re.compile(r"\[\[([^\[\]]*)\]\]")


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with the words just before it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """A box in pixels as this dialect writes it; ``parse`` gives it back within a thousandth of the picture."""
    return "[[" + ",".join(f"{number:03d}" for number in quantized(box, size, _FRAME, last=999)) + "]]"


def boxes_in(inner: str, size: Size, *, with_points: bool = False) -> tuple[Box, ...]:
    """The boxes between a pair of double brackets, and, as boxes without extent, the points if they count too."""
    corners = [numbers(part) for part in inner.split(";", MAX_REGIONS)[:MAX_REGIONS]]
    if with_points:
        corners = [2 * pair if len(pair) == 2 else pair for pair in corners]
    boxes = [placed(four, size, _FRAME) for four in corners if len(four) == 4]
    return tuple(box for box in boxes if box)


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in SYNTAX.finditer(text):
        yield Finding(boxes_in(found[1], size), found.span())
