"""Where the labels of boxes go, so that none hides another: their text, cut to fit, and a free place near each box.

Owns the order in which places are tried. Pure arithmetic beside the measuring of text; draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.grounding.letters import Font, Letters

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in whole pixels, the last ones outside

WIDEST = 0.6  # of the picture's width, where that leaves room for words
LETTERS = 16  # that are always given room


@dataclass(frozen=True, slots=True)
class Tag:
    """A label to be placed: its text, cut to fit, in which font, and the size of its filled background."""

    text: str
    font: Font
    width: int
    height: int
    pad: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tag goes, and whether something lies between it and its box."""

    rect: Rect
    is_apart: bool


def tag_of(label: str, letters: Letters, within: tuple[int, int]) -> Tag | None:
    """None where there are no words, none that a font could write, or no room for one letter."""
    height, font = letters.height, letters.font_for(label)
    if font is None:
        return None
    pad = max(2, height // 3)
    tall = round(height * 1.5)
    text = _cut(label, font, min(within[0] - 2 * pad, max(round(WIDEST * within[0]), LETTERS * height)))
    if not text or tall > within[1]:
        return None
    return Tag(text, font, round(font.getlength(text)) + 2 * pad, tall, pad)


def free_places(tags: Sequence[Tag | None], boxes: Sequence[Rect], within: tuple[int, int]) -> list[Place | None]:
    """A place for each tag, in their order, that no other tag has; None where there is none left in the picture.

    Next to its box a tag goes where it hides least of other boxes' outlines.
    """
    taken: list[Rect] = []
    places: list[Place | None] = []
    for index, (tag, box) in enumerate(zip(tags, boxes, strict=True)):
        place = _place(tag, box, [*boxes[:index], *boxes[index + 1 :]], within, taken) if tag else None
        places.append(place)
        taken += [place.rect] if place else []
    return places


def _place(tag: Tag, box: Rect, others: Sequence[Rect], within: tuple[int, int], taken: Sequence[Rect]) -> Place | None:
    beside = (_inside(tag, x, y, within) for x, y in _beside(tag, box, within))
    free = [rect for rect in dict.fromkeys(beside) if not _hits(rect, taken)]
    if free:
        return Place(min(free, key=lambda rect: _hidden(rect, others)), is_apart=False)  # the first of the best
    for x, y in _away(tag, box, within):
        rect = _inside(tag, x, y, within)
        if not _hits(rect, taken):
            return Place(rect, is_apart=not _overlap(rect, _wider(box)))
    return None


def _inside(tag: Tag, x: int, y: int, within: tuple[int, int]) -> Rect:
    x = min(max(x, 0), within[0] - tag.width)
    y = min(max(y, 0), within[1] - tag.height)
    return x, y, x + tag.width, y + tag.height


def _beside(tag: Tag, box: Rect, within: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Where a reader looks first: above the box, below it, at its sides, and inside, where it hides something."""
    x0, y0, x1, y1 = box
    right, bottom = x1 - tag.width, y1 - tag.height
    outside = [y for y in (y0 - tag.height, y1) if 0 <= y <= within[1] - tag.height]
    yield from ((x, y) for y in outside for x in (x0, right))
    sides = [x for x in (x1, x0 - tag.width) if 0 <= x <= within[0] - tag.width]
    yield from ((x, y) for x in sides for y in (y0, bottom))
    yield from ((x, y) for y in (y0, bottom) for x in (x0, right))


def _away(tag: Tag, box: Rect, within: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Ever further from the box, in steps of a tag, until the whole picture was looked at."""
    x0, y0, x1, y1 = box
    rows, columns = within[1] // tag.height + 2, within[0] // tag.width + 2
    for ring in range(1, max(rows, columns)):
        up, down = y0 - (ring + 1) * tag.height, y1 + ring * tag.height
        left, right = x0 - ring * tag.width, x1 + (ring - 1) * tag.width
        for x in (x0, x1 - tag.width, left, right):
            yield x, up
            yield x, down
        for y in range(y0 - ring * tag.height, y1 + ring * tag.height, tag.height):
            yield left, y
            yield right, y


def _hidden(rect: Rect, boxes: Sequence[Rect]) -> int:
    """How much of the boxes' outlines lies under it, in pixels of their length."""
    return sum(_edge(rect[:1] + rect[2:3], rect[1::2], box) for box in boxes if _overlap(rect, box))


def _edge(across: tuple[int, ...], down: tuple[int, ...], box: Rect) -> int:
    wide = min(across[1], box[2]) - max(across[0], box[0])
    high = min(down[1], box[3]) - max(down[0], box[1])
    columns = sum(across[0] <= x < across[1] for x in (box[0], box[2] - 1))
    rows = sum(down[0] <= y < down[1] for y in (box[1], box[3] - 1))
    return columns * high + rows * wide


def _hits(rect: Rect, taken: Sequence[Rect]) -> bool:
    return any(_overlap(rect, other) for other in taken)


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _wider(box: Rect) -> Rect:
    return box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1


def _cut(label: str, font: Font, room: int) -> str:
    """The label, ended with an ellipsis where it is too long; empty when not even one letter fits."""
    if font.getlength(label) <= room:
        return label
    for length in range(min(len(label), room) - 1, 0, -1):
        text = label[:length].rstrip() + "…"
        if font.getlength(text) <= room:
            return text
    return ""
