"""The handlers of the public endpoints: plain values in, text and boxes as plain data out. No gradio.

Owns the shape of a history and of a result: the text as the model wrote it, and ``{"label", "box", "box_normalized"}``
for each box in it, in pixels of the picture as uploaded. Raises the demo's own errors.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

from demo.errors import InvalidInput
from demo.grounding.export import Record, records
from demo.types import Message
from demo.ui.context import UiContext
from demo.ui.handlers import looking
from demo.ui.handlers.answering import Answer, answering
from demo.ui.handlers.chat import checked_question
from demo.ui.handlers.sampling import Controls, sampling_of

Step = tuple[str, list[Record]]

MAX_TURNS = 200


def chat(
    context: UiContext, message: str | None, picture: str | None, history: object, controls: Controls = ()
) -> Generator[Step, None, None]:
    """``history`` is earlier messages, oldest first; the picture is what the whole conversation is about."""
    messages = [*_past(context, history), Message("user", checked_question(context, message, name="message"))]
    if picture:
        messages[0] = Message(messages[0].speaker, messages[0].text, (context.store.open(picture),))
    yield from _steps(answering(context, "chat", tuple(messages), sampling_of(*controls)))


def ground(context: UiContext, picture: str | None, phrase: str | None) -> Generator[Step, None, None]:
    yield from _steps(looking.ground(context, picture, phrase))


def describe_region(
    context: UiContext, picture: str | None, box: object, question: str | None = None
) -> Generator[Step, None, None]:
    """``box`` is ``[x0, y0, x1, y1]`` in pixels of the picture as uploaded; without a question it is described."""
    corners = box if isinstance(box, list) else []
    yield from _steps(looking.describe(context, picture, corners, question))


def caption(context: UiContext, picture: str | None, style: str | None) -> Generator[Step, None, None]:
    yield from _steps(looking.caption(context, picture, style))


def _steps(answers: Generator[Answer, None, None]) -> Generator[Step, None, None]:
    with closing(answers):
        for answer in answers:
            yield answer.text.strip(), records(answer.regions, *answer.sizes)


def _past(context: UiContext, history: object) -> list[Message]:
    if history in (None, "", []):
        return []
    if not isinstance(history, list) or len(history) > MAX_TURNS:
        raise _bad_history("a list of at most 200 messages is expected")
    messages = [_message(context, item) for item in history]
    for index, message in enumerate(messages):
        if message.speaker != ("user", "assistant")[index % 2]:
            raise _bad_history("user and assistant must alternate, the user first")
    if messages[-1].speaker != "assistant":
        raise _bad_history("it must end with an answer of the assistant")
    return messages


def _message(context: UiContext, item: Any) -> Message:
    if not isinstance(item, dict) or item.get("role") not in ("user", "assistant"):
        raise _bad_history('each message is {"role": "user" or "assistant", "content": TEXT}')
    return Message(item["role"], checked_question(context, _plain(item.get("content")), name="message"))


def _plain(content: Any) -> str:
    """A text, or a list of text parts as chat components write it."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise _bad_history("a message's content is a text")
    return content


def _bad_history(what: str) -> InvalidInput:
    return InvalidInput(f"The history cannot be used: {what}", remedy="Leave it out to begin a conversation.")
