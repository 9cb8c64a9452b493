"""What a visitor wishes a caption to be like, checked; for one picture and for many. No gradio, no look.

Owns the limits of what may be wished for. Texts come from the page and may be anything.
"""

from __future__ import annotations

from demo.captioning.captioner import LENGTHS, Wishes
from demo.errors import ConfigError, InvalidInput
from demo.prompts import PromptSet
from demo.ui.context import UiContext
from demo.ui.handlers.chat import checked_question
from demo.ui.handlers.sampling import Controls, sampling_of


def caption_prompts(context: UiContext) -> PromptSet:
    if "captioning" not in context.prompts:
        raise ConfigError("No loaded model does captioning", remedy="Start with --model captioning=NAME.")
    return context.prompts["captioning"]


def wishes_of(
    context: UiContext,
    style: str | None,
    instruction: str | None = "",
    prefix: str | None = "",
    suffix: str | None = "",
    words: int | None = 0,
    controls: Controls = (),
) -> Wishes:
    """Raises the family's errors."""
    caption_prompts(context).ask_caption(style or "")  # an unknown style is refused
    if words and words not in LENGTHS:
        remedy = f"Choose one of: {', '.join(map(str, LENGTHS))}."
        raise InvalidInput("There is no such length", value=str(words)[:20], remedy=remedy)
    return Wishes(
        style or "",
        _text(context, instruction, "instruction").strip(),
        words or 0,
        _text(context, prefix, "prefix"),
        _text(context, suffix, "suffix"),
        sampling_of(*controls),
    )


def _text(context: UiContext, text: str | None, name: str) -> str:
    """Nothing, or a text that is fit for a question, with a blank at either end kept where one was typed."""
    if not text or not text.strip():
        return ""
    checked = checked_question(context, text, name=name)
    return " " * text[0].isspace() + checked + " " * text[-1].isspace()
