"""CogAgent's dialect: CogVLM's boxes, points ``[[x,y]]``, and actions that name what they act on.

``[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]`` is the element's kind in brackets, its name, the
action and the element's place; the box is called by that name, or by the kind where the element has none. ``tap
[[780,862]]`` is a point: a box without extent, as it is in Molmo's dialect. Never raises, takes linear time, and
returns boxes in pixels, clipped to the picture.

Verified: the action with the README of zai-org/CogVLM, names, kinds and points with the samples in the appendix of the
paper (arXiv 2312.08914).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding import cogvlm
from demo.grounding.finding import Finding, regions
from demo.grounding.labels import Phrase, phrase_at, phrase_before
from demo.types import Box, Region, Size

name = "cogagent"
unfinished = cogvlm.unfinished
marks = cogvlm.marks

_WINDOW = 400  # characters before a box in which its action is looked for
_ARROW = re.compile(r"->|\u2192")
# How an action goes on to its box; nothing in a picture is called so.
_PLACE = re.compile(r"\bat the (?:box|point|position)\s*\Z")


def parse(text: str, size: Size) -> list[Region]:
    """The boxes and points of a text in their order, each with what its action names, or the words just before it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """A box in pixels as this dialect writes it; ``parse`` gives it back within a thousandth of the picture."""
    return cogvlm.format(box, size)


def _findings(text: str, size: Size) -> Iterator[Finding]:
    reached = 0
    for found in cogvlm.SYNTAX.finditer(text):
        boxes = cogvlm.boxes_in(found[1], size, with_points=True)
        label = _element(text, reached, found.start())
        place = None if label else _PLACE.search(text, max(reached, found.start() - _WINDOW), found.start())
        if place:
            label = phrase_before(text, place.start(), reached)
        yield Finding(boxes, found.span(), label, is_guessed=place is None)
        reached = found.end()


def _element(text: str, start: int, end: int) -> Phrase | None:
    """What the action in front of a box acts on; None where there is no action in the same line."""
    start = max(start, end - _WINDOW, text.rfind("\n", start, end) + 1)
    arrow = _ARROW.search(text, start, end)
    if arrow is None:
        return None
    opening, closing = (text.rfind(bracket, start, arrow.start()) for bracket in "[]")
    if not start <= opening < closing:
        return None
    return phrase_at(text, closing + 1, arrow.start()) or phrase_at(text, opening + 1, closing)
