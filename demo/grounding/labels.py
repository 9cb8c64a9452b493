"""Finds the words that a box in a text belongs to: those its syntax names, or the noun phrase just before it.

Owns the word lists and the cutting rules, and uses no language model. Knows nothing of box syntax or pictures. Works
on a short window before the box, so its cost does not grow with the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_WORDS = 5
MAX_CHARS = 80
_WINDOW = 200

_WORD = re.compile(r"\S+")
# A phrase does not reach across these. The apostrophe and the hyphen are not among them: "a man's T-shirt".
_BREAK = re.compile(r"[.,;:!?()\[\]{}<>|\"“”«»*`~=/\\\n\r，。；：！？、（）]")
_TRIM = "'’‘-–—_"  # at the ends of a word
_QUOTE = re.compile("['’‘]")

_ARTICLES = frozenset(
    """a an the this that these those his her its their my your our some another""".split()  # noqa: SIM905
)
# A phrase starts after these, and a box that follows them directly ("the dog is at [[...]]") belongs to what is before.
_BOUNDARIES = frozenset(
    """
    and or but nor while as of on in at to with by near next beside behind under below above over from for into onto
    inside outside between among against around across along toward towards through within without than
    is are was were be being been has have had can could see sees shows show showing shown contains contain
    containing includes including located found positioned placed situated visible seen appears
    given wearing holding carrying riding sitting standing lying hanging leaning walking facing looking eating using
    covered it there here they he she i we you which who where when also then yes no not
    """.split()  # noqa: SIM905
)
# Words about the answer: a phrase of nothing else ("the bounding box is [[...]]") names no thing; a lone "box" may.
_ABOUT_BOXES = frozenset(
    """
    bounding box boxes bbox bboxes coordinate coordinates location locations position positions region regions area
    areas object objects target point points spatial extent json format output answer answers result results sentence
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """``words`` as they stand in the text, plain and short; ``span`` is their half-open range of characters."""

    words: str
    span: tuple[int, int]


def phrase_at(text: str, start: int, end: int) -> Phrase | None:
    """The words that a box's own syntax gives it, between these two positions; None when there are none."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    end = start + len(inner.strip())
    words = shown(inner)[:MAX_CHARS].strip()
    return Phrase(words, (start, end)) if words else None


def shown(words: str) -> str:
    """Fit for a page: single blanks, no controls, no bidi marks."""
    return " ".join("".join(char if char.isprintable() else " " for char in words).split())


def phrase_before(text: str, end: int, start: int = 0, *, adjacent: bool = False) -> Phrase | None:
    """The noun phrase that ends just before ``end`` and does not reach before ``start``; None when there is none.

    With ``adjacent`` only if nothing parts it from there: "a dog [[...]]", but not "the dog on the table is [[...]]".
    """
    start = max(start, end - _WINDOW)
    words = _last_clause(text, start, end)
    if adjacent and words and _plain(text, words[-1]) in _BOUNDARIES | _ARTICLES:
        return None
    while words and _plain(text, words[-1]) in _BOUNDARIES | _ARTICLES | {""}:
        words.pop()
    taken: list[tuple[int, int]] = []
    while words and len(taken) < MAX_WORDS:
        word = _plain(text, words[-1])
        if word in _BOUNDARIES or word in _ARTICLES or not word:
            break
        taken.insert(0, words.pop())
    said = {_plain(text, word) for word in taken}
    return _phrase(text, taken) if not said <= _ABOUT_BOXES or said <= {"box", "boxes"} else None


def _last_clause(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The ranges of the last words that no punctuation parts, skipping what stands between them and the box."""
    piece = text[start:end]
    while piece and (piece[-1].isspace() or piece[-1] in _TRIM or _BREAK.match(piece[-1])):
        piece = piece[:-1]
    breaks = [found.end() for found in _BREAK.finditer(piece)]
    first = breaks[-1] if breaks else 0
    return [(start + word.start(), start + word.end()) for word in _WORD.finditer(piece, first)]


def _plain(text: str, span: tuple[int, int]) -> str:
    return text[span[0] : span[1]].strip(_TRIM).casefold()


def _phrase(text: str, words: list[tuple[int, int]]) -> Phrase | None:
    if not words:
        return None
    start, end = words[0][0], words[-1][1]
    while start < end and text[start] in _TRIM and not _QUOTE.match(text[start]):
        start += 1
    start = _after_lone_quote(text, max(start, end - MAX_CHARS), end)
    label = shown(text[start:end])
    return Phrase(label, (start, end)) if label else None


def _after_lone_quote(text: str, start: int, end: int) -> int:
    """Where the phrase begins without a quote that has no other one: "'Save' button" has, "Save' button" has not."""
    first, opened = start, -1
    for found in _QUOTE.finditer(text, start, end):
        at = found.start()
        begins = at == start or text[at - 1].isspace()
        ends = at + 1 == end or text[at + 1].isspace()
        if begins and not ends:
            first, opened = (opened + 1 if opened >= 0 else first), at
        elif ends and opened >= 0:
            opened = -1
        elif ends and text[at - 1] not in "sS":  # else the owners' apostrophe
            first = at + 1
    first = max(first, opened + 1)
    return end - len(text[first:end].lstrip())
