"""The captioning tab: one picture in, a caption in the chosen style out, with boxes where the style has them; and below
it many pictures."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui.context import UiContext
from demo.ui.examples import Example, load_examples
from demo.ui.handlers import looking
from demo.ui.handlers.answering import Answer
from demo.ui.handlers.sampling import Controls
from demo.ui.labels import label
from demo.ui.line import Line
from demo.ui.tabs import batch_wiring
from demo.ui.tabs.batch import BatchPart
from demo.ui.tabs.batch_events import Events
from demo.ui.tabs.looking import Result, Switch, result_parts, switch, wire
from demo.ui.tabs.wishes import WishesPart, style_names, styles, wishes_part
from demo.ui.widgets import (
    SamplingControls,
    example_buttons,
    picture_input,
    quick_event,
    sampling_controls,
    unavailable,
)

__all__ = ["CaptioningTab", "build", "styles"]


@dataclass(frozen=True, slots=True)
class CaptioningTab:
    picture: gr.Image
    wishes: WishesPart
    switch: Switch
    result: Result
    sampling: SamplingControls
    examples: list[gr.Button]
    batch: BatchPart
    batch_events: Events


def build(context: UiContext, line: Line) -> CaptioningTab | None:
    """None where no loaded model captions; the tab then says so."""
    if unavailable(context, "captioning"):
        return None
    examples = load_examples("captioning")
    tab = _layout(context, line, examples)

    def ask(picture: str | None, style: str | None, given: Controls) -> Generator[Answer, None, None]:
        instruction, prefix, suffix, words, *controls = given
        wished = {"instruction": instruction, "prefix": prefix, "suffix": suffix, "words": words}
        return looking.caption(context, picture, style, controls, **wished)

    wire(
        context,
        line,
        ask,
        triggers=[tab.switch.run.click],
        inputs=[tab.picture, *tab.wishes.inputs, *tab.sampling.inputs],
        result=tab.result,
        switch=tab.switch,
    )
    for button, example in zip(tab.examples, examples, strict=True):
        button.click(_filler(context, example), None, [tab.picture, tab.wishes.style], **quick_event())
    return tab


def _filler(context: UiContext, example: Example) -> Any:
    return lambda: [example.copied(context.store.folder), example.text]


def _layout(context: UiContext, line: Line, examples: tuple[Example, ...]) -> CaptioningTab:
    with gr.Row(elem_classes=["sides"], elem_id="captioning"):
        with gr.Column(min_width=300):
            picture = picture_input("caption-picture")
            wishes = wishes_part(context, "caption", is_folded=True)
            buttons = switch(label("caption.run"), "caption")
            shown = example_buttons(examples, style_names(styles(context)))
            sampling = sampling_controls()
        with gr.Column(min_width=300):
            result = result_parts("caption", label("caption.hint"))
    many = batch_wiring.build(context, line, sampling)
    return CaptioningTab(picture, wishes, buttons, result, sampling, shown, *many)
