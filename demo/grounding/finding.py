"""What all dialects have in common: from pieces of box syntax in a text to regions, at most `MAX_REGIONS`.

Owns the order, the limit and the rule for boxes without words of their own. Knows nothing of any syntax.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from demo.grounding.labels import Phrase, phrase_before
from demo.types import Box, Region

MAX_REGIONS = 100

NUMBER = r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})"
_NUMBER = re.compile(NUMBER, re.ASCII)
_MAX_NUMBERS = 16  # more than any shape has; the rest of a list that never ends is not read


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of box syntax. No ``boxes``: it could not be read, and the words before it are not the next one's."""

    boxes: tuple[Box, ...]
    span: tuple[int, int]
    label: Phrase | None = None  # what the syntax itself says
    is_guessed: bool = True  # whether words before the syntax may name it when it does not say
    pictures: tuple[int, ...] = ()  # of each box, where the syntax says it


def finding(box: Box | None, span: tuple[int, int], label: Phrase | None = None) -> Finding:
    return Finding((box,) if box else (), span, label)


def regions(text: str, findings: Iterable[Finding], *, adjacent: bool = False) -> list[Region]:
    """The regions of findings in the text's order; ``adjacent`` as in `phrase_before`."""
    found: list[Region] = []
    phrase: Phrase | None = None
    previous_end = 0
    for one in findings:
        if one.boxes:
            label = one.label
            if label is None and one.is_guessed:
                # "two dogs [[...]] and [[...]]": without words of its own a box continues the one before.
                label = phrase_before(text, one.span[0], previous_end, adjacent=adjacent) or phrase
            phrase = label
            words, span = (label.words, label.span) if label else ("", None)
            pictures = one.pictures or (None,) * len(one.boxes)
            found += [Region(words, box, span, one.span, picture) for box, picture in zip(one.boxes, pictures)]
            if len(found) >= MAX_REGIONS:
                break
        previous_end = max(previous_end, one.span[1])
    return found[:MAX_REGIONS]


def merged(*several: Iterable[Finding]) -> Iterator[Finding]:
    """Findings of different syntaxes in the text's order; one that begins inside another syntax's is left out."""
    reached = [0] * len(several)  # by each
    sources = [((index, one) for one in findings) for index, findings in enumerate(several)]
    for index, one in heapq.merge(*sources, key=lambda item: item[1].span):
        if one.span[0] >= max(reached[:index] + reached[index + 1 :]):
            yield one
            reached[index] = max(reached[index], one.span[1])


def enclosed(text: str, findings: Iterable[Finding], before: str, after: str) -> Iterator[Finding]:
    """Findings whose spans take in the tokens right around them."""
    for one in findings:
        start, end = one.span
        start -= len(before) if text.endswith(before, 0, start) else 0
        end += len(after) if text.startswith(after, end) else 0
        yield replace(one, span=(start, end))


def numbers(inner: str, separator: str | None = ",") -> list[float]:
    """The numbers of a list; none when anything else is among them. ``separator`` None is any blanks."""
    parts = [part.strip() for part in inner.split(separator, _MAX_NUMBERS)]
    return [float(part) for part in parts] if all(_NUMBER.fullmatch(part) for part in parts) else []
