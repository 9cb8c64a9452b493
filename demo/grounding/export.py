"""Regions as data for other programs: the JSON of the API, the command line and the page, rows for a table, and the
annotations of one picture in the two formats that detectors are trained from, COCO and YOLO.

Pixels of the picture as uploaded (after its EXIF rotation), rounded to a tenth; fractions to six digits. Of several
pictures, each record names its own, counted from 0. COCO and YOLO know no points and no empty boxes: those are left
out, and a class is a label whatever its case and blanks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from demo.grounding.geometry import normalized
from demo.grounding.palette import groups_of
from demo.types import Box, Region, Size

HEADERS = ("label", "x0", "y0", "x1", "y1")
UNNAMED = "object"  # the class of boxes without a label


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


def coco(regions: Sequence[Region], size: Size, file_name: str) -> dict[str, Any]:
    """A whole COCO detection file: boxes are x, y, width, height in pixels; ids count from 1."""
    solid = _solid(regions)
    classes = classes_of(solid)
    return {
        "images": [{"id": 1, "file_name": file_name, "width": size.width, "height": size.height}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "annotations": [
            _annotation(number, region, group + 1)
            for number, (region, group) in enumerate(zip(solid, _groups(solid), strict=True), 1)
        ],
    }


def yolo(regions: Sequence[Region], size: Size) -> str:
    """A YOLO label file: a line a box, its class (from 0), centre x, centre y, width and height in fractions."""
    solid = _solid(regions)
    return "".join(
        f"{group} {_centred(normalized(region.box, size))}\n"
        for region, group in zip(solid, _groups(solid), strict=True)
    )


def classes_of(regions: Sequence[Region]) -> list[str]:
    """The names of the classes in `coco` and `yolo`, in the order of their numbers; none where there is no real box."""
    solid = _solid(regions)
    names: dict[int, str] = {}
    for region, group in zip(solid, _groups(solid), strict=True):
        names.setdefault(group, " ".join(region.label.split()) or UNNAMED)
    return list(names.values())


def _solid(regions: Sequence[Region]) -> list[Region]:
    return [region for region in regions if region.box.area > 0]


def _groups(regions: Sequence[Region]) -> list[int]:
    groups = groups_of(region.label for region in regions)
    return [groups[region.label] for region in regions]


def _annotation(number: int, region: Region, category: int) -> dict[str, Any]:
    box = region.box
    corners = (box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0)
    return {
        "id": number,
        "image_id": 1,
        "category_id": category,
        "bbox": [round(number, 1) for number in corners],
        "area": round(box.area, 1),
        "iscrowd": 0,
        "segmentation": [],
    }


def _centred(box: Box) -> str:
    numbers = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.x1 - box.x0, box.y1 - box.y0)
    return " ".join(f"{number:.6f}" for number in numbers)


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _rounded(box: Box, digits: int) -> list[float]:
    return [round(number, digits) for number in _corners(box)]
