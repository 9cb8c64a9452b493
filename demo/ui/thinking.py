"""The reasoning of a model that thinks aloud, beside its answer: how long it took, and how it is shown.

Owns the clock of a thought and its markup, closed once the answer begins. What is a thought is decided in
`demo.reasoning`. Knows nothing of gradio. Seconds end in ``_s``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demo.reasoning import Tags, split
from demo.ui.language import Texts
from demo.ui.markup import verbatim_markdown


@dataclass(frozen=True, slots=True)
class Thought:
    """``is_open`` while it is being written, and where the answer never came."""

    text: str
    seconds_s: float
    is_open: bool


class Thinker:
    """Takes in a text piece by piece and parts the answer from the reasoning; the clock starts with the first piece."""

    def __init__(self, tags: Sequence[Tags], clock: Callable[[], float] = time.monotonic) -> None:
        self._tags = tags
        self._clock = clock
        self._text = ""
        self._began_s: float | None = None
        self.thought: Thought | None = None

    def add(self, piece: str) -> str:
        """The answer so far."""
        self._text += piece
        if self._began_s is None:
            self._began_s = self._clock()
        return self._parted(is_growing=True)

    def finish(self) -> str:
        """The whole answer, once no more will come."""
        return self._parted(is_growing=False)

    def _parted(self, *, is_growing: bool) -> str:
        found = split(self._text, self._tags, is_growing=is_growing)
        if found.thought:
            is_over = self.thought is not None and not self.thought.is_open
            seconds_s = self.thought.seconds_s if self.thought and is_over else self._clock() - (self._began_s or 0.0)
            self.thought = Thought(found.thought, seconds_s, found.is_thinking)
        return found.answer


def pending(say: Texts, thought: Thought | None) -> str:
    """What to say while a thought is written and nothing else is there."""
    return say("thought.now", seconds=f"{thought.seconds_s:.1f}") if thought and thought.is_open else ""


def thought_markdown(say: Texts, thought: Thought, *, is_growing: bool) -> str:
    """For the conversation: open while it is written and where no answer came, else closed above the answer."""
    title = pending(say, thought) if is_growing else ""
    ended = "thought.vain" if thought.is_open else "thought.done"
    title = title or say(ended, seconds=f"{thought.seconds_s:.1f}")
    state = " open" if thought.is_open else ""
    words = verbatim_markdown(thought.text)
    return f"<details class='reasoning'{state}><summary>{title}</summary><div>{words}</div></details>"
