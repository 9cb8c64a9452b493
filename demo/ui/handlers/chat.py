"""The chat tab's handlers: a conversation in, the changed conversation out. No gradio, no look.

Owns what sending, undoing and stopping mean, and what of a conversation the model is shown. The model sees
the pictures as they were uploaded, never the copies with boxes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

from demo.errors import DemoError, InvalidInput
from demo.types import Message, Role
from demo.ui.context import UiContext
from demo.ui.conversation import Conversation, Turn
from demo.ui.handlers.answering import Answer, answering, shown
from demo.ui.handlers.sampling import Controls, sampling_of
from demo.ui.notes import Remark, counted, note
from demo.ui.pictures import PictureStore, StoredPicture

_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the text's direction


@dataclass(frozen=True, slots=True)
class Draft:
    """What is, or is put back, in the box: a text and uploaded files."""

    text: str = ""
    files: tuple[str, ...] = ()


def accept(context: UiContext, draft: Draft, conversation: Conversation, *, at: int | None = None) -> Conversation:
    """Add the user's turn, or raise what is wrong with it; nothing is generated yet.

    ``at`` is the index of an earlier question that it replaces; what follows that is dropped.
    """
    if conversation.is_open:
        raise InvalidInput("The last answer is still being written", remedy="Wait for it, or press Stop.")
    question = checked_question(context, draft.text)
    most, frames = _most(context), _max_frames(context)
    if len(draft.files) > most + (1 if frames else 0):
        raise _too_many(len(draft.files), most)
    pictures = tuple(adopted(context, path) for path in draft.files)
    num_clips = sum(1 for picture in pictures if picture.frames)
    if num_clips > 1:
        raise InvalidInput("Too many clips at once", value=num_clips, remedy="The model follows one at a time.")
    if len(pictures) - num_clips > most:
        raise _too_many(len(pictures) - num_clips, most)
    return conversation.until(at).asked(question, pictures)


def adopted(context: UiContext, path: str) -> StoredPicture:
    """An upload as the chat's model is shown it; raises what is wrong with the file."""
    return context.store.adopt(path, frames=_max_frames(context), side=_frame_side(context))


def _too_many(num_pictures: int, most: int) -> InvalidInput:
    return InvalidInput(
        "Too many pictures at once", value=num_pictures, remedy=f"This model looks at {most} at a time."
    )


def checked_question(context: UiContext, text: str | None, *, name: str = "question") -> str:
    """The text without surrounding blanks and unprintable characters; an empty or endless one is refused."""
    if len(text or "") > 50 * context.limits.question_chars:  # not worth looking at
        raise _too_long(context, name, len(text or ""))
    cleaned = "".join(character for character in text or "" if _is_text(character)).strip()
    if not cleaned:
        raise InvalidInput(f"The {name} is empty", remedy=f"Type a {name} first.")
    if len(cleaned) > context.limits.question_chars:
        raise _too_long(context, name, len(cleaned))
    return cleaned


def _too_long(context: UiContext, name: str, num_chars: int) -> InvalidInput:
    most = f"At most {context.limits.question_chars:,} characters are read; shorten it."
    return InvalidInput(f"The {name} is too long", value=f"{num_chars:,} characters", remedy=most)


def _is_text(character: str) -> bool:
    """Not a control character, half a character, or a mark that reverses the direction of the text around it."""
    if character in "\n\t":
        return True
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in _OVERRIDES


def answer(
    context: UiContext, conversation: Conversation, controls: Controls = (), system: str | None = ""
) -> Generator[Conversation, None, None]:
    """Write the answer to the last turn. Yields the conversation as it grows; never raises."""
    turn = conversation.last
    if turn is None or not turn.is_open:
        return
    left_out = _left_out(context, conversation, turn)
    with closing(shown(_steps(context, conversation, controls, system))) as steps:
        for step in steps:
            turn = _merged(turn, step, left_out)
            yield conversation.with_last(turn)


def undo(conversation: Conversation) -> tuple[Conversation, Draft]:
    """Take the last turn back into the box, where it can be changed."""
    turn = conversation.last
    return (conversation, Draft()) if turn is None else (conversation.without_last(), draft_of(turn))


