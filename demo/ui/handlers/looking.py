"""The handlers of the two tabs that look at one picture: find a phrase in it, or describe it. No gradio, no look.

Owns which prompt is sent and the order of checks. The picture is named by the path of an upload.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

from demo.errors import ConfigError, InvalidInput
from demo.prompts import PromptSet
from demo.types import Message, Picture, Role
from demo.ui.context import UiContext
from demo.ui.handlers.answering import Answer, answering
from demo.ui.handlers.chat import checked_question
from demo.ui.handlers.sampling import Controls, sampling_of


def ground(
    context: UiContext, picture: str | None, phrase: str | None, controls: Controls = ()
) -> Generator[Answer, None, None]:
    """Find what the phrase names. Raises the family's errors."""
    prompts = _prompts_for(context, "grounding")
    wanted = checked_question(context, phrase, name="phrase")
    yield from _look(context, "grounding", picture, partial(prompts.where, wanted), controls, unnamed=wanted[:80])


def caption(
    context: UiContext, picture: str | None, style: str | None, controls: Controls = ()
) -> Generator[Answer, None, None]:
    """Describe the picture in one of the styles its model has a prompt for. Raises the family's errors."""
    prompts = _prompts_for(context, "captioning")
    prompts.ask_caption(style or "")  # an unknown style is refused before the picture is opened
    yield from _look(context, "captioning", picture, partial(prompts.caption_of, style or ""), controls)


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
