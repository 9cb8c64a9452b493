"""Florence-2's box dialect: ``car<loc_52><loc_333><loc_932><loc_774>wheel<loc_708>...``, the name before its boxes.

Each side of the picture has 1000 bins, and a number means its bin's centre. Four tokens are a box, x first; eight are
two boxes, or the four corners of a text (``<OCR_WITH_REGION>``), or the start of an outline. The answer does not say
which, so corners count as an outline when the second four run backwards, which boxes never do, or when ``<poly>``
says so. An outline becomes the box around it.

Verified: tokens, order and bin centres with the source of Florence2Processor in transformers, outputs with the
model's tests there and in transformers.js. Not verified: the rule that tells outlines from boxes on real answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from demo.grounding.finding import Finding, regions
from demo.grounding.geometry import clip, ordered, scale
from demo.grounding.labels import phrase_at
from demo.grounding.remnants import open_tag, tags
from demo.types import Box, Region, Size

name = "florence2"
unfinished = open_tag()
marks = tags("s", "pad", "poly", r"loc_\d+")

_BINS = 1000

_SYNTAX = re.compile(r"(?P<poly><poly>)?(?P<locs>(?:<loc_\d{1,6}>)+)(?:</poly>)?(?:</s>|<pad>)*", re.ASCII)
_LOC = re.compile(r"<loc_(\d+)>", re.ASCII)
_STARTS = ("</s>", "<s>")


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with all the words before it."""
    return regions(text, _findings(text, size))


def format(box: Box, size: Size) -> str:
    """The bins of the corners; ``parse`` gives the box back within one bin."""
    bins = scale(clip(box, size), _BINS / size.width, _BINS / size.height)
    return "".join(f"<loc_{min(_BINS - 1, int(number))}>" for number in (bins.x0, bins.y0, bins.x1, bins.y1))


def _findings(text: str, size: Size) -> Iterator[Finding]:
    previous_end = 0
    for found in _SYNTAX.finditer(text):
        label_start = max(previous_end, text.rfind(">", previous_end, found.start()) + 1)
        label = phrase_at(text, label_start, found.start())
        bins = [int(number) for number in _LOC.findall(found["locs"])]
        shapes = _shapes(bins, is_outline=bool(found["poly"]))
        boxes = tuple(_box(shape, size) for shape in shapes if max(shape) < _BINS)
        yield Finding(boxes, (_start(text, label_start if label else found.start(), previous_end), found.end()), label)
        previous_end = found.end()


def _shapes(bins: Sequence[int], *, is_outline: bool) -> list[Sequence[int]]:
    fours = [bins[at : at + 4] for at in range(0, len(bins) - 3, 4)]
    # Decided by the first two alone, so that an answer that is still growing does not change its mind later.
    is_outline = is_outline or (len(fours) > 1 and not all(_is_forward(four) for four in fours[:2]))
    return [bins[: len(bins) // 2 * 2]] if fours and is_outline else list(fours)


def _is_forward(four: Sequence[int]) -> bool:
    return four[0] <= four[2] and four[1] <= four[3]


def _box(bins: Sequence[int], size: Size) -> Box:
    xs, ys = bins[::2], bins[1::2]
    centres = ordered(min(xs) + 0.5, min(ys) + 0.5, max(xs) + 0.5, max(ys) + 0.5)
    return scale(centres, size.width / _BINS, size.height / _BINS)


def _start(text: str, start: int, previous_end: int) -> int:
    """Before the tokens that open a sequence, which stand in front of the first name."""
    for _ in range(4):
        for token in _STARTS:
            if text.endswith(token, previous_end, start):
                start -= len(token)
    return start
