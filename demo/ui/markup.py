"""Text of users and models as markup that cannot do anything: escaped, with the words of regions coloured.

Owns all HTML that holds foreign text. Pure; knows nothing of gradio. ``html`` functions are for HTML components,
``markdown`` ones for the conversation, which is rendered as Markdown.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from demo.types import Region, Size
from demo.ui.language import Texts

# What means something to Markdown, LaTeX or autolinking, as entities only itself. No more than needed, because screen
# readers are given the source.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&$~|@]|:(?=//)|(?<=www)\.")
_FIRST = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)]))")  # a heading, list or rule at the beginning
_LIVE = re.compile(r"[\\\[\]<>&$@]|:(?=//)|(?<=www)\.")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")

_NONE: Mapping[str, int] = MappingProxyType({})

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


def answer_html(segments: Segments, colours: Mapping[str, str], groups: Mapping[str, int] = _NONE) -> str:
    """``groups`` are the numbers of the labels whose words are buttons; see `chosen` of the handlers."""
    return _coloured(segments, colours, lambda text: html.escape(text).replace("\n", "<br>"), groups)


def regions_table(
    say: Texts, regions: Sequence[Region], colours: Mapping[str, str], size: Size, *, pick: str = ""
) -> str:
    """The boxes in whole pixels of the picture, each with the colour it is drawn in; each a button where ``pick`` says
    what pressing it does."""
    rows = "".join(_row(say, region, colours, number, pick) for number, region in enumerate(regions))
    head = "".join(f"<th scope='col'>{name}</th>" for name in (say("boxes.what"), "x0", "y0", "x1", "y1"))
    caption = say("boxes.pixels", width=size.width, height=size.height)
    return (
        f"<table class='boxes'><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def caption_row(say: Texts, name: str, text: str, note: str, is_error: bool, preview: bytes) -> str:
    """A row of a table: a picture's name, its caption or the reason why there is none, a note and a small WebP."""
    source = f"data:image/webp;base64,{base64.b64encode(preview).decode()}"
    image = f"<img alt='' decoding='sync' src='{source}'>" if preview else ""  # at once: it comes again with each row
    words = html.escape(say.told(text) if is_error else text).replace("\n", "<br>")
    notes = "; ".join(say.told(part) for part in note.split("; "))
    remark = f"<p class='remark'>{html.escape(notes)}</p>" if note else ""
    told = f"<p class='name'>{html.escape(name)}</p><p class='{'failure' if is_error else 'words'}'>{words}</p>{remark}"
    return f"<tr><td>{image}</td><td>{told}</td></tr>"


def own_words(say: Texts, text: str) -> str:
    """What the model wrote, box syntax and all, for the conversation; closed until somebody wants it."""
    return f"<details><summary>{say('answer.own_words')}</summary><code>{verbatim_markdown(text)}</code></details>"


def line(text: str, kind: str) -> str:
    """One line of the page's own: ``kind`` is a class of the style sheet (remark, error, empty, busy)."""
    role = " role='alert'" if kind == "error" else ""
    return f"<p class='line {kind}'{role}>{html.escape(text)}</p>" if text else ""


def _row(say: Texts, region: Region, colours: Mapping[str, str], number: int, pick: str) -> str:
    corners = [str(round(value)) for value in (region.box.x0, region.box.y0, region.box.x1, region.box.y1)]
    cells = "".join(f"<td>{value}</td>" for value in corners)
    swatch = f"<span class='swatch' style='--thing:{_colour(colours, region.label)}'></span>"
    name = swatch + html.escape(region.label or say("boxes.unnamed"))
    if pick:
        box = ",".join(corners)
        name = (
            f"<button type='button' class='pick' data-only='r{number}' data-box='{box}' aria-pressed='false' "
            f"title='{html.escape(pick)}'>{name}</button>"
        )
    return f"<tr><th scope='row'>{name}</th>{cells}</tr>"


def _coloured(
    segments: Segments,
    colours: Mapping[str, str],
    escape: Callable[[str], str],
    groups: Mapping[str, int] = _NONE,
) -> str:
    return "".join(
        escape(text) if key is None else _thing(escape(text), _colour(colours, key), groups.get(key))
        for text, key in segments
    )


def _thing(words: str, colour: str, group: int | None) -> str:
    """Words that have a box; a button that shows only its boxes where it has a number."""
    if group is None:
        return f"<span class='thing' style='--thing:{colour}'>{words}</span>"
    return (
        f"<button type='button' class='thing' data-only='w{group}' aria-pressed='false' style='--thing:{colour}'>"
        f"{words}</button>"
    )


def _colour(colours: Mapping[str, str], label: str) -> str:
    colour = colours.get(label, "")
    return colour if _COLOUR.fullmatch(colour) else "#888888"
