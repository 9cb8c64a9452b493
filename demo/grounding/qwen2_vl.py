"""Qwen2-VL's box dialect: ``<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(x0,y0),(x1,y1)<|box_end|>``.

Numbers are thousandths of the picture's width and height. Several boxes follow one name; one pair of numbers between
the box tokens is a point (an action's target) and becomes a box without extent; four pairs are a quadrangle, which
becomes the box around it. Answers whose special tokens were dropped, ``a dog(576,12),(592,42)``, and the ``<ref>`` and
``<box>`` of the first Qwen-VL are read as well.

Verified: syntax with published answers of the 2B and 7B models; scale with QwenLM/Qwen3-VL issue 866 (a maintainer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from demo.grounding.finding import NUMBER, Finding, finding, regions
from demo.grounding.geometry import placed, quantized
from demo.grounding.labels import phrase_at
from demo.grounding.remnants import open_tag
from demo.types import Box, Region, Size

name = "qwen2_vl"
unfinished = open_tag(r"<\|(?:box|quad)_start\|>", "<box>", r"\(\d")
marks = re.compile(r"<\|(?:object_ref|box|quad)_(?:start|end)\|>|</?(?:ref|box)>")

_FRAME = Size(1000, 1000)

_POINT = rf"\(\s*{NUMBER}\s*,\s*{NUMBER}\s*\)"
_SYNTAX = re.compile(
    r"(?:(?:<\|object_ref_start\|>|<ref>)(?P<label>[^<]*)(?:<\|object_ref_end\|>|</ref>)\s*)?"
    r"(?P<open><\|(?:box|quad)_start\|>|<box>)?"
    rf"(?P<points>{_POINT}(?:\s*,?\s*{_POINT})*)"
    r"(?:<\|(?:box|quad)_end\|>|</box>)?",
    re.ASCII,
)
_PAIR = re.compile(rf"\(\s*({NUMBER})\s*,\s*({NUMBER})\s*\)", re.ASCII)


def parse(text: str, size: Size) -> list[Region]:
    """The boxes of a text in their order, each with its reference or the words just before it."""
    return regions(text, findings(text, size))


def format(box: Box, size: Size) -> str:
    """A box as the model writes it; ``parse`` gives it back within a thousandth of the picture."""
    x0, y0, x1, y1 = quantized(box, size, _FRAME, last=1000)
    return f"<|box_start|>({x0},{y0}),({x1},{y1})<|box_end|>"


def findings(text: str, size: Size) -> Iterator[Finding]:
    for found in _SYNTAX.finditer(text):
        label = phrase_at(text, *found.span("label")) if found["label"] else None
        yield finding(_box(found, size), found.span(), label)


def _box(found: re.Match[str], size: Size) -> Box | None:
    pairs = [(float(x), float(y)) for x, y in _PAIR.findall(found["points"])]
    if len(pairs) != 2 and not (found["open"] and len(pairs) in (1, 4)):  # without its tokens (1,2) may be anything
        return None
    xs, ys = zip(*pairs, strict=True)
    return placed((min(xs), min(ys), max(xs), max(ys)), size, _FRAME)
