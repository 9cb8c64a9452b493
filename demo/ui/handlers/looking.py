"""The handlers of the two tabs that look at one picture: find phrases in it, say what is in a region of it, or describe
it. No gradio, no look.

Owns which prompt is sent, the order of checks and how the answers to several phrases become one. The picture is named
by the path of an upload, a region by its corners in pixels of the picture, upright.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from demo.captioning.captioner import Wishes
from demo.errors import ConfigError, DemoError, InvalidInput
from demo.grounding import dialects
from demo.grounding.draw import draw
from demo.grounding.geometry import clip, iou, ordered
from demo.grounding.highlight import plain
from demo.grounding.labels import shown
from demo.grounding.phrases import phrases_of
from demo.prompts import PromptSet
from demo.types import Box, Message, Picture, Region, Role, Size
from demo.ui.context import UiContext
from demo.ui.handlers.answering import Answer, Part, answering
from demo.ui.handlers.chat import checked_question
from demo.ui.handlers.sampling import Controls, sampling_of
from demo.ui.handlers.wishes import caption_prompts, wishes_of
from demo.ui.notes import STOPPED, Remark, note

MAX_PHRASES = 12  # of one run
MAX_NAME = 80  # characters of a label
SAME = 0.8  # overlap of a box in an answer with the one that was asked about, from which it only repeats it


def ground(
    context: UiContext, picture: str | None, phrase: str | None, controls: Controls = (), *, every: bool = False
) -> Generator[Answer, None, None]:
    """Find what the phrase names, or each of several phrases, one after the other. Raises the family's errors.

    ``every`` instance is asked for where the model's prompts tell that from one.
    """
    prompts = _prompts_for(context, "grounding")
    phrases = phrases_of(checked_question(context, phrase, name="phrase"))
    if len(phrases) > MAX_PHRASES:
        raise InvalidInput("Too many phrases at once", value=len(phrases), remedy=f"Ask for {MAX_PHRASES} at most.")
    opened = _opened(context, picture)
    questions = [(words, prompts.where(words, opened, every=every)) for words in phrases]
    yield from _found(context, opened, questions, controls)


def describe(
    context: UiContext,
    picture: str | None,
    corners: Sequence[object],
    question: str | None = None,
    controls: Controls = (),
) -> Generator[Answer, None, None]:
    """Say what is in a region, or answer a question about it. Raises the family's errors.

    The region is drawn from the first step on; once all is said, it is called what was said of it, unless that is that
    nothing is there.
    """
    prompts = _prompts_for(context, "grounding")
    asked = checked_question(context, question) if question and question.strip() else ""
    opened = _opened(context, picture)
    box = region_of(corners, opened.size)
    written = _written(context, box, opened.size)
    message = prompts.about(asked, written, opened) if asked else prompts.what(written, opened)
    drawn = _drawn(context, opened, [Region("", box, None, (0, 0))])
    with closing(answering(context, "grounding", (message,), sampling_of(*controls), draws=False)) as steps:
        for answer in steps:
            if answer.state in ("done", "stopped"):
                regions = _called(context, answer, box)
                drawn = _drawn(context, opened, regions) if regions else drawn
                answer = replace(answer, regions=regions)
            yield replace(answer, drawn=drawn, about=box)


def region_of(corners: Sequence[object], size: Size) -> Box:
    """The part of the picture between any two opposite corners, as they were typed or drawn."""
    numbers = [float(number) for number in corners if isinstance(number, int | float) and math.isfinite(number)]
    box = clip(ordered(*numbers), size) if len(numbers) == len(corners) == 4 else None
    if box is None or not box.area:
        remedy = "Drag a rectangle over the picture, or type two corners in pixels."
        raise InvalidInput("There is no region in the picture", remedy=remedy)
    return box


def caption(
    context: UiContext,
    picture: str | None,
    style: str | None,
    controls: Controls = (),
    *,
    instruction: str | None = "",
    prefix: str | None = "",
    suffix: str | None = "",
    words: int | None = 0,
) -> Generator[Answer, None, None]:
    """Describe the picture in one of the styles its model has a prompt for. Raises the family's errors."""
    prompts = caption_prompts(context)
    wishes = wishes_of(context, style, instruction, prefix, suffix, words)
    with closing(_look(context, "captioning", picture, partial(wishes.message, prompts), controls)) as answers:
        for answer in answers:
            yield _between(wishes, answer)


def stopped(context: UiContext, answer: Answer, picture: str) -> Answer:
    """What a run leaves that was stopped there: its words and the boxes found so far, drawn."""
    regions = _called(context, answer, answer.about) if answer.about else answer.regions
    drawn, remark = answer.drawn, STOPPED
    if regions:
        with suppress(DemoError):  # the picture may be gone by now
            drawn = _drawn(context, context.store.open(picture), regions)
    elif answer.parts:
        remark = (*STOPPED, note("ground.none_yet"))
    return replace(answer, state="stopped", regions=regions, drawn=drawn, remark=remark)


