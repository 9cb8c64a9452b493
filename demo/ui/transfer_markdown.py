"""A conversation as Markdown: for people to read, and to be opened again.

Owns the format. People see the pictures, the questions and the answers; text stays text, and what would be markup, or
fetch a picture from elsewhere, is escaped. A comment at the end, which no viewer shows, holds the rest in the fields of
the JSON file, with numbers in the place of pictures: those are taken from the text, in their order. Pure.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Any

from demo.ui.language import Texts
from demo.ui.transfer import KIND, MOST_FILES, Saved, fields_in, fields_of, foreign, from_fields, packed

_LIVE = re.compile(r"[\\<>\[\]&$]")  # what makes links, pictures, HTML and formulas
_MARKS = re.compile(r"[\\`*_#<>\[\]&$~|+=-]")
_PICTURE = re.compile(r"!\[[^\]\n]*\]\(data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]*)\)")
_FORBIDDEN = re.compile(r"[<>&!(]|(?<=-)-")  # in a comment: what may end it, or become something in a careless viewer
_START, _END = f"<!-- {KIND} ", " -->"
_PICTURES = ("files", "drawn")  # the fields of a turn that hold some, in the order of the text


def to_markdown(say: Texts, saved: Saved) -> str:
    """With the pictures in it; those have to be PNG or JPEG."""
    parts = [f"# {say('page.title')}"]
    parts += [f"**{say('chat.system')}**", _quoted(saved.system)] if saved.system else []
    for turn in saved.turns:
        parts += [f"**{say('chat.you')}**", _quoted(turn.question), *_images(say, turn.files)]
        parts += [f"**{_escaped(_MARKS, saved.model)}**", _escaped(_LIVE, turn.answer), *_images(say, turn.drawn)]
        parts += [f"<sub>{_escaped(_MARKS, turn.line)}</sub>"] if turn.line else []
    return "\n\n".join(part for part in (*parts, _rest(saved)) if part) + "\n"


def _images(say: Texts, files: Sequence[bytes]) -> list[str]:
    return [f"![{say('chat.picture')}](data:{_media_type(data)};base64,{packed(data)})" for data in files]


def _media_type(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _quoted(text: str) -> str:
    return "\n".join(f"> {_escaped(_MARKS, line)}" for line in text.splitlines())


def _escaped(marks: re.Pattern[str], text: str) -> str:
    return marks.sub(lambda found: "\\" + found[0], text)


def _rest(saved: Saved) -> str:
    """The comment; what it may not hold stands in strings alone, where JSON has another spelling for it."""
    fields = fields_of(saved)
    for turn in fields["turns"]:
        turn.update({name: len(turn[name]) for name in _PICTURES})
    spelt = _FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(fields, ensure_ascii=False))
    return _START + spelt + _END


# --- in


def is_markdown(data: bytes) -> bool:
    """Whether a file begins as those do; editors may put a mark before it."""
    return data.removeprefix(BOM_UTF8).startswith(b"# ")


def from_markdown(data: bytes) -> Saved:
    """A file that `to_markdown` made; raises `InvalidInput` for any other."""
    text = data.decode("utf-8-sig", errors="replace")
    shown, start, rest = text.rstrip().rpartition(_START)
    if not start or not rest.endswith(_END):
        raise foreign("of another kind")
    fields = fields_in(rest.removesuffix(_END))
    turns = fields.get("turns") if isinstance(fields, dict) else None
    pictures = (found[1] for found in _PICTURE.finditer(shown))
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            turn.update({name: _next(pictures, turn.get(name)) for name in _PICTURES})
    return from_fields(fields)


def _next(pictures: Iterator[str], count: Any) -> list[str]:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_FILES:
        raise foreign("pictures")
    found = [picture for _, picture in zip(range(count), pictures)]
    if len(found) < count:
        raise foreign("pictures")
    return found
