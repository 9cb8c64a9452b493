"""The state of record of one chat: turns of a question, its pictures and the answer, kept on the server.

Owns the turns and what can be done to them. Knows nothing of gradio or of how a turn is shown. Boxes in a turn's
answer are pixels of the picture that they belong to as it was uploaded; that picture itself stays without boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from demo.types import Region
from demo.ui.notes import STOPPED, Remark, note
from demo.ui.pictures import StoredPicture
from demo.ui.thinking import Thought

QUEUED: Remark = (note("answer.queued"),)

TurnState = Literal["waiting", "answering", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer so far. ``remark`` is the small line beside it: progress, speed or an error."""

    question: str
    pictures: tuple[StoredPicture, ...] = ()
    state: TurnState = "waiting"
    answer: str = ""  # without the reasoning before it, which later turns are not shown
    thought: Thought | None = None
    regions: tuple[Region, ...] = ()
    drawn: str | None = None
    also_drawn: tuple[str, ...] = ()  # where there are boxes in several pictures
    dialect: str | None = None  # of the boxes in the answer
    remark: Remark = QUEUED

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "answering")

    @property
    def is_queued(self) -> bool:
        """Its place in the queue is all that it waits for, as far as is known."""
        return self.state == "waiting" and self.remark[:1] == QUEUED


@dataclass(frozen=True, slots=True)
class Conversation:
    """Frozen: every change makes a new one, so that a page that is showing the old one is never surprised."""

    turns: tuple[Turn, ...] = ()
    # What a retry or an edited question replaces, in case the queue refuses it.
    before: Conversation | None = field(default=None, compare=False, repr=False)

    @property
    def last(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def is_open(self) -> bool:
        """An answer is being waited for or written."""
        return self.last is not None and self.last.is_open

    def asked(self, question: str, pictures: tuple[StoredPicture, ...]) -> Conversation:
        return replace(self, turns=(*self.turns, Turn(question, pictures)))

    def with_last(self, turn: Turn) -> Conversation:
        return replace(self, turns=(*self.turns[:-1], turn))

    def without_last(self) -> Conversation:
        return Conversation(self.turns[:-1])

    def until(self, index: int | None) -> Conversation:
        """The turns before this one, to go another way from there; all of them where it is None."""
        if index is None:
            return Conversation(self.turns)
        return Conversation(self.turns[:index], before=Conversation(self.turns))

    def asked_again(self) -> Conversation:
        """The last question as if it had just been asked; ``before`` has its answer."""
        last = self.last
        return self if last is None else self.until(len(self.turns) - 1).asked(last.question, last.pictures)

    def stopped(self) -> Conversation:
        """Close an open turn, keeping what was written."""
        last = self.last
        if last is None or not last.is_open:
            return self
        return self.with_last(replace(last, state="stopped", remark=STOPPED))

    def seen(self, max_pictures: int) -> Conversation:
        """The part the model is shown: the last turns that together hold no more pictures than it takes, and one clip.

        Where turns are left out, the rest begins with a picture, so that no question about an old one is kept.
        """
        first, num_pictures = 0, 0
        for index in reversed(range(len(self.turns))):
            num_pictures += sum(1 for picture in self.turns[index].pictures if not picture.frames)
            if num_pictures > max_pictures and index < len(self.turns) - 1:
                return Conversation(self.turns[first:])
            if self.turns[index].pictures:
                first = index
        return self
