"""Regions as data for other programs: the JSON of the API, the command line and the page, and rows for a table.

Pixels of the picture as uploaded (after its EXIF rotation), rounded to a tenth; fractions to six digits. Of several
pictures, each record names its own, counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from demo.grounding.geometry import normalized
from demo.types import Box, Region, Size

HEADERS = ("label", "x0", "y0", "x1", "y1")


class _Picture(TypedDict, total=False):
    picture: int


class Record(_Picture):
    label: str
    box: list[float]
    box_normalized: list[float]


def records(regions: Sequence[Region], *sizes: Size) -> list[Record]:
    """``sizes`` are those of the conversation's pictures; one picture need not be named."""
    return [_record(region, sizes) for region in regions]


def _record(region: Region, sizes: Sequence[Size]) -> Record:
    index = region.picture or 0
    record: Record = {
        "label": region.label,
        "box": _rounded(region.box, 1),
        "box_normalized": _rounded(normalized(region.box, sizes[index]), 6),
    }
    return {**record, "picture": index} if len(sizes) > 1 else record


def rows(regions: Sequence[Region]) -> list[list[str | int]]:
    """One row per region under `HEADERS`, in whole pixels."""
    return [[region.label, *(round(number) for number in _corners(region.box))] for region in regions]


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _rounded(box: Box, digits: int) -> list[float]:
    return [round(number, digits) for number in _corners(box)]
