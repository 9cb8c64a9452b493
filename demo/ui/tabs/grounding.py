"""The grounding tab: a picture and a phrase in, boxes on a copy of the picture and a table of pixels out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from demo.ui.context import UiContext, Waiting
from demo.ui.examples import Example, load_examples
from demo.ui.handlers import looking
from demo.ui.tabs.looking import Result, Switch, result_parts, switch, wire
from demo.ui.widgets import (
    SamplingControls,
    example_buttons,
    picture_input,
    quick_event,
    sampling_controls,
    unavailable,
)


@dataclass(frozen=True, slots=True)
class GroundingTab:
    picture: gr.Image
    phrase: gr.Textbox
    switch: Switch
    result: Result
    sampling: SamplingControls
    examples: list[gr.Button]


def build(context: UiContext, waiting: Waiting) -> GroundingTab | None:
    """None where no loaded model draws boxes; the tab then says so."""
    if unavailable(context, "grounding"):
        return None
    examples = load_examples("grounding")
    tab = _layout(examples)
    wire(
        context,
        waiting,
        partial(looking.ground, context),
        triggers=[tab.switch.run.click, tab.phrase.submit],
        inputs=[tab.picture, tab.phrase, *tab.sampling.inputs],
        result=tab.result,
        switch=tab.switch,
        nothing_found="Nothing was found: the answer holds no box.",
    )
    for button, example in zip(tab.examples, examples, strict=True):
        button.click(_filler(context, example), None, [tab.picture, tab.phrase], **quick_event())
    return tab


def _filler(context: UiContext, example: Example) -> Any:
    return lambda: [example.copied(context.store.folder), example.text]


def _layout(examples: tuple[Example, ...]) -> GroundingTab:
    with gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            picture = picture_input("ground-picture")
            phrase = gr.Textbox(
                label="What to look for", placeholder="the dog on the left", max_lines=3, elem_id="ground-phrase"
            )
            buttons = switch("Find it", "ground")
        with gr.Column(min_width=300):
            result = result_parts("ground", "The place of what you name is shown here.")
    shown = example_buttons(examples)
    sampling = sampling_controls()
    return GroundingTab(picture, phrase, buttons, result, sampling, shown)
