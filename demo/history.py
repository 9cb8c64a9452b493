"""How much of a conversation a model is shown: a small one loses the thread after more turns than it was trained with.

Pure. Knows nothing of pages, terminals or models. A turn is a user's message and the answer to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from demo.types import Message, Picture


def recent(messages: Sequence[Message], max_turns: int | None) -> tuple[Message, ...]:
    """The last turns, after a system's words if there are any.

    Pictures of those left out go with the first that is kept, so they stay what is talked about.
    """
    begins = [index for index, message in enumerate(messages) if message.speaker == "user"]
    if max_turns is None or len(begins) <= max_turns:
        return tuple(messages)
    first = begins[-max_turns]
    carried = tuple(picture for message in messages[:first] for picture in message.pictures)
    clips = tuple(clip for message in messages[:first] for clip in message.clips)
    system = tuple(message for message in messages[:first] if message.speaker == "system")
    last = messages[first]
    kept = replace(last, pictures=(*carried, *last.pictures), clips=(*clips, *last.clips))
    return (*system, kept, *messages[first + 1 :])


def pictures_of(messages: Sequence[Message]) -> tuple[Picture, ...]:
    """All that can be seen in a conversation, oldest first: what a `Region` counts."""
    return tuple(picture for message in messages for picture in message.shown)
