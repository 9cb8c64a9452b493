"""Text of users and models as markup that cannot do anything: escaped, with the words of regions coloured.

Owns all HTML that holds foreign text. Pure; knows nothing of gradio. ``html`` functions are for HTML components,
``markdown`` ones for the conversation, which is rendered as Markdown.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence

from demo.types import Region, Size
from demo.ui.language import Texts

# What means something to Markdown, LaTeX or autolinking, as entities only itself. No more than needed, because screen
# readers are given the source.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&$~|@]|:(?=//)|(?<=www)\.")
_FIRST = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)]))")  # a heading, list or rule at the beginning
_LIVE = re.compile(r"[\\\[\]<>&$@]|:(?=//)|(?<=www)\.")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")

Segments = Sequence[tuple[str, str | None]]  # pieces of an answer and the label they name, if any


def verbatim_markdown(text: str) -> str:
    """Exactly these characters, whatever they would mean."""
    escaped = _SPECIAL.sub(lambda match: _entities(match[0]), text.strip())
    escaped = _FIRST.sub(lambda match: match[1] + _entities(match[2]), escaped)
    return escaped.replace("\n", "<br>")


def formatted_markdown(text: str) -> str:
    """A model's text: emphasis, lists and headings work; HTML, links, pictures and formulas are only characters."""
    return _LIVE.sub(lambda match: _entities(match[0]), text)


def _entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def answer_markdown(segments: Segments, colours: Mapping[str, str]) -> str:
    return _coloured(segments, colours, formatted_markdown)


def answer_html(segments: Segments, colours: Mapping[str, str]) -> str:
    return _coloured(segments, colours, lambda text: html.escape(text).replace("\n", "<br>"))


def regions_table(say: Texts, regions: Sequence[Region], colours: Mapping[str, str], size: Size) -> str:
    """The boxes in whole pixels of the picture, each with the colour it is drawn in."""
    rows = "".join(_row(say, region, colours) for region in regions)
    head = "".join(f"<th scope='col'>{name}</th>" for name in (say("boxes.what"), "x0", "y0", "x1", "y1"))
    caption = say("boxes.pixels", width=size.width, height=size.height)
    return (
        f"<table class='boxes'><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def captions_table(say: Texts, rows: Sequence[tuple[str, str, str, bool, bytes]], num_more: int) -> str:
    """Names, captions or reasons, notes, whether it is a reason, and small JPEGs, the newest first."""
    if not rows:
        return ""
    body = "".join(_caption_row(*row) for row in rows)
    more = f"<caption>{say('captions.more', count=f'{num_more:,}')}</caption>" if num_more else ""
    return f"<table class='captions'>{more}<tbody>{body}</tbody></table>"


def _caption_row(name: str, text: str, note: str, is_error: bool, preview: bytes) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(preview).decode()}"
    image = f"<img alt='' src='{source}'>" if preview else ""
    words = f"<p class='{'failure' if is_error else 'words'}'>{html.escape(text)}</p>"
    remark = f"<p class='remark'>{html.escape(note)}</p>" if note else ""
    return f"<tr><td>{image}</td><td><p class='name'>{html.escape(name)}</p>{words}{remark}</td></tr>"


def own_words(say: Texts, text: str) -> str:
    """What the model wrote, box syntax and all, for the conversation; closed until somebody wants it."""
    return f"<details><summary>{say('answer.own_words')}</summary><code>{verbatim_markdown(text)}</code></details>"


def line(text: str, kind: str) -> str:
    """One line of the page's own: ``kind`` is a class of the style sheet (remark, error, empty, busy)."""
    role = " role='alert'" if kind == "error" else ""
    return f"<p class='line {kind}'{role}>{html.escape(text)}</p>" if text else ""


def _row(say: Texts, region: Region, colours: Mapping[str, str]) -> str:
    box = region.box
    cells = "".join(f"<td>{round(value)}</td>" for value in (box.x0, box.y0, box.x1, box.y1))
    swatch = f"<span class='swatch' style='--thing:{_colour(colours, region.label)}'></span>"
    return f"<tr><th scope='row'>{swatch}{html.escape(region.label or say('boxes.unnamed'))}</th>{cells}</tr>"


def _coloured(segments: Segments, colours: Mapping[str, str], escape: Callable[[str], str]) -> str:
    return "".join(
        escape(text)
        if key is None
        else f"<span class='thing' style='--thing:{_colour(colours, key)}'>{escape(text)}</span>"
        for text, key in segments
    )


def _colour(colours: Mapping[str, str], label: str) -> str:
    colour = colours.get(label, "")
    return colour if _COLOUR.fullmatch(colour) else "#888888"