def _between(wishes: Wishes, answer: Answer) -> Answer:
    """The answer after the prefix and, once it is whole, before the suffix; boxes without words are left alone."""
    if not plain(answer.text, answer.regions).strip():
        return answer
    suffix = wishes.suffix if answer.state == "done" else ""
    moved = tuple(_moved(region, len(wishes.prefix)) for region in answer.regions)
    return replace(answer, text=wishes.prefix + answer.text + suffix, own=answer.text, regions=moved)


def _found(
    context: UiContext, picture: Picture, questions: Sequence[tuple[str, Message]], controls: Controls
) -> Generator[Answer, None, None]:
    """Ask one question after the other; what was found before stays, and is drawn after each."""
    sampling, begun_s = sampling_of(*controls), time.monotonic()
    parts: tuple[Part, ...] = ()
    drawn: str | None = None
    for number, (phrase, message) in enumerate(questions, 1):
        name = shown(phrase)[:MAX_NAME]
        with closing(answering(context, "grounding", (message,), sampling, unnamed=name, draws=False)) as steps:
            for answer in steps:
                is_done = answer.state in ("done", "stopped")
                regions = answer.regions if len(questions) == 1 else _renamed(answer.regions, name)
                part = Part(phrase, answer.text, regions, is_done)
                joined = _joined(answer, (*parts, part))
                if is_done and regions:
                    drawn = _drawn(context, picture, joined.regions)
                joined = replace(joined, drawn=drawn)
                yield joined if len(questions) == 1 else _of_several(joined, number, len(questions), begun_s)
        parts = joined.parts
        if joined.state == "stopped":
            return


def _of_several(answer: Answer, number: int, of: int, begun_s: float) -> Answer:
    """The state and remark of a run: it is done with its last question."""
    if answer.state not in ("done", "stopped"):
        remark: Remark = (*answer.remark, note("ground.nth", number=number, of=of))
        return replace(answer, remark=remark)
    found = sum(1 for part in answer.parts if part.regions)
    took = note("time.seconds", seconds=f"{time.monotonic() - begun_s:.1f}")
    cut = tuple(part for part in answer.remark if part.key.startswith("answer.cut"))
    remark = (note("ground.found", found=found, of=of), took, *cut)
    return replace(answer, state="answering" if answer.state == "done" and number < of else answer.state, remark=remark)


def _joined(answer: Answer, parts: tuple[Part, ...]) -> Answer:
    """All texts as one, a line each, with the regions where they are in it."""
    text, regions = "", []
    for part in parts:
        text += "\n" if text else ""
        regions += [_moved(region, len(text)) for region in part.regions]
        text += part.text
    return replace(answer, text=text, regions=tuple(regions), parts=parts)


def _moved(region: Region, by: int) -> Region:
    label_span = region.label_span and (region.label_span[0] + by, region.label_span[1] + by)
    return replace(region, label_span=label_span, box_span=(region.box_span[0] + by, region.box_span[1] + by))


def _renamed(regions: Iterable[Region], name: str) -> tuple[Region, ...]:
    """So that a phrase has a colour of its own, whatever word the model has for what it found."""
    return tuple(replace(region, label=name) for region in regions)


def _called(context: UiContext, answer: Answer, box: Box) -> tuple[Region, ...]:
    """The region by the name that its description is, unless the answer is about other boxes than that one.

    No region where the answer is that nothing is there: it is no thing's name.
    """
    if any(iou(region.box, box) < SAME for region in answer.regions):
        return answer.regions
    said = shown(plain(answer.text, answer.regions))
    if said == context.prompts["grounding"].nothing:
        return ()
    name = said[:MAX_NAME].rstrip(" .")
    end = len(answer.text)
    span = answer.regions[0].box_span if answer.regions else (end, end)
    return (Region(name, box, None, span, 0),) if name else ()


def _written(context: UiContext, box: Box, size: Size) -> str:
    """A box as the model's own prompts write it."""
    spec = context.specs["grounding"]
    if spec.dialect is None:
        raise ConfigError("This model does not answer questions about boxes")
    return dialects.get(spec.dialect).format(box, size, seen=spec.seen(size))


def _drawn(context: UiContext, picture: Picture, regions: Sequence[Region]) -> str:
    return context.store.save(draw(picture, regions))


def _look(
    context: UiContext,
    role: Role,
    picture: str | None,
    question: Callable[[Picture], Message],
    controls: Controls,
) -> Generator[Answer, None, None]:
    messages = (question(_opened(context, picture)),)
    yield from answering(context, role, messages, sampling_of(*controls))


def _opened(context: UiContext, picture: str | None) -> Picture:
    if not picture:
        raise InvalidInput("There is no picture", remedy="Add one first.")
    return context.store.open(picture)


def _prompts_for(context: UiContext, role: Role) -> PromptSet:
    if role not in context.prompts:
        raise ConfigError(f"No loaded model does {role}", remedy=f"Start with --model {role}=NAME.")
    return context.prompts[role]
