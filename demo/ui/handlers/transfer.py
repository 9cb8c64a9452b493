"""From a conversation to a file and back: `demo.ui.transfer` with the pictures, which are read and kept by the store.

Owns which copies go into which format, and that nothing of an opened file is used before it was looked at: pictures are
opened like uploads, in the store's own folder. No gradio, no look.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from demo.errors import InvalidInput
from demo.grounding import dialects
from demo.imaging import open_picture, to_pil
from demo.types import Box, Region
from demo.ui.context import UiContext
from demo.ui.conversation import Conversation, Turn
from demo.ui.handlers.chat import adopted, checked_question
from demo.ui.language import Texts
from demo.ui.notes import STOPPED, line_of, note
from demo.ui.pictures import StoredPicture
from demo.ui.transfer import Saved, SavedTurn, from_json, to_json
from demo.ui.transfer_markdown import from_markdown, is_markdown, to_markdown


def saved_json(context: UiContext, say: Texts, conversation: Conversation, system: str | None) -> str:
    """The path of a file with everything, pictures as they were uploaded."""
    turns = tuple(
        replace(_turn(context, say, turn), files=tuple(_read(context, picture.path) for picture in turn.pictures))
        for turn in _closed(conversation).turns
    )
    text = to_json(Saved(turns, _model(context), system or ""))
    most = context.limits.file_bytes
    if len(text) > most:
        remedy = "Save it as Markdown, with smaller copies of its pictures."
        raise InvalidInput("The pictures are too large for one file", value=f"{len(text) >> 20} MiB", remedy=remedy)
    return _written(context, text, "conversation.json")


def saved_markdown(context: UiContext, say: Texts, conversation: Conversation, system: str | None) -> str:
    """The path of a file for people, with the copies that the page shows, and boxes in the pixels of those."""
    scales = list(_scales(context, _closed(conversation)))
    turns = tuple(
        replace(
            _turn(context, say, turn),
            files=tuple(_read(context, picture.shown) for picture in turn.pictures),
            regions=tuple(_scaled(region, scales) for region in turn.regions),
        )
        for turn in conversation.turns
    )
    return _written(context, to_markdown(say, Saved(turns, _model(context), system or "")), "conversation.md")


def opened(context: UiContext, path: str | None) -> tuple[Conversation, str]:
    """The conversation in an uploaded file, and its system prompt; raises what is wrong with the file."""
    file = context.store.checked(path or "")
    if (size := file.stat().st_size) > context.limits.file_bytes:
        most = f"At most {context.limits.file_bytes // 1_000_000} MB are accepted."
        raise InvalidInput("The file is too large", value=f"{size // 1_000_000} MB", remedy=most)
    data = file.read_bytes()
    saved = from_markdown(data) if is_markdown(data) else from_json(data)
    return Conversation(tuple(_opened_turn(context, turn) for turn in saved.turns)), saved.system


def still_writing() -> InvalidInput:
    return InvalidInput("The last answer is still being written", remedy="Wait for it, or press Stop.")


def _closed(conversation: Conversation) -> Conversation:
    if conversation.is_open:
        raise still_writing()
    if not conversation.turns:
        raise InvalidInput("There is nothing to save", remedy="Ask something first.")
    return conversation


def _turn(context: UiContext, say: Texts, turn: Turn) -> SavedTurn:
    drawn = (path for path in (turn.drawn, *turn.also_drawn) if path)
    return SavedTurn(
        question=turn.question,
        state="stopped" if turn.state == "stopped" else "failed" if turn.state == "failed" else "done",
        answer=turn.answer,
        thought=turn.thought,
        regions=turn.regions,
        drawn=tuple(_read(context, path) for path in drawn),
        dialect=turn.dialect,
        line=line_of(say, turn.remark),
    )


def _scales(context: UiContext, conversation: Conversation) -> Iterator[float]:
    """Of each picture of the conversation: the side of its copy, of its own."""
    for turn in conversation.turns:
        for picture in turn.pictures:
            with Image.open(context.store.checked(picture.shown)) as copy:
                yield copy.width / picture.size.width


def _scaled(region: Region, scales: Sequence[float]) -> Region:
    index = region.picture or 0
    scale = scales[index] if index < len(scales) else 1.0
    box = region.box
    return replace(region, box=Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale))


def _opened_turn(context: UiContext, turn: SavedTurn) -> Turn:
    files = tuple(context.store.keep(data, "opened") for data in turn.files)  # as if they had been uploaded
    drawn = tuple(context.store.save(to_pil(open_picture(data))) for data in turn.drawn)
    is_known = turn.dialect in dialects.names()
    return Turn(
        question=checked_question(context, turn.question),
        pictures=_adopted(context, files),
        state=turn.state,
        answer=turn.answer,
        thought=turn.thought,
        regions=turn.regions if is_known else (),
        drawn=drawn[0] if drawn and is_known else None,
        also_drawn=drawn[1:] if is_known else (),
        dialect=turn.dialect if is_known else None,
        remark=STOPPED if turn.state == "stopped" else (note("chat.opened"),),
    )


def _adopted(context: UiContext, files: tuple[str, ...]) -> tuple[StoredPicture, ...]:
    return tuple(adopted(context, path) for path in files)


def _read(context: UiContext, path: str) -> bytes:
    return context.store.checked(path).read_bytes()


def _written(context: UiContext, text: str, name: str) -> str:
    """In a folder that nobody can guess, so that it is told to one visitor only."""
    target = Path(context.store.folder) / "saved" / secrets.token_hex(16) / name
    target.parent.mkdir(parents=True)
    target.write_text(text, encoding="utf-8")
    return str(target)


def _model(context: UiContext) -> str:
    spec = context.spec("chat")
    return spec.name if spec else ""
