"""Draws regions on a copy of a picture, in the original's own pixels: outlines, and tags with the labels.

Owns line widths, tag placement and anti-aliasing. Knows nothing of texts, models or pages. Only the pixels near a
line are touched, so the cost hardly grows with the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from demo.grounding.palette import colour_of, ink_on, rgb
from demo.imaging import to_pil
from demo.types import Box, Picture, Region, Size

_SMOOTHING = 4  # corners are drawn this many times larger and shrunk
_EDGE = "#ffffff"  # the thin contrasting line on both sides of an outline

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in whole pixels, the last ones outside


@dataclass(frozen=True, slots=True)
class Style:
    """Measures in pixels of the picture at hand."""

    line: int
    edge: int
    radius: int
    font: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A label to be placed: its text, cut to fit, and the size of its filled background."""

    text: str
    width: int
    height: int
    pad: int


def draw(picture: Picture, regions: Sequence[Region], *, colours: Mapping[str, str] | None = None) -> Image.Image:
    """A drawn-on copy. Regions without a label get an outline only; a tag that finds no free place is left out.

    ``colours`` (label -> hex) takes precedence over the palette's choice, which is the same wherever the labels are.
    """
    image = to_pil(picture)
    colours = {**colour_of(region.label for region in regions), **(colours or {})}
    style = _style(picture.size)
    for region in regions:
        _outline(image, region.box, colours[region.label], style)
    _tags(image, regions, colours, style)
    return image


def _style(size: Size) -> Style:
    """Measures that look alike whatever the picture's size, since pages scale it to their own width.

    The letters are 11 px high on a phone, where a picture is some 360 px wide.
    """
    longer = max(size.width, size.height)
    line = max(1, round(longer / 240))
    return Style(line=line, edge=max(1, line // 3), radius=2 * line, font=max(10, round(longer / 32)))


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
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(style.font)
    taken: list[Rect] = []
    for region in regions:
        tag = _tag(region.label, font, style, image.size)
        place = tag and _free_place(tag, _around(region.box, style, image.size), image.size, taken)
        if not tag or not place:
            continue
        taken.append(place)
        colour = colours[region.label]
        pen.rounded_rectangle((place[0], place[1], place[2] - 1, place[3] - 1), style.radius, fill=colour)
        middle = (place[0] + tag.pad, (place[1] + place[3]) / 2)
        pen.text(middle, tag.text, fill=ink_on(colour), font=font, anchor="lm")


def _tag(label: str, font: Font, style: Style, within: tuple[int, int]) -> Tag | None:
    pad = max(2, style.font // 3)
    height = round(style.font * 1.5)
    text = _cut(label, font, within[0] - 2 * pad)
    if not text or height > within[1]:
        return None
    return Tag(text, round(font.getlength(text)) + 2 * pad, height, pad)


def _cut(label: str, font: Font, room: int) -> str:
    """The label, ended with an ellipsis where it is too long; empty when not even one letter fits."""
    if font.getlength(label) <= room:
        return label
    for length in range(min(len(label), room) - 1, 0, -1):
        text = label[:length].rstrip() + "…"
        if font.getlength(text) <= room:
            return text
    return ""


def _free_place(tag: Tag, box: Rect, within: tuple[int, int], taken: Sequence[Rect]) -> Rect | None:
    for x, y in _places(tag, box, within):
        x = min(max(x, 0), within[0] - tag.width)
        y = min(max(y, 0), within[1] - tag.height)
        place = (x, y, x + tag.width, y + tag.height)
        if not any(_overlap(place, other) for other in taken):
            return place
    return None


def _places(tag: Tag, box: Rect, within: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Where a reader looks first: above the box, below it, inside where it hides something, then ever further away."""
    x0, y0, x1, y1 = box
    right = x1 - tag.width
    outside = [y for y in (y0 - tag.height, y1) if 0 <= y <= within[1] - tag.height]
    yield from ((x, y) for y in (*outside, y0, y1 - tag.height) for x in (x0, right))
    for y in _outward(y0, tag.height, within[1]):
        for x in (x0, right):
            yield x, y


def _outward(start: int, step: int, limit: int) -> Iterable[int]:
    steps = range(1, limit // step + 2)
    return (start + sign * number * step for number in steps for sign in (1, -1))


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
