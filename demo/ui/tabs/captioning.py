"""The captioning tab: one picture in, a caption in the chosen style out, with boxes where the style has them; and below
it many pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from demo.ui.context import UiContext, Waiting
from demo.ui.examples import Example, load_examples
from demo.ui.handlers import looking
from demo.ui.tabs import batch
from demo.ui.tabs.batch import BatchPart
from demo.ui.tabs.looking import Result, Switch, result_parts, switch, wire
from demo.ui.widgets import (
    SamplingControls,
    example_buttons,
    picture_input,
    quick_event,
    sampling_controls,
    unavailable,
)

_LABELS = {"short": "Short", "detailed": "Detailed", "grounded": "With boxes"}


@dataclass(frozen=True, slots=True)
class CaptioningTab:
    picture: gr.Image
    style: gr.Radio
    switch: Switch
    result: Result
    sampling: SamplingControls
    examples: list[gr.Button]
    batch: BatchPart


def build(context: UiContext, waiting: Waiting) -> CaptioningTab | None:
    """None where no loaded model captions; the tab then says so."""
    if unavailable(context, "captioning"):
        return None
    examples = load_examples("captioning")
    tab = _layout(context, waiting, examples)
    wire(
        context,
        waiting,
        partial(looking.caption, context),
        triggers=[tab.switch.run.click],
        inputs=[tab.picture, tab.style, *tab.sampling.inputs],
        result=tab.result,
        switch=tab.switch,
        nothing_found="",
    )
    for button, example in zip(tab.examples, examples, strict=True):
        button.click(_filler(context, example), None, [tab.picture, tab.style], **quick_event())
    return tab


def styles(context: UiContext) -> list[str]:
    """The caption styles the loaded model has a prompt for, shortest first."""
    known = context.prompts["captioning"].caption
    return [style for style in _LABELS if style in known] + [style for style in known if style not in _LABELS]


def _filler(context: UiContext, example: Example) -> Any:
    return lambda: [example.copied(context.store.folder), example.text]


def _layout(context: UiContext, waiting: Waiting, examples: tuple[Example, ...]) -> CaptioningTab:
    choices = [(_LABELS.get(style, style), style) for style in styles(context)]
    with gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            picture = picture_input("caption-picture")
            style = gr.Radio(choices, value=choices[0][1], label="Style", elem_id="caption-style")
            buttons = switch("Describe it", "caption")
        with gr.Column(min_width=300):
            result = result_parts("caption", "The caption is written here.")
    shown = example_buttons(examples, _LABELS)
    sampling = sampling_controls()
    many = batch.build(context, waiting, choices, sampling)
    return CaptioningTab(picture, style, buttons, result, sampling, shown, many)
