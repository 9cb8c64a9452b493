"""What a caption is to be like, as a form: for one picture and for many. Layout only.

Owns the order of the fields. Where the loaded model knows fixed questions only, this is said and the fields that it
would not heed cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.captioning.captioner import LENGTHS, follows_wishes
from demo.ui.context import UiContext
from demo.ui.labels import label

STYLES = ("short", "detailed", "grounded")


@dataclass(frozen=True, slots=True)
class WishesPart:
    style: gr.Radio
    instruction: gr.Textbox
    prefix: gr.Textbox
    suffix: gr.Textbox
    words: gr.Radio

    @property
    def inputs(self) -> list[Any]:
        """In the order of `wishes_of`."""
        return [self.style, self.instruction, self.prefix, self.suffix, self.words]


def styles(context: UiContext) -> list[str]:
    """The caption styles the loaded model has a prompt for, shortest first."""
    known = context.prompts["captioning"].caption
    return [style for style in STYLES if style in known] + [style for style in known if style not in STYLES]


def style_names(styles: Sequence[str]) -> dict[str, Any]:
    """What each style is called; those of a prompt set of one's own keep their names."""
    return {style: label(f"caption.{style}") if style in STYLES else style for style in styles}


def wishes_part(context: UiContext, prefix: str, *, is_folded: bool) -> WishesPart:
    """The style stands first; ``is_folded`` closes what few need."""
    names = style_names(styles(context))
    choices = [(name, style) for style, name in names.items()]
    style = gr.Radio(choices, value=choices[0][1], label=label("caption.style"), elem_id=f"{prefix}-style")
    more = gr.Accordion(label("caption.more"), open=False, elem_id=f"{prefix}-more") if is_folded else nullcontext()
    with more:
        return _rest(style, is_heeded=follows_wishes(context.specs["captioning"], context.prompts["captioning"]))


def _rest(style: gr.Radio, *, is_heeded: bool) -> WishesPart:
    if not is_heeded:
        gr.HTML(f"<p class='line remark'>{label('caption.fixed')}</p>")
    lengths = [(label("caption.any_length"), 0), *((str(count), count) for count in LENGTHS)]
    words = gr.Radio(lengths, value=0, label=label("caption.words"), interactive=is_heeded)
    instruction = gr.Textbox(
        label=label("caption.instruction"),
        placeholder=label("caption.instruction_example"),
        max_lines=4,
        interactive=is_heeded,
    )
    with gr.Row():
        prefix = gr.Textbox(
            label=label("caption.prefix"), placeholder=label("caption.prefix_example"), max_lines=1, min_width=120
        )
        suffix = gr.Textbox(label=label("caption.suffix"), max_lines=1, min_width=120)
    return WishesPart(style, instruction, prefix, suffix, words)
