"""Finds boxes in JSON as models write it: in code fences, with text around, trailing commas, single quotes, cut off.

One pass over the text with a stack and no second look, so any text takes linear time and whatever is complete in an
unfinished answer is found. A box is a closed list of four numbers: a member of an object, under one of `BOX_KEYS`
beside its label or under the label itself (``{"dog": [1,2,3,4]}``), or a list of its own. Knows nothing of what the
numbers are relative to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from demo.grounding.finding import Finding, numbers
from demo.grounding.labels import MAX_CHARS, Phrase, phrase_at, shown
from demo.types import Box

BOX_KEYS = frozenset(
    "bbox_2d bbox box_2d box bboxes boxes bounding_box bounding_boxes bbox2d coordinates coords xyxy".split()  # noqa: SIM905
)
POINT_KEYS = frozenset({"point_2d", "point"})  # two numbers: a box without extent
LABEL_KEYS = tuple(
    "label name class class_name category object phrase text_content text caption description sub_label".split()  # noqa: SIM905
)
# Keys that say nothing about what is in their boxes.
_COLLECTIONS = BOX_KEYS | frozenset(
    "objects object detections results result answer answers data items annotations regions instances".split()  # noqa: SIM905
)

_OPENING = re.compile(r"[\[{]")
_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[\[\]{},:])|(?P<string>"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?)|(?P<word>[^\s\[\]{},:"]+))"""
)
# What stands around the items of a list and goes when they go; separators between them stay.
_LEAD = re.compile(r"""(?:```\w{0,12}\s*)?(?:[\[{]\s*(?:["']\w{1,40}["']\s*:\s*)?)*$""")
_LEAD_WINDOW = 200
_TAIL = re.compile(r"(?:[\s,]*[\]}])*(?:\s*```)?")

Span = tuple[int, int]


@dataclass(slots=True)
class _Frame:
    """An object or a list that is being read."""

    is_object: bool
    start: int
    above: _Frame | None
    owner: _Frame | None  # the nearest object around a list
    end: int | None = None  # once it is closed
    key: Span | None = None  # of the member being read
    is_value: bool = False  # the member's colon was seen
    word: Span | None = None  # a string or bare words being read
    label: Span | None = None
    rank: int = len(LABEL_KEYS)  # of the key that the label came from
    box_key: str | None = None  # the one that has boxes; others repeat them
    values: list[float] = field(default_factory=list)
    is_plain: bool = True  # a list of numbers so far


@dataclass(frozen=True, slots=True)
class Corners:
    """Four numbers that may be a box, where they are, and what names them."""

    numbers: tuple[float, float, float, float]
    key: str  # "" in a bare list
    span: Span
    holder: _Frame | None  # the object, or the list ["dog", [1,2,3,4]], whose label is theirs
    name: Span | None  # the key above them, where it is the label


def findings(text: str, place: Callable[[Corners], Box | None]) -> Iterator[Finding]:
    """The boxes of a text in their order; ``place`` makes a box of four numbers, or nothing.

    The spans of two boxes are equal, apart, or one in the other. Labels lie within their box's span.
    """
    reach: Span = (0, 0)
    for corners in _scan(text):
        label_span = corners.holder.label if corners.holder and corners.holder.label else corners.name
        start, end = _extent(corners, label_span)
        start = _lead(text, start, reach[1], is_named=label_span is not None)
        end = max(_end(_TAIL.match(text, end)), end)
        if start < reach[1] < end:  # an object around the one before
            start = min(start, reach[0])
        reach = (min(start, reach[0]), max(end, reach[1])) if start < reach[1] else (start, end)
        box = place(corners)
        label = _label(text, label_span) if label_span else None
        yield Finding((box,) if box else (), (start, end), label, is_guessed=not corners.key)


def _extent(corners: Corners, label: Span | None) -> Span:
    holder = corners.holder
    if holder is None:
        start, end = corners.span
    else:
        start, end = holder.start, holder.end or corners.span[1]
    if label:
        return min(start, label[0] - 1), max(end, label[1] + 1 if holder and not holder.end else end)
    return start, end


def _lead(text: str, start: int, previous_end: int, *, is_named: bool) -> int:
    """Where the brackets, fence and key before an item begin, or the comma before one that leaves nothing to read."""
    if start <= previous_end:
        return start
    window = max(previous_end, start - _LEAD_WINDOW)
    found = _LEAD.search(text, window, start)
    if found and found.start() < start:
        return found.start()
    is_next = previous_end > 0 and not text[previous_end:start].strip(" \t\r\n,")
    return previous_end if is_next and not is_named else start


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found else 0


def _label(text: str, span: Span) -> Phrase | None:
    label = phrase_at(text, *span)
    if label is None or "\\" not in label.words:
        return label
    try:
        words = shown(str(json.loads(f'"{text[slice(*span)]}"')))[:MAX_CHARS].strip()
    except ValueError:  # not an escape that JSON has
        return label
    return Phrase(words, label.span) if words else None


# --- the scan


