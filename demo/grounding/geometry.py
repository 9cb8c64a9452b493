"""Arithmetic of boxes: ordering, clipping, overlap, scaling. Knows nothing of text, models or drawing.

Boxes are x0, y0, x1, y1 as floats, pixels unless a function says otherwise, origin at the top left.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def placed(numbers: Sequence[float], size: Size, frame: Size) -> Box | None:
    """The box that any two corners (x, y, x, y) in a frame mean in the picture; None when it is nowhere in it.

    The frame is what the model's numbers are relative to: 1000 x 1000, or the picture as the model saw it.
    """
    box = ordered(*numbers)
    if box.x0 > frame.width or box.y0 > frame.height or box.x1 < 0 or box.y1 < 0:
        return None
    return clip(scale(box, size.width / frame.width, size.height / frame.height), size)


def quantized(box: Box, size: Size, frame: Size, *, last: int) -> tuple[int, int, int, int]:
    """The box as whole numbers 0..``last`` of a frame, the inverse of `placed` to half a number (one at the edge)."""
    inside = scale(clip(box, size), frame.width / size.width, frame.height / size.height)
    x0, y0, x1, y1 = (min(last, round(number)) for number in (inside.x0, inside.y0, inside.x1, inside.y1))
    return x0, y0, x1, y1


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
