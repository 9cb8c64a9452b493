"""The handlers of the two tabs that look at one picture: find a phrase in it, or describe it. No gradio, no look.

Owns which prompt is sent and the order of checks. The picture is named by the path of an upload.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial

from demo.captioning.captioner import Wishes
from demo.errors import ConfigError, InvalidInput
from demo.grounding.highlight import plain
from demo.prompts import PromptSet
from demo.types import Message, Picture, Region, Role
from demo.ui.context import UiContext
from demo.ui.handlers.answering import Answer, answering
from demo.ui.handlers.chat import checked_question
from demo.ui.handlers.sampling import Controls, sampling_of
from demo.ui.handlers.wishes import caption_prompts, wishes_of


def ground(
    context: UiContext, picture: str | None, phrase: str | None, controls: Controls = ()
) -> Generator[Answer, None, None]:
    """Find what the phrase names. Raises the family's errors."""
    prompts = _prompts_for(context, "grounding")
    wanted = checked_question(context, phrase, name="phrase")
    yield from _look(context, "grounding", picture, partial(prompts.where, wanted), controls, unnamed=wanted[:80])


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


def _between(wishes: Wishes, answer: Answer) -> Answer:
    """The answer after the prefix and, once it is whole, before the suffix; boxes without words are left alone."""
    if not plain(answer.text, answer.regions).strip():
        return answer
    suffix = wishes.suffix if answer.state == "done" else ""
    moved = tuple(_moved(region, len(wishes.prefix)) for region in answer.regions)
    return replace(answer, text=wishes.prefix + answer.text + suffix, regions=moved)


def _moved(region: Region, by: int) -> Region:
    """The same region in a text that has so many characters more before it."""
    (begin, end), words = region.box_span, region.label_span
    label_span = None if words is None else (words[0] + by, words[1] + by)
    return replace(region, label_span=label_span, box_span=(begin + by, end + by))


def _look(
    context: UiContext,
    role: Role,
    picture: str | None,
    question: Callable[[Picture], Message],
    controls: Controls,
    *,
    unnamed: str = "",
) -> Generator[Answer, None, None]:
    messages = (question(_opened(context, picture)),)
    yield from answering(context, role, messages, sampling_of(*controls), unnamed=unnamed)


def _opened(context: UiContext, picture: str | None) -> Picture:
    if not picture:
        raise InvalidInput("There is no picture", remedy="Add one first.")
    return context.store.open(picture)


def _prompts_for(context: UiContext, role: Role) -> PromptSet:
    if role not in context.prompts:
        raise ConfigError(f"No loaded model does {role}", remedy=f"Start with --model {role}=NAME.")
    return context.prompts[role]
