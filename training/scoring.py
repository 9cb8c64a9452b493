"""How an answer is judged against the truth.

Owns the measures: boxes by greedy one-to-one matching at IoU 0.5, captions by the multiset of nouns they name, all
other answers by equality of the words, with boxes inside an answer compared as boxes. Knows nothing of models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from demo.grounding import cogvlm
from demo.grounding.geometry import iou
from demo.types import Box, Size
from training.colours import COLOURS
from training.nouns import Noun
from training.view import NUMBERS

_UNIT = Size(1000, 1000)
_BOXES = re.compile(r"\s*\[\[[^\]]*\]\]?")
_WELL_FORMED = re.compile(r"\[\[\d{3},\d{3},\d{3},\d{3}(;\d{3},\d{3},\d{3},\d{3})*\]\]")


def boxes_of(text: str) -> list[Box]:
    """The boxes of an answer, in thousandths of the picture."""
    return [region.box for region in cogvlm.parse(text, _UNIT)]


def is_well_formed(text: str) -> bool:
    """Whether every opening of a box is a complete box."""
    return text.count("[[") == len(_WELL_FORMED.findall(text))


def matched(found: Sequence[Box], wanted: Sequence[Box], threshold: float = 0.5) -> int:
    """How many wanted boxes have a found box of their own with at least that IoU."""
    left, hits = list(found), 0
    for box in wanted:
        best = max(left, key=lambda b: iou(b, box), default=None)
        if best is not None and iou(best, box) >= threshold:
            left.remove(best)
            hits += 1
    return hits


def same_boxes(answer: str, truth: str) -> bool:
    """As many boxes as wanted, each matched."""
    found, wanted = boxes_of(answer), boxes_of(truth)
    return len(found) == len(wanted) and matched(found, wanted) == len(wanted)


def same_answer(answer: str, truth: str) -> bool:
    """Equal words, and equal boxes where the truth has boxes."""
    return _BOXES.sub("", answer).strip() == _BOXES.sub("", truth).strip() and same_boxes(answer, truth)


class NounCounter:
    """Reads the multiset of nouns out of a caption ("two red dogs and a car" -> dog 2, car 1)."""

    def __init__(self, nouns: Iterable[Noun]) -> None:
        names = {form: noun.name for noun in nouns for form in (noun.plural, noun.name)}
        forms = "|".join(re.escape(form) for form in sorted(names, key=len, reverse=True))
        numbers = "|".join((*NUMBERS[1:], "a", "an"))
        self._names = names
        # Only a colour may stand between: any word would take "teddy" off a teddy bear and leave a bear.
        colours = "|".join(COLOURS)
        self._phrase = re.compile(rf"\b({numbers}) (?:(?:{colours}) )?({forms})\b", re.IGNORECASE)

    def __call__(self, caption: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for number, form in self._phrase.findall(_BOXES.sub("", caption)):
            word = number.lower()
            found[self._names[form.lower()]] += 1 if word in ("a", "an") else NUMBERS.index(word)
        return found


def overlap(found: Counter[str], wanted: Counter[str]) -> int:
    return sum((found & wanted).values())
