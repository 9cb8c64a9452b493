"""Molmo's dialect, which points instead of boxing: ``<point x="63.3" y="85.8" alt="boat">a boat</point>``.

Molmo writes hundredths of the picture's width and height, several points as ``<points x1= y1= x2= y2= ...>``. Molmo 2
writes thousandths as ``<points coords="1 1 073 160 2 173 600">the boats</points>``: the picture's number, then for each
point its own number, x and y. Pictures are counted from 1, in the order in which the model was shown them. A list that
is cut off is left out, where a number may be half of one.

A point is a box without extent, ``x0 == x1`` and ``y0 == y1``: it keeps the exact place in tables and exports, claims
no size that the model never gave, and is drawn as a dot.

Verified: Molmo with a maintainer's snippet in the model's discussions (allenai/Molmo-7B-O-0924, discussion 1), both
with the stories of Ai2's own playground; Molmo 2 with transcripts of allenai/Molmo2-8B. Not read: MolmoPoint's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding.finding import NUMBER, Finding, numbers, regions
from demo.grounding.geometry import clip, placed
from demo.grounding.labels import Phrase, phrase_at
from demo.types import Box, Region, Size

name = "molmo"
unfinished = re.compile(r"\s*<[^<>]*\Z")
marks = re.compile(r"</?points?\b[^<>]*>")

_HUNDREDTHS = Size(100, 100)
_THOUSANDTHS = Size(1000, 1000)

_TAG = re.compile(r"<points?\b(?P<attributes>[^<>]*)>?(?:(?P<words>[^<]*)</points?>)?", re.ASCII)
_PAIR = re.compile(rf"""\bx(\d{{0,6}})\s*=\s*["']\s*({NUMBER})\s*["']\s*y\1\s*=\s*["']\s*({NUMBER})\s*["']""", re.ASCII)
_COORDS = re.compile(r"""\bcoords\s*=\s*["']([^"']*)["']""")
_ALT = re.compile(r"""\balt\s*=\s*["]([^"]*)["]""")
_PARTS = re.compile(r"[;\t\n]")


def parse(text: str, size: Size) -> list[Region]:
    """The points of a text in their order as boxes without extent, each with the words it encloses."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """The middle of a box as Molmo points at it; ``parse`` gives it back within a thousandth of the picture."""
    inside = clip(box, size)
    x, y = (inside.x0 + inside.x1) / 2 / size.width, (inside.y0 + inside.y1) / 2 / size.height
    return f'<point x="{100 * x:.1f}" y="{100 * y:.1f}">'


def _findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _TAG.finditer(text):
        attributes = found["attributes"]
        hundredths = [(float(x), float(y)) for _, x, y in _PAIR.findall(attributes)]
        boxes = [box for point in hundredths if (box := placed((*point, *point), size, _HUNDREDTHS))]
        pictures = []
        for picture, *point in (point for coords in _COORDS.findall(attributes) for point in _points(coords)):
            if box := placed((*point, *point), size, _THOUSANDTHS):
                boxes.append(box)
                pictures.append(max(0, int(picture) - 1))
        is_told = len(pictures) == len(boxes)  # one tag is of one kind only
        yield Finding(tuple(boxes), found.span(), _label(text, found), pictures=tuple(pictures) if is_told else ())


def _points(coords: str) -> Iterator[tuple[float, float, float]]:
    """Picture, x and y of Molmo 2's list; its parts begin with a picture's number, or go on with the one before."""
    picture = 1.0
    for part in _PARTS.split(coords):
        values = _all_numbers(part.replace(":", " ").replace(",", " "))
        if len(values) % 3 == 1:
            picture = values.pop(0)
        yield from ((picture, values[at + 1], values[at + 2]) for at in range(0, len(values) - 2, 3))


def _all_numbers(part: str) -> list[float]:
    return [number for word in part.split() for number in numbers(word)]


def _label(text: str, found: re.Match[str]) -> Phrase | None:
    label = phrase_at(text, *found.span("words")) if found["words"] else None
    alt = _ALT.search(text, *found.span("attributes"))
    return label or (phrase_at(text, *alt.span(1)) if alt else None)
