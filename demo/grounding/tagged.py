"""Box syntax between tags, a tagged name before it: ``<ref>a dog</ref><box>[[1,2,3,4],[5,6,7,8]]</box>``.

For dialects that differ in the tags only. Where a tokenizer has dropped the tags, ``a dog[[1,2,3,4]]`` is read as well.
Knows nothing of coordinates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from demo.grounding.finding import Finding, numbers
from demo.grounding.labels import phrase_at
from demo.types import Box

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def lists(ref: tuple[str, str], box: tuple[str, str]) -> re.Pattern[str]:
    """The pattern for `findings`: lists of numbers, with or without these opening and closing tags."""
    ref_open, ref_close, box_open, box_close = (re.escape(tag) for tag in (*ref, *box))
    label = f"(?:{ref_open}(?P<label>(?:(?!{ref_open}|{ref_close}).)*){ref_close}\\s*)?"
    # The list ends where something else begins; nothing has to match after it, so no character is read twice.
    return re.compile(
        f"{label}(?:{box_open}\\s*)?(?P<list>\\[[\\[\\]\\s\\d.,;+-]*)(?P<close>{box_close})?", re.ASCII | re.DOTALL
    )


def findings(pattern: re.Pattern[str], text: str, place: Callable[[Sequence[float]], Box | None]) -> Iterator[Finding]:
    """One finding for each list, however deep its fours of numbers are nested; ``place`` makes a box of four."""
    for found in pattern.finditer(text):
        boxes = []
        for inner in _INNERMOST.finditer(found["list"]):
            corners = numbers(inner[1])
            box = place(corners) if len(corners) == 4 else None
            boxes += [box] if box else []
        label = phrase_at(text, *found.span("label")) if found["label"] else None
        yield Finding(tuple(boxes), (found.start(), _end(found)), label)


def _end(found: re.Match[str]) -> int:
    """Without the commas and blanks after the last bracket, unless it opens a list or a closing tag follows them."""
    last = found["list"].rfind("]")
    if found["close"] or found["list"].rfind("[") > last:
        return found.end()
    return found.start("list") + last + 1
