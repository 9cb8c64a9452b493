"""Kosmos-2's box dialect: ``<phrase>a dog</phrase><object><patch_index_0044><patch_index_0863></object>``.

The picture is a grid of 32 x 32 cells, numbered row by row; a box is its upper left and lower right cell. As in the
published processor it reaches from one cell's centre to the other's, and covers whole cells where both lie in one row
or column. Several boxes of a phrase are parted by ``</delimiter_of_multi_objects/>``.

Verified: syntax and cells, with the source and docstring example of Kosmos2Processor in transformers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from demo.grounding.finding import Finding, regions
from demo.grounding.geometry import clip, ordered, scale
from demo.grounding.labels import phrase_at
from demo.grounding.remnants import open_tag
from demo.types import Box, Region, Size

name = "kosmos2"
DELIMITER = "</delimiter_of_multi_objects/>"
unfinished = open_tag()
marks = re.compile(rf"</?(?:phrase|object|grounding|patch_index_\d+)>|{DELIMITER}")

_SIDE = 32  # cells

_SYNTAX = re.compile(
    rf"(?:<phrase>(?P<label>[^<]+)</phrase>)?"
    rf"<object>(?P<cells>(?:<patch_index_\d{{1,6}}>|{DELIMITER})*)(?:</object>)?",
    re.ASCII,
)
_CELL = re.compile(r"<patch_index_(\d+)>", re.ASCII)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its phrase."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """The cells of the corners; ``parse`` gives the box back within one cell."""
    inside = scale(clip(box, size), _SIDE / size.width, _SIDE / size.height)
    left, top = (min(_SIDE - 1, math.floor(number)) for number in (inside.x0, inside.y0))
    right, bottom = max(left, math.ceil(inside.x1) - 1), max(top, math.ceil(inside.y1) - 1)
    cells = (top * _SIDE + left, bottom * _SIDE + right)
    return "<object>" + "".join(f"<patch_index_{cell:04d}>" for cell in cells) + "</object>"


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _SYNTAX.finditer(text):
        parts = [[int(cell) for cell in _CELL.findall(part)] for part in found["cells"].split(DELIMITER)]
        pairs = [part for part in parts if len(part) == 2 and max(part) < _SIDE * _SIDE]
        boxes = tuple(_box(first, last, size) for first, last in pairs)
        label = phrase_at(text, *found.span("label")) if found["label"] else None
        yield Finding(boxes, found.span(), label)


def _box(first: int, last: int, size: Size) -> Box:
    (top, left), (bottom, right) = divmod(first, _SIDE), divmod(last, _SIDE)
    if top == bottom or left == right:
        cells = ordered(min(left, right), min(top, bottom), max(left, right) + 1, max(top, bottom) + 1)
    else:
        cells = ordered(left + 0.5, top + 0.5, right + 0.5, bottom + 0.5)
    return scale(cells, size.width / _SIDE, size.height / _SIDE)
