"""Which picture of a conversation each box belongs to, in that picture's own pixels.

Owns the rule, which looks in this order: what the box's own syntax says (Molmo's points); the picture that the text
names inside that syntax, or last before it ("image 2", "the second picture"); the one picture that the question names;
the newest. Pictures are counted from 1 in words, as people and models do, unless a text names picture 0; from 0 here.
Knows nothing of any syntax. Never raises.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from demo.grounding.dialects import Dialect
from demo.grounding.finding import MAX_REGIONS
from demo.types import Region, Size

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_NOUN = r"(?:image|picture|photo|frame)"
_MENTION = re.compile(
    rf"\b{_NOUN}(?:[ _-]|\s(?:no\.?|number)\s|\s?\#)?(?P<said>\d{{1,3}})(?![\d.,]*\d)"
    rf"|[\"']{_NOUN}(?:_?(?:index|id|number))?[\"']\s{{0,4}}:\s{{0,4}}[\"']?(?P<member>\d{{1,3}})(?!\d)"
    rf"|\b(?P<word>{'|'.join((*_ORDINALS, 'last'))})\s{{1,2}}{_NOUN}\b"
    r"|图(?:片|像)?\s?(?P<chinese>\d{1,3})(?!\d)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a conversation: its size, and the size its boxes are written in, where that is another."""

    size: Size
    seen: Size | None = None


def located(text: str, dialect: Dialect, views: Sequence[View], question: str = "") -> list[Region]:
    """The boxes of an answer in the text's order, each with the index of its picture among ``views``."""
    if not views:
        return []
    if len(views) == 1:
        return _alone(dialect.parse(text, views[0].size, seen=views[0].seen))
    asked = {number for _, number in _mentions(question, len(views))}
    default = asked.pop() if len(asked) == 1 else len(views) - 1
    mentions = _mentions(text, len(views))
    readings = {view: dialect.parse(text, view.size, seen=view.seen) for view in set(views)}
    found = [
        replace(region, picture=index)
        for index, view in enumerate(views)
        for region in readings[view]
        if _picture_of(region, mentions, default) == index
    ]
    return sorted(found, key=lambda region: region.box_span[0])[:MAX_REGIONS]


def _alone(found: Sequence[Region]) -> list[Region]:
    """The boxes in the only picture, whatever its syntax calls it; those in a second one are made up."""
    first = next((region.picture for region in found if region.picture is not None), None)
    return [replace(region, picture=0) for region in found if region.picture in (None, first)]


def _picture_of(region: Region, mentions: Sequence[tuple[int, int]], default: int) -> int:
    if region.picture is not None:
        return region.picture
    start, end = region.box_span
    after = bisect.bisect_left(mentions, (end, 0))
    if after and mentions[after - 1][0] >= start:
        return mentions[bisect.bisect_left(mentions, (start, 0))][1]  # the first one inside
    return mentions[after - 1][1] if after else default


def _mentions(text: str, num_pictures: int) -> list[tuple[int, int]]:
    """Where a text names a picture that there is, and its index."""
    named = [(found.start(), _number(found, num_pictures)) for found in _MENTION.finditer(text)]
    first = 0 if any(number == 0 for _, number in named) else 1
    return [(at, number - first) for at, number in named if 0 <= number - first < num_pictures]


def _number(found: re.Match[str], num_pictures: int) -> int:
    if word := found["word"]:
        return num_pictures if word.lower() == "last" else _ORDINALS.index(word.lower()) + 1
    return int(found["said"] or found["member"] or found["chinese"])
