"""Turns a text with boxes into text for reading: the numbers gone, the words that have a box marked.

Works on the spans of the regions alone, so it fits every dialect. Knows nothing of colours or pages.
"""

from __future__ import annotations

from collections.abc import Sequence

from demo.types import Region

Segment = tuple[str, str | None]  # some text, and the label it belongs to

_CLOSES_UP = " .,;:!?)\n"  # a space before these is only there because of the box


def segments(text: str, regions: Sequence[Region]) -> list[Segment]:
    """The text without box syntax, cut where marked words begin and end. Joined, the pieces are `plain`."""
    pieces: list[Segment] = []
    at = 0
    for start, end, label in _marks(text, regions):
        if start < at:  # spans of regions that were not parsed from this text may cross; the first one counts
            continue
        _add(pieces, text[at:start], None)
        if label is not None:
            _add(pieces, text[start:end], label)
        at = end
    _add(pieces, text[at:], None)
    return _stripped(pieces)


def plain(text: str, regions: Sequence[Region]) -> str:
    """The text without box syntax."""
    return "".join(piece for piece, _ in segments(text, regions))


def _marks(text: str, regions: Sequence[Region]) -> list[tuple[int, int, str | None]]:
    """Ranges to mark (with their label) and to leave out (None), in order, each once."""
    marks: dict[tuple[int, int], str | None] = {}
    for region in regions:
        if region.label_span is not None:
            marks.setdefault(region.label_span, region.label)
        for hidden in _hidden(text, region):
            marks.setdefault(hidden, None)
    return [(start, end, label) for (start, end), label in sorted(marks.items(), key=lambda mark: mark[0])]


def _hidden(text: str, region: Region) -> list[tuple[int, int]]:
    """The syntax of a region without the label it may enclose; blanks next to the label part it from other words."""
    start, end = region.box_span
    if region.label_span is None or not start <= region.label_span[0] <= region.label_span[1] <= end:
        return [_with_space(text, start, end)]
    before, after = text[start : region.label_span[0]], text[region.label_span[1] : end]
    follows_blank = start == 0 or text[start - 1 : start].isspace()
    return [(start, start + len(before if follows_blank else before.rstrip())), (end - len(after.lstrip()), end)]


def _with_space(text: str, start: int, end: int) -> tuple[int, int]:
    after = text[end : end + 1]
    if text[max(0, start - 1) : start] == " " and (not after or after in _CLOSES_UP):
        start -= 1
    return start, end


def _add(pieces: list[Segment], piece: str, label: str | None) -> None:
    if not piece:
        return
    if label is None and pieces and pieces[-1][1] is None:
        pieces[-1] = (pieces[-1][0] + piece, None)
    else:
        pieces.append((piece, label))


def _stripped(pieces: list[Segment]) -> list[Segment]:
    """Without the blanks that boxes at either end leave behind."""
    if pieces and pieces[0][1] is None:
        pieces[0] = (pieces[0][0].lstrip(), None)
    if pieces and pieces[-1][1] is None:
        pieces[-1] = (pieces[-1][0].rstrip(), None)
    return [piece for piece in pieces if piece[0]]
