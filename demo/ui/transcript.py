"""How a conversation looks: its turns as `gr.Chatbot` takes them, in a visitor's language.

Owns the order of an answer's parts, of which the line about it is always the last, and the class that each line has in
the style sheet. Knows nothing of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from demo.grounding.palette import colour_of
from demo.ui import markup
from demo.ui.conversation import Conversation, Turn
from demo.ui.language import Texts
from demo.ui.notes import line_of
from demo.ui.reading import readable
from demo.ui.thinking import thought_markdown

Messages = list[dict[str, Any]]


def welcome_html(say: Texts) -> str:
    """Where nothing was said yet."""
    return f"<h3>{say('chat.welcome')}</h3><p>{say('chat.how')}</p>"


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """A turn, the language it was shown in, and what was made of it."""

    say: Texts
    turn: Turn
    messages: Messages  # question and answer

    @classmethod
    def made(cls, say: Texts, turn: Turn) -> ShownTurn:
        return cls(say, turn, [_question(say, turn), _answer(say, turn)])

    def is_of(self, say: Texts, turn: Turn) -> bool:
        return self.turn is turn and self.say is say


@dataclass(slots=True)
class Transcript:
    """A conversation as one visitor was shown it last, so that a turn is made anew only when it has changed.

    A growing answer is shown fourteen times a second, and each turn before it would cost half a millisecond every time.
    """

    _shown: tuple[ShownTurn, ...] = ()

    def messages(self, say: Texts, conversation: Conversation) -> Messages:
        """A question and an answer for each turn; they are kept, and not to be changed."""
        pairs = zip_longest(conversation.turns, self._shown[: len(conversation.turns)])
        self._shown = shown = tuple(
            known if known and known.is_of(say, turn) else ShownTurn.made(say, turn) for turn, known in pairs
        )
        return [message for each in shown for message in each.messages]


def _question(say: Texts, turn: Turn) -> dict[str, Any]:
    pictures = [{"path": picture.shown, "alt_text": say("chat.picture")} for picture in turn.pictures]
    notes = [say.told(picture.note) for picture in turn.pictures if picture.note]
    lines = "".join(f"\n\n{_line(note, 'remark')}" for note in notes)
    return {"role": "user", "content": [*pictures, markup.verbatim_markdown(turn.question) + lines]}


def _answer(say: Texts, turn: Turn) -> dict[str, Any]:
    content: list[Any] = []
    if turn.thought:
        content.append(thought_markdown(say, turn.thought, is_growing=turn.is_open))
    if turn.answer:
        content.append(_text(say, turn))
    content += drawn_pictures(say, turn)
    raw = markup.own_words(say, turn.answer) if turn.regions and not turn.is_open else ""
    return {"role": "assistant", "content": [*content, _line(*_said(say, turn)) + raw]}


def _said(say: Texts, turn: Turn) -> tuple[str, str]:
    """The line about an answer, and its kind. It has its place from the beginning, so that nothing moves at the end."""
    words = line_of(say, turn.remark)
    if turn.state == "failed":
        return words, "failure"
    if turn.state == "waiting":
        return words, "pending queued" if turn.is_queued else "pending"
    if turn.state == "answering":
        return words or say("chat.writing"), "pending"
    return words or say("chat.nothing"), "remark"


def drawn_pictures(say: Texts, turn: Turn) -> list[dict[str, str]]:
    """One copy for each picture that has boxes, each named after its own."""
    indices = sorted({region.picture or 0 for region in turn.regions})
    shown = []
    for index, path in zip(indices, (turn.drawn, *turn.also_drawn)):
        if path:
            labels = (region.label for region in turn.regions if (region.picture or 0) == index)
            names = dict.fromkeys(label or say("boxes.unnamed") for label in labels)
            shown.append({"path": path, "alt_text": say("chat.drawn", names=say("page.comma").join(names))})
    return shown


def _text(say: Texts, turn: Turn) -> str:
    pieces = readable(say, turn.answer, turn.regions, turn.dialect, is_growing=turn.state != "done")
    return markup.answer_markdown(pieces, colour_of(region.label for region in turn.regions))


def _line(text: str, kind: str) -> str:
    return f"<span class='{kind}'>{markup.verbatim_markdown(text)}</span>"
