"""Draws regions on a copy of a picture, in the original's own pixels: outlines, and tags with the labels.

Owns line widths and anti-aliasing; where the tags go is decided in `demo.grounding.tags`. Knows nothing of texts,
models or pages. Only the pixels near a line are touched, so the cost hardly grows with the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from demo.grounding.letters import Letters
from demo.grounding.palette import colour_of, ink_on, rgb
from demo.grounding.tags import Place, Rect, Tag, free_places, tag_of
from demo.imaging import to_pil
from demo.types import Box, Picture, Region, Size

_SMOOTHING = 4  # corners are drawn this many times larger and shrunk
FEW = 8  # boxes that the picture has room for with letters of full height
MOST_SHRUNK = 0.6
_EDGE = "#ffffff"  # the thin contrasting line on both sides of an outline


@dataclass(frozen=True, slots=True)
class Style:
    """Measures in pixels of the picture at hand."""

    line: int
    edge: int
    radius: int
    font: int


def draw(picture: Picture, regions: Sequence[Region], *, colours: Mapping[str, str] | None = None) -> Image.Image:
    """A drawn-on copy. Regions without a label get an outline only; a tag that finds no free place is left out.

    ``colours`` (label -> hex) takes precedence over the palette's choice, which is the same wherever the labels are.
    """
    image = to_pil(picture)
    colours = {**colour_of(region.label for region in regions), **(colours or {})}
    style = _style(picture.size, len(regions))
    for region in regions:
        _outline(image, region.box, colours[region.label], style)
    _tags(image, regions, colours, style)
    return image


def _style(size: Size, num_regions: int = 1) -> Style:
    """Measures that look alike whatever the picture's size, since pages scale it to their own width.

    The letters are 11 px high on a phone, where a picture is some 360 px wide; lower where there are many.
    """
    longer = max(size.width, size.height)
    line = max(1, round(longer / 240))
    crowd = max(MOST_SHRUNK, min(1.0, (FEW / max(1, num_regions)) ** 0.5))
    return Style(line=line, edge=max(1, line // 3), radius=2 * line, font=max(10, round(longer / 32 * crowd)))


# --- outlines


def _outline(image: Image.Image, box: Box, colour: str, style: Style) -> None:
    outer = _around(box, style, image.size)
    width, height = outer[2] - outer[0], outer[3] - outer[1]
    edge = style.edge if min(width, height) > 4 * style.line + 4 * style.edge else 0
    if edge:
        _ring(image, outer, style.line + 2 * edge, style.radius + edge, _EDGE)
    inner = (outer[0] + edge, outer[1] + edge, outer[2] - edge, outer[3] - edge)
    _ring(image, inner, style.line, style.radius, colour)


def _around(box: Box, style: Style, within: tuple[int, int]) -> Rect:
    """The outline's outer rectangle: half the line outside the box, inside the picture, never empty.

    A point, which is a box without extent, gets a ring around it.
    """
    half = (style.line + 2 * style.edge) / 2
    if (box.x0, box.y0) == (box.x1, box.y1):
        half += 2 * style.line
    x0, x1 = _spread(box.x0 - half, box.x1 + half, within[0])
    y0, y1 = _spread(box.y0 - half, box.y1 + half, within[1])
    return x0, y0, x1, y1


def _spread(low: float, high: float, limit: int) -> tuple[int, int]:
    first = min(max(round(low), 0), limit - 1)
    return first, min(max(round(high), first + 1), limit)


def _ring(image: Image.Image, rect: Rect, line: int, radius: int, colour: str) -> None:
    """A rounded frame: four straight bars, and four corners cut from one small smoothed tile."""
    x0, y0, x1, y1 = rect
    line = min(line, (x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2)
    side = min(max(radius, line), (x1 - x0) // 2, (y1 - y0) // 2)  # of a corner
    ink = rgb(colour)
    for bar in (
        (x0 + side, y0, x1 - side, y0 + line),
        (x0 + side, y1 - line, x1 - side, y1),
        (x0, y0 + side, x0 + line, y1 - side),
        (x1 - line, y0 + side, x1, y1 - side),
    ):
        if bar[2] > bar[0] and bar[3] > bar[1]:
            image.paste(ink, bar)
    if side == 0:
        return
    tile = _corners(side, line)
    for left, top in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner = tile.crop((left * side, top * side, (left + 1) * side, (top + 1) * side))
        image.paste(ink, (x1 - side if left else x0, y1 - side if top else y0), corner)


def _corners(side: int, line: int) -> Image.Image:
    """A mask of 2 x 2 corners: a frame whose straight parts have no length."""
    tile = Image.new("L", (2 * side * _SMOOTHING, 2 * side * _SMOOTHING), 0)
    last = tile.width - 1
    ImageDraw.Draw(tile).rounded_rectangle((0, 0, last, last), side * _SMOOTHING, outline=255, width=line * _SMOOTHING)
    return tile.reduce(_SMOOTHING)


# --- tags


def _tags(image: Image.Image, regions: Sequence[Region], colours: Mapping[str, str], style: Style) -> None:
    """The labels; one that has to stand apart from its box is tied to it by a line."""
    letters = Letters(style.font)
    tags = [tag_of(region.label, letters, image.size) for region in regions]
    boxes = [_around(region.box, style, image.size) for region in regions]
    places = free_places(tags, boxes, image.size)
    pen = ImageDraw.Draw(image)
    for region, box, place in zip(regions, boxes, places, strict=True):
        if place and place.is_apart:
            _tie(pen, place.rect, box, colours[region.label], style)
    for region, tag, place in zip(regions, tags, places, strict=True):
        if tag and place:
            _tag(pen, tag, place, colours[region.label], style)


def _tag(pen: ImageDraw.ImageDraw, tag: Tag, place: Place, colour: str, style: Style) -> None:
    x0, y0, x1, y1 = place.rect
    pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), style.radius, fill=colour)
    pen.text((x0 + tag.pad, (y0 + y1) / 2), tag.text, fill=ink_on(colour), font=tag.font, anchor="lm")


def _tie(pen: ImageDraw.ImageDraw, tag: Rect, box: Rect, colour: str, style: Style) -> None:
    """From the middle of the tag to the nearest point of the box."""
    x, y = (tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2
    nearest = (min(max(x, box[0]), box[2] - 1), min(max(y, box[1]), box[3] - 1))
    width = max(1, style.line // 2)
    pen.line([(x, y), nearest], fill=_EDGE, width=width + 2 * style.edge)
    pen.line([(x, y), nearest], fill=colour, width=width)
