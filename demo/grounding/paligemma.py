"""PaliGemma's box dialect: ``<loc0256><loc0256><loc0768><loc0768> cat ; <loc...> dog``, the name after its box.

Four of 1024 location tokens, **y first** (y0, x0, y1, x1), each a 1024th of the picture's height or width. Tokens of a
segmentation mask (``<seg000>``) may follow and are skipped. Tokens that are not a multiple of four are no box.

Verified: tokens with PaliGemmaProcessor in transformers; order, scale and what counts as malformed with the tests of
supervision (``<loc0256><loc0256><loc0768><loc0768> cat`` on 1000 x 1000 is 250..750) and published notes on the model.
Not verified: that a token means the start of its bin and not its centre (half a thousandth of the picture).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding.finding import Finding, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.labels import phrase_at
from demo.grounding.remnants import open_tag, tags
from demo.types import Box, Region, Size

name = "paligemma"
unfinished = open_tag()
marks = tags(r"loc\d+", r"seg\d+")

_FRAME = Size(1024, 1024)

_SYNTAX = re.compile(r"(?P<locs>(?:<loc\d{4}>)+)(?:<seg\d{3}>)*(?P<label>[^<;\n]*)", re.ASCII)
_LOC = re.compile(r"<loc(\d{4})>", re.ASCII)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with the words after it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """The location tokens of a box; ``parse`` gives it back within a 1024th of the picture."""
    x0, y0, x1, y1 = quantized(box, size, _FRAME, last=1023)
    return "".join(f"<loc{number:04d}>" for number in (y0, x0, y1, x1))


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _SYNTAX.finditer(text):
        locs = [int(number) for number in _LOC.findall(found["locs"])]
        fours = [locs[at : at + 4] for at in range(0, len(locs), 4)] if len(locs) % 4 == 0 else []
        boxes = [placed((x0, y0, x1, y1), size, _FRAME) for y0, x0, y1, x1 in fours]
        label = phrase_at(text, *found.span("label"))
        end = label.span[1] if label else found.start("label")
        yield Finding(tuple(box for box in boxes if box), (found.start(), end), label)
