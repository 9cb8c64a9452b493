"""What is to be said to a visitor, before it is known in which language: a text's key with its values, or a sentence
from below the page.

Owns how such notes are made and said. What is kept of an answer holds notes and no words, so that a conversation can be
read in another language than it was held in. Pure; knows nothing of gradio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo.ui.language import Texts


@dataclass(frozen=True, slots=True)
class Note:
    """Made by `note`, `counted` or `told`."""

    key: str = ""  # empty for a sentence from below
    values: tuple[tuple[str, object], ...] = ()  # a note among them is said in the same language
    count: int | None = None
    sentence: str = ""

    def said(self, say: Texts) -> str:
        if not self.key:
            return say.told(self.sentence)
        values = {name: value.said(say) if isinstance(value, Note) else value for name, value in self.values}
        return say(self.key, **values) if self.count is None else say.counted(self.key, self.count, **values)


Remark = tuple[Note, ...]  # one line, made of parts


def note(key: str, /, **values: object) -> Note:
    return Note(key, tuple(values.items()))


def counted(key: str, count: int, /, **values: object) -> Note:
    """The text's form for so many."""
    return Note(key, tuple(values.items()), count)


def told(sentence: str) -> Note:
    """A sentence of the engine's, which is in English."""
    return Note(sentence=sentence)


def line_of(say: Texts, remark: Sequence[Note]) -> str:
    return " · ".join(part.said(say) for part in remark)


STOPPED: Remark = (note("answer.stopped"),)