def _scan(text: str) -> Iterator[Corners]:
    """Fours of numbers in the text's order. Their holders are complete only once the scan is."""
    found: list[Corners] = []
    num_open = {True: 0, False: 0}
    top: _Frame | None = None
    at = 0
    while token := _TOKEN.match(text, at) if top else _OPENING.search(text, at):
        at = token.end()
        mark = token["mark"] if top else token.group()
        if mark and mark in "[{":
            top = _opened(top, at - 1, is_object=mark == "{")
            num_open[top.is_object] += 1
        elif top and mark and mark in "]}":
            is_object = mark == "}"
            while top and num_open[is_object]:  # what was left open within it is closed too
                closed, top = top, _closed(text, top, at, found, is_match=top.is_object == is_object)
                num_open[closed.is_object] -= 1
                if closed.is_object == is_object:
                    break
        elif top and mark:
            _separated(text, top, is_colon=mark == ":")
        elif top:
            _worded(top, token)
    while top:
        top = _closed(text, top, at, found, is_match=False)
    yield from found


def _opened(above: _Frame | None, start: int, *, is_object: bool) -> _Frame:
    if above and not above.is_object:
        above.is_plain = False
    owner = above if above is None or above.is_object else above.owner
    return _Frame(is_object, start, above, owner)


def _closed(text: str, frame: _Frame, end: int, found: list[Corners], *, is_match: bool) -> _Frame | None:
    """End a frame, at its bracket or without one, and return the one around it."""
    _end_member(text, frame)
    above = frame.above
    if is_match:
        frame.end = end
        if not frame.is_object and frame.is_plain:
            found += _corners(text, frame)
    if above and above.is_object and frame.label and _rank(_key(text, above)) < above.rank:
        above.label, above.rank = frame.label, _rank(_key(text, above))  # {"label": ["dog", "brown"]}
    return above


def _separated(text: str, frame: _Frame, *, is_colon: bool) -> None:
    if not is_colon:
        _end_member(text, frame)
    elif frame.is_object and (not frame.is_value or _is_quoted(text, frame.word)):  # else a comma is missing
        frame.key, frame.word, frame.is_value = frame.word, None, True


def _worded(frame: _Frame, token: re.Match[str]) -> None:
    start, end = token.span("string") if token["string"] else token.span("word")
    if token["string"]:
        quote = token["string"][0]
        end -= len(token["string"]) > 1 and token["string"][-1] == quote
        start += 1
    if frame.word:  # words in a row are one: quotes in a label that nobody escaped
        start = frame.word[0]
        end -= not token["string"] and token.string[end - 1] == token.string[start - 1]
    frame.word = (start, max(end, start))


def _is_quoted(text: str, word: Span | None) -> bool:
    return word is not None and text[word[0] - 1] in "\"'"


def _end_member(text: str, frame: _Frame) -> None:
    """Take in the key and value, or the item, that ends here."""
    if frame.is_object:
        rank = _rank(_key(text, frame))
        if frame.word and frame.is_value and rank < frame.rank:
            frame.label, frame.rank = frame.word, rank
        frame.key, frame.is_value = None, False
    elif frame.word:
        value = numbers(text[slice(*frame.word)]) if frame.is_plain and len(frame.values) <= 4 else []
        frame.values += value
        frame.is_plain = frame.is_plain and bool(value)
        frame.label = frame.label or (None if value else frame.word)
    frame.word = None


def _corners(text: str, frame: _Frame) -> list[Corners]:
    """What a closed list of numbers is; nothing when it cannot be a box."""
    owner, values, span = frame.owner, frame.values, (frame.start, frame.end or frame.start)
    key = _key(text, owner)
    is_box, is_point = key in BOX_KEYS and len(values) == 4, key in POINT_KEYS and len(values) == 2
    if owner and (is_box or is_point):
        if owner.box_key not in (None, key):
            return []
        owner.box_key = key
        return [Corners(_four(values), key, span, owner, _name_above(text, owner))]
    if len(values) != 4:
        return []
    if owner and owner.key and key not in _COLLECTIONS and owner.is_value:
        return [Corners(_four(values), key, span, None, owner.key)]
    holder = frame.above if frame.above and not frame.above.is_object and frame.above.label else None
    return [Corners(_four(values), "", span, holder, None)]


def _name_above(text: str, frame: _Frame) -> Span | None:
    """The key whose value an object is: ``{"dog": {"bbox": [...]}}``."""
    above = frame.above
    is_named = above and above.is_object and above.is_value and _key(text, above) not in _COLLECTIONS
    return above.key if above and is_named else None


def _four(values: Sequence[float]) -> tuple[float, float, float, float]:
    return values[0], values[1], values[-2], values[-1]


def _key(text: str, frame: _Frame | None) -> str:
    if frame is None or frame.key is None:
        return ""
    start, end = frame.key
    return text[start : min(end, start + MAX_CHARS)].strip().casefold()


def _rank(key: str) -> int:
    return LABEL_KEYS.index(key) if key in LABEL_KEYS else len(LABEL_KEYS)
