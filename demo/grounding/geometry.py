"""Arithmetic of boxes: ordering, clipping, overlap, scaling. Knows nothing of text, models or drawing.

Boxes are x0, y0, x1, y1 as floats, pixels unless a function says otherwise, origin at the top left.
"""

from __future__ import annotations

from demo.types import Box, Size


def ordered(x0: float, y0: float, x1: float, y1: float) -> Box:
    """A box from any two opposite corners."""
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def clip(box: Box, size: Size) -> Box:
    """The part of the box inside the picture; a box outside becomes an empty one on the nearest edge."""
    width, height = float(size.width), float(size.height)
    return Box(
        min(max(box.x0, 0.0), width),
        min(max(box.y0, 0.0), height),
        min(max(box.x1, 0.0), width),
        min(max(box.y1, 0.0), height),
    )


def scale(box: Box, horizontal: float, vertical: float) -> Box:
    return Box(box.x0 * horizontal, box.y0 * vertical, box.x1 * horizontal, box.y1 * vertical)


def normalized(box: Box, size: Size) -> Box:
    """The box in fractions of the picture's width and height, 0..1."""
    return scale(box, 1 / size.width, 1 / size.height)


def intersection(a: Box, b: Box) -> float:
    """Shared area, in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0.0, width) * max(0.0, height)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1; two empty boxes have 0, even where they coincide."""
    shared = intersection(a, b)
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0
