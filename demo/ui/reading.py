"""An answer as people read it, finished or still growing: no box syntax, and words even where the model wrote none.

Owns what stands in for an answer of bare boxes. Knows nothing of markup, colours or gradio.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from demo.grounding.highlight import Segment, segments
from demo.types import Region

_OPEN_BOX = re.compile(r"\s*\[\[?[\d.,;\s\[]*$")  # the beginning of a box that is still being written


def readable(text: str, regions: Sequence[Region], *, is_growing: bool = False) -> list[Segment]:
    """The pieces to show, each with the label it names, if any."""
    pieces = segments(text, regions)
    if is_growing and pieces and pieces[-1][1] is None:
        pieces[-1] = (_OPEN_BOX.sub("", pieces[-1][0]), None)
    pieces = [piece for piece in pieces if piece[0]]
    return pieces or _counted(regions)


def _counted(regions: Sequence[Region]) -> list[Segment]:
    """What bare boxes say: how many places there are, and of what."""
    if not regions:
        return []
    places = "1 place" if len(regions) == 1 else f"{len(regions)} places"
    labels = list(dict.fromkeys(region.label for region in regions if region.label))
    pieces = [piece for label in labels for piece in ((", ", None), (label, label))][1:]
    return [*pieces, (f": {places}" if labels else f"{places}, shown in the picture", None)]
