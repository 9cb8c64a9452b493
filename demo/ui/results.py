"""How an answer of the grounding and captioning tabs looks, and which of its boxes are shown. No gradio.

Owns the markup around the words, the files of a result, and what a pressed word or row stands for: ``w`` and the number
of a label's group, or ``r`` and the number of a row of the table.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from demo.grounding.draw import draw
from demo.grounding.palette import colour_of, groups_of
from demo.types import Region
from demo.ui import markup
from demo.ui.context import UiContext
from demo.ui.exports import Exports, exported, named_copy, parsed
from demo.ui.handlers.answering import Answer
from demo.ui.language import Texts
from demo.ui.notes import line_of
from demo.ui.reading import readable
from demo.ui.thinking import pending

_CHOICE = re.compile(r"([wr])(\d{1,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one visitor's tab shows: an answer so far, and the picture that it is about."""

    answer: Answer = field(default_factory=Answer)
    picture: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """An answer as markup, and its boxes as JSON."""

    line: str
    text: str
    table: str
    parsed: str


def view(say: Texts, answer: Answer, pick: str = "looking.pick") -> View:
    """``pick`` is the key of what pressing a row of the table does."""
    thinking = pending(say, answer.thought) if answer.state == "answering" else ""
    kind = "busy" if thinking else {"failed": "error", "waiting": "busy"}.get(answer.state, "remark")
    colours = colour_of(region.label for region in answer.regions)
    table, boxes = "", ""
    if answer.regions and answer.size:
        is_whole = not grows(answer)  # until then a button would be another one at each step
        title = say(pick) if is_whole else ""
        table = markup.regions_table(say, answer.regions, colours, answer.size, pick=title)
        boxes = parsed(answer.regions, answer.size) if is_whole else ""
    text = _parts(say, answer, colours) if answer.parts else _text(say, answer, colours)
    return View(markup.line(line_of(say, answer.remark) or thinking, kind), text, table, boxes)


def files(context: UiContext, answer: Answer, picture: str | None) -> Exports:
    """Those of an answer that grows no more."""
    if grows(answer) or answer.size is None or not picture:
        return Exports()
    return exported(context.store.folder, picture, answer.drawn, answer.regions, answer.size)


def chosen(context: UiContext, kept: Kept, choice: object) -> tuple[str | None, str | None]:
    """The picture with the chosen boxes alone, with all of them for no choice, and a copy of it to take away."""
    answer = kept.answer
    if not kept.picture or not answer.regions:
        return None, None
    drawn = answer.drawn
    regions = _chosen(answer, choice)
    if regions != list(answer.regions) or drawn is None:
        colours = colour_of(region.label for region in answer.regions)
        drawn = context.store.save(draw(context.store.open(kept.picture), regions, colours=colours))
    return drawn, named_copy(context.store.folder, drawn, kept.picture)


def _chosen(answer: Answer, choice: object) -> list[Region]:
    found = _CHOICE.fullmatch(choice) if isinstance(choice, str) else None
    number = int(found[2]) if found else -1
    if found and found[1] == "r":
        return list(answer.regions[number : number + 1]) or list(answer.regions)
    groups = groups_of(region.label for region in answer.regions)
    return [region for region in answer.regions if groups[region.label] == number] or list(answer.regions)


def grows(answer: Answer) -> bool:
    """And has no buttons and files yet."""
    return answer.state in ("waiting", "answering")


def _text(say: Texts, answer: Answer, colours: dict[str, str]) -> str:
    words = _words(say, answer, answer.text, answer.regions, colours)
    return f"<div class='answer'>{words}</div>" if words else ""


def _parts(say: Texts, answer: Answer, colours: dict[str, str]) -> str:
    """A line a phrase; one that was not found is named."""
    lines = []
    for part in answer.parts:
        words = _words(say, answer, part.text, part.regions, colours)
        if part.is_done and not part.regions:
            missing = html.escape(say("ground.missing", phrase=part.asked[:80]))
            words = f"{words} <strong class='empty'>{missing}</strong>"
        lines.append(f"<p>{words}</p>" if words else "")
    return f"<div class='answer'>{''.join(lines)}</div>" if any(lines) else ""


def _words(say: Texts, answer: Answer, text: str, regions: tuple[Region, ...], colours: dict[str, str]) -> str:
    pieces = readable(say, text, regions, answer.dialect, is_growing=answer.state != "done")
    groups = {} if grows(answer) else groups_of(region.label for region in answer.regions)
    return markup.answer_html(pieces, colours, groups)
