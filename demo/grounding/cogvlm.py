"""CogVLM's box dialect: ``a dog[[x0,y0,x1,y1]]``, several boxes as ``[[x0,y0,x1,y1;x0,y0,x1,y1]]``.

Coordinates are thousandths of the picture's width and height, written with three digits, 000 to 999. Models also
write spaces, fractions, numbers out of range and corners in the wrong order; all of that is read, anything else is
left alone. Never raises, takes linear time, and returns boxes in pixels, clipped to the picture.
"""

from __future__ import annotations

import re

from demo.grounding.geometry import clip, ordered, scale
from demo.grounding.labels import Phrase, phrase_before
from demo.types import Box, Region, Size

name = "cogvlm"

MAX_REGIONS = 100
_QUANTA = 1000

# No bracket inside, so that a scan ends where the next one begins.
_SYNTAX = re.compile(r"\[\[([^\[\]]*)\]\]")
_NUMBER = re.compile(r"\s*([+-]?\d{1,30}(?:\.\d{0,30})?)\s*", re.ASCII)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, at most `MAX_REGIONS`, each with the words just before it."""
    regions: list[Region] = []
    phrase: Phrase | None = None
    previous_end = 0
    for found in _SYNTAX.finditer(text):
        boxes = _boxes(found.group(1), size)
        if boxes:
            # "two dogs [[...]] and [[...]]": without words of its own a box continues the one before.
            phrase = phrase_before(text, found.start(), previous_end) or phrase
            label, label_span = (phrase.words, phrase.span) if phrase else ("", None)
            regions += [Region(label, box, label_span, found.span()) for box in boxes]
            if len(regions) >= MAX_REGIONS:
                break
        previous_end = found.end()
    return regions[:MAX_REGIONS]


def format(box: Box, size: Size) -> str:
    """A box in pixels as this dialect writes it; ``parse`` gives it back within a thousandth of the picture."""
    inside = scale(clip(box, size), _QUANTA / size.width, _QUANTA / size.height)
    numbers = (inside.x0, inside.y0, inside.x1, inside.y1)
    return "[[" + ",".join(f"{min(_QUANTA - 1, round(number)):03d}" for number in numbers) + "]]"


def _boxes(inner: str, size: Size) -> list[Box]:
    parts = inner.split(";", MAX_REGIONS)[:MAX_REGIONS]
    return [box for part in parts if (box := _box(part, size)) is not None]


def _box(part: str, size: Size) -> Box | None:
    numbers = [_NUMBER.fullmatch(number) for number in part.split(",", 4)]
    if len(numbers) != 4 or None in numbers:  # a point, too many numbers, or words
        return None
    box = ordered(*(float(number.group(1)) for number in numbers if number))
    if box.x0 > _QUANTA or box.y0 > _QUANTA or box.x1 < 0 or box.y1 < 0:
        return None  # nowhere in the picture
    return clip(scale(box, size.width / _QUANTA, size.height / _QUANTA), size)
