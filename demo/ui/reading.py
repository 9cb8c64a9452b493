"""An answer as people read it, finished or still growing: no box syntax, and words even where the model wrote none.

Owns what stands in for an answer of bare boxes. Knows nothing of markup, colours or gradio.
"""

from __future__ import annotations

from collections.abc import Sequence

from demo.grounding import dialects
from demo.grounding.dialects import Dialect
from demo.grounding.highlight import Segment, segments
from demo.grounding.remnants import TAIL
from demo.types import Region
from demo.ui.language import Texts


def readable(
    say: Texts, text: str, regions: Sequence[Region], dialect: str | None = None, *, is_growing: bool = False
) -> list[Segment]:
    """The pieces to show, each with the label it names, if any. ``dialect`` names the syntax that is not for people."""
    pieces = segments(text, regions)
    if dialect is not None:
        pieces = _clean(pieces, dialects.get(dialect), is_growing=is_growing)
    pieces = [piece for piece in pieces if piece[0]]
    return pieces or _counted(say, regions)


def _clean(pieces: list[Segment], dialect: Dialect, *, is_growing: bool) -> list[Segment]:
    """Without a box that is still being written and without tags that no box was made of."""
    if is_growing and pieces and pieces[-1][1] is None:
        words = pieces[-1][0]
        pieces[-1] = (words[:-TAIL] + dialect.unfinished.sub("", words[-TAIL:]), None)
    return [(dialect.marks.sub("", words), label) for words, label in pieces]


def _counted(say: Texts, regions: Sequence[Region]) -> list[Segment]:
    """What bare boxes say: how many places there are, and of what."""
    if not regions:
        return []
    labels = list(dict.fromkeys(region.label for region in regions if region.label))
    pieces = [piece for label in labels for piece in ((say("page.comma"), None), (label, label))][1:]
    return [*pieces, (say.counted("boxes.named" if labels else "boxes.shown", len(regions)), None)]
