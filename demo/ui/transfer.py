"""A conversation as a file that can be opened again: JSON that holds everything.

Owns the format and every check of what comes back: its size, its shape, how many turns and pictures it has. Pure;
pictures are the bytes of their files, which somebody else opens. Knows nothing of files for people
(`demo.ui.transfer_markdown`), which hold the same fields.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from demo.errors import InvalidInput
from demo.types import Box, Region
from demo.ui.thinking import Thought

KIND = "vlm-demo conversation"
VERSION = 1
MOST_TURNS = 200
MOST_FILES = 64  # pictures and clips, in all
MOST_CHARS = 200_000  # of one text
MOST_BOXES = 500  # of one answer

SavedState = Literal["done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class SavedTurn:
    """A question and its answer. ``line`` is for people only, and is not read back."""

    question: str
    files: tuple[bytes, ...] = ()  # pictures and clips
    state: SavedState = "done"
    answer: str = ""
    thought: Thought | None = None
    regions: tuple[Region, ...] = ()
    drawn: tuple[bytes, ...] = ()  # copies with boxes
    dialect: str | None = None
    line: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    turns: tuple[SavedTurn, ...]
    model: str = ""
    system: str = ""


# --- out


def to_json(saved: Saved) -> str:
    return json.dumps(fields_of(saved), ensure_ascii=False, indent=1)


def fields_of(saved: Saved) -> dict[str, Any]:
    """What a file holds; pictures in base64."""
    turns = [_turn_out(turn) for turn in saved.turns]
    return {"kind": KIND, "version": VERSION, "model": saved.model, "system": saved.system, "turns": turns}


def _turn_out(turn: SavedTurn) -> dict[str, Any]:
    thought = turn.thought
    return {
        "question": turn.question,
        "files": [packed(data) for data in turn.files],
        "state": turn.state,
        "answer": turn.answer,
        "thought": thought and {"text": thought.text, "seconds": thought.seconds_s, "is_open": thought.is_open},
        "boxes": [_region_out(region) for region in turn.regions],
        "drawn": [packed(data) for data in turn.drawn],
        "dialect": turn.dialect,
        "line": turn.line,
    }


def _region_out(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "box": [region.box.x0, region.box.y0, region.box.x1, region.box.y1],
        "label_span": region.label_span,
        "box_span": region.box_span,
        "picture": region.picture,
    }


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- in


def from_json(data: bytes) -> Saved:
    """A file that `to_json` made; raises `InvalidInput` for any other."""
    return from_fields(fields_in(data))


def fields_in(data: bytes | str) -> Any:
    """Whatever JSON it is."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # no JSON, no text, or nested without end
        raise foreign("not JSON") from None


def from_fields(whole: Any) -> Saved:
    """What `fields_of` gave; raises `InvalidInput` for anything else."""
    if not isinstance(whole, dict) or whole.get("kind") != KIND or whole.get("version") != VERSION:
        raise foreign("of another kind")
    turns = _list(whole, "turns", MOST_TURNS)
    num_files = sum(
        len(turn["files"]) for turn in turns if isinstance(turn, dict) and isinstance(turn.get("files"), list)
    )
    if num_files > MOST_FILES:
        raise _too_much("files", num_files, MOST_FILES)
    return Saved(tuple(map(_turn_in, turns)), _text(whole, "model"), _text(whole, "system"))


def _turn_in(turn: Any) -> SavedTurn:
    if not isinstance(turn, dict):
        raise foreign("turns")
    state, dialect, answer = turn.get("state"), turn.get("dialect"), _text(turn, "answer")
    if state not in ("done", "stopped", "failed"):
        raise foreign("state")
    return SavedTurn(
        question=_text(turn, "question"),
        files=_files(turn, "files"),
        state=state,
        answer=answer,
        thought=None if turn.get("thought") is None else _thought(turn["thought"]),
        regions=tuple(_region(box, len(answer)) for box in _list(turn, "boxes", MOST_BOXES)),
        drawn=_files(turn, "drawn"),
        dialect=None if dialect is None else _text(turn, "dialect"),
    )


def _thought(value: Any) -> Thought:
    if not isinstance(value, dict) or not isinstance(value.get("is_open"), bool):
        raise foreign("thought")
    return Thought(_text(value, "text"), _number(value.get("seconds"), "thought"), value["is_open"])


def _region(value: Any, num_chars: int) -> Region:
    if not isinstance(value, dict):
        raise foreign("boxes")
    corners, picture = _list(value, "box", 4), value.get("picture")
    if len(corners) != 4 or not (picture is None or _is_index(picture, MOST_FILES * MOST_TURNS)):
        raise foreign("box")
    x0, y0, x1, y1 = (_number(corner, "box") for corner in corners)
    if x0 > x1 or y0 > y1:
        raise foreign("box")
    label_span = None if value.get("label_span") is None else _span(value["label_span"], num_chars)
    return Region(
        _text(value, "label"), Box(x0, y0, x1, y1), label_span, _span(value.get("box_span"), num_chars), picture
    )


def _span(value: Any, num_chars: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(_is_index(end, num_chars) for end in value):
        raise foreign("boxes")
    start, end = value
    if start > end:
        raise foreign("boxes")
    return start, end


def _is_index(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _number(value: Any, name: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > 1e9 or not math.isfinite(value):
        raise foreign(name)
    return float(value)


def _text(where: dict[str, Any], name: str) -> str:
    value = where.get(name)
    if not isinstance(value, str):
        raise foreign(name)
    if len(value) > MOST_CHARS:
        raise _too_much("characters in one text", len(value), MOST_CHARS)
    if any("\ud800" <= character <= "\udfff" for character in value):  # half a character, which no file can hold
        raise foreign(name)
    return value


def _list(where: dict[str, Any], name: str, most: int) -> list[Any]:
    value = where.get(name)
    if not isinstance(value, list):
        raise foreign(name)
    if len(value) > most:
        raise _too_much(name, len(value), most)
    return value


def _files(turn: dict[str, Any], name: str) -> tuple[bytes, ...]:
    return tuple(_unpacked(packed, name) for packed in _list(turn, name, MOST_FILES))


def _unpacked(packed: Any, name: str) -> bytes:
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise foreign(name) from None


def foreign(where: str) -> InvalidInput:
    remedy = "Open a JSON or Markdown file that was saved on this page."
    return InvalidInput("The file is no conversation that can be opened", value=where, remedy=remedy)


def _too_much(what: str, number: int, most: int) -> InvalidInput:
    return InvalidInput(
        "The file holds too much for one conversation",
        value=f"{number:,} {what}",
        remedy=f"At most {most:,} are opened.",
    )
