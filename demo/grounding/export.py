"""Regions as data for other programs: the JSON of the API, the command line and the page, and rows for a table.

Pixels of the picture as uploaded (after its EXIF rotation), rounded to a tenth; fractions to six digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from demo.grounding.geometry import normalized
from demo.types import Box, Region, Size

HEADERS = ("label", "x0", "y0", "x1", "y1")


class Record(TypedDict):
    label: str
    box: list[float]
    box_normalized: list[float]


def records(regions: Sequence[Region], size: Size) -> list[Record]:
    return [
        {
            "label": region.label,
            "box": _rounded(region.box, 1),
            "box_normalized": _rounded(normalized(region.box, size), 6),
        }
        for region in regions
    ]


def rows(regions: Sequence[Region]) -> list[list[str | int]]:
    """One row per region under `HEADERS`, in whole pixels."""
    return [[region.label, *(round(number) for number in _corners(region.box))] for region in regions]


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _rounded(box: Box, digits: int) -> list[float]:
    return [round(number, digits) for number in _corners(box)]