def refused(conversation: Conversation) -> tuple[Conversation, Draft | None, int | None]:
    """What is left after the queue refused the last question: the conversation before it, what goes back into the box,
    and the index of the question that this is an edited version of."""
    turn, before = conversation.last, conversation.before
    if turn is None or before is None:
        return *undo(conversation), None
    index = len(conversation.turns) - 1
    if draft_of(before.turns[index]) == draft_of(turn):  # a retry: nothing was typed
        return before, None, None
    return before, draft_of(turn), index


def question_at(conversation: Conversation, index: float | None) -> Turn | None:
    """The turn of this index, which a client says, if it can be edited now."""
    is_index = isinstance(index, int | float) and index in range(len(conversation.turns))
    return None if not is_index or conversation.is_open else conversation.turns[int(index or 0)]


def draft_of(turn: Turn) -> Draft:
    return Draft(turn.question, tuple(picture.path for picture in turn.pictures))


def messages_of(conversation: Conversation, store: PictureStore, *, frame_side: int = 0) -> tuple[Message, ...]:
    """The turns as the model is shown them. A turn that failed is left out; its pictures go with the next one."""
    messages: list[Message] = []
    carried: tuple[StoredPicture, ...] = ()
    for turn in conversation.turns:
        added = carried + turn.pictures
        if not turn.answer and not turn.is_open:
            carried = added
            continue
        carried = ()
        pictures = tuple(store.open(picture.path) for picture in added if not picture.frames)
        clips = tuple(store.open_clip(clip.path, most=clip.frames, side=frame_side) for clip in added if clip.frames)
        messages.append(Message("user", turn.question, pictures, clips=clips))
        if turn.answer:
            messages.append(Message("assistant", turn.answer))
    return tuple(messages)


def system_of(context: UiContext, role: Role, text: str | None) -> tuple[Message, ...]:
    """A system prompt as the message before all others; none where it is empty or the model heeds none."""
    spec = context.spec(role)
    if spec is None or not spec.has_system or not (text or "").strip():
        return ()
    return (Message("system", checked_question(context, text, name="system prompt")),)


def _steps(
    context: UiContext, conversation: Conversation, controls: Controls, system: str | None
) -> Generator[Answer, None, None]:
    if context.spec("chat") is None:
        raise DemoError("No loaded model chats", remedy="Start with --model chat=NAME.")
    seen = conversation.seen(_most(context))
    messages = messages_of(seen, context.store, frame_side=_frame_side(context))
    told = system_of(context, "chat", system)
    yield from answering(context, "chat", (*told, *messages), sampling_of(*controls))


def _most(context: UiContext) -> int:
    spec = context.spec("chat")
    return 1 if spec is None else spec.max_pictures


def _max_frames(context: UiContext) -> int:
    spec = context.spec("chat")
    return 0 if spec is None else spec.max_frames


def _frame_side(context: UiContext) -> int:
    spec = context.spec("chat")
    return 0 if spec is None else spec.traits.frame_side


def _left_out(context: UiContext, conversation: Conversation, turn: Turn) -> Remark:
    """What the model was not shown of the conversation, for the line below its answer."""
    spec = context.spec("chat")
    seen = conversation.seen(_most(context)).turns
    num_seen = len(seen)
    if spec and spec.max_turns and num_seen > spec.max_turns:
        return (counted("answer.saw_turns", spec.max_turns),)
    if turn.pictures and num_seen < len(conversation.turns):
        return (note("answer.saw_picture"),)
    if sum(1 for each in seen for picture in each.pictures if picture.frames) > 1:
        return (note("answer.saw_clip"),)
    return ()


def _merged(turn: Turn, step: Answer, left_out: Remark) -> Turn:
    remark = step.remark + (left_out if step.state == "done" else ())
    return replace(
        turn,
        state=step.state,
        answer=step.text,
        thought=step.thought,
        regions=step.regions,
        drawn=step.drawn,
        also_drawn=step.also_drawn,
        dialect=step.dialect,
        remark=remark,
    )
