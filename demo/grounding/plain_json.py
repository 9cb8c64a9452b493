"""Boxes of models that were taught no dialect: JSON objects or bare lists ``[x0, y0, x1, y1]``, in one of three scales.

The scale is read from the numbers: all of them at most 1, fractions of the picture's sides; at most 1000, thousandths;
else pixels, of the picture as the model saw it (``seen``) where that is known. A scale holds for the rest of the answer
unless a later box needs a larger one, so that a box never moves while the answer grows. ``box_2d`` is the exception:
thousandths with **y first**, as Gemini and Gemma write it.

Verified: fractions with LLaVA-1.5's and Kimi-VL's answers (MoonshotAI/Kimi-VL issue 56); ``box_2d`` with Google's
documentation of Gemini. Not verified: ``box_2d`` of Gemma, which its maintainers call likely only; anything else that a
general model may mean by its numbers.
"""

from __future__ import annotations

from demo.grounding.finding import regions
from demo.grounding.geometry import clip, placed, scale
from demo.grounding.jsonish import Corners, findings
from demo.grounding.remnants import NOTHING, OPEN_JSON
from demo.types import Box, Region, Size

name = "json"
unfinished = OPEN_JSON
marks = NOTHING

_FRACTIONS = Size(1, 1)
_THOUSANDTHS = Size(1000, 1000)


def parse(text: str, size: Size, *, seen: Size | None = None) -> list[Region]:
    """The boxes of a text in their order, each with its label or the words before it."""
    frames = (_FRACTIONS, _THOUSANDTHS, seen or size)
    coarsest = 0

    def place(corners: Corners) -> Box | None:
        nonlocal coarsest
        if corners.key == "box_2d":
            y0, x0, y1, x1 = corners.numbers
            return placed((x0, y0, x1, y1), size, _THOUSANDTHS)
        largest = max(corners.numbers)
        coarsest = max(coarsest, (largest > 1) + (largest > 1000))
        return placed(corners.numbers, size, frames[coarsest])

    return regions(text, findings(text, place))


def format(box: Box, size: Size, *, seen: Size | None = None) -> str:  # noqa: ARG001 fractions fit every size
    """A box in fractions, which every model understands; ``parse`` gives it back within a thousandth."""
    inside = scale(clip(box, size), 1 / size.width, 1 / size.height)
    return f"[{inside.x0:.3f}, {inside.y0:.3f}, {inside.x1:.3f}, {inside.y1:.3f}]"
