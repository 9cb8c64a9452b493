"""The grounding tab: phrases in and boxes out, or a region in and words out; the boxes on a copy of the picture.

Owns the tab's parts. Which of the two tasks is chosen hides the other's parts by the style sheet; a region is drawn
over the picture by ``assets/grounding.js``, which keeps to the four numbers here.
"""

from __future__ import annotations

import html
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui.context import UiContext
from demo.ui.examples import Example, load_examples
from demo.ui.handlers import looking
from demo.ui.handlers.answering import Answer
from demo.ui.handlers.sampling import Controls
from demo.ui.labels import block, label
from demo.ui.language import Texts
from demo.ui.line import Line
from demo.ui.tabs.looking import Result, Switch, result_parts, switch, wire
from demo.ui.widgets import (
    SamplingControls,
    example_buttons,
    picture_input,
    quick_event,
    sampling_controls,
    unavailable,
)

CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class Asking:
    """The controls of the two tasks."""

    task: gr.Radio  # find | region
    phrase: gr.Textbox
    scope: gr.Radio  # one | all
    corners: tuple[gr.Number, ...]
    question: gr.Textbox


@dataclass(frozen=True, slots=True)
class GroundingTab:
    picture: gr.Image
    asking: Asking
    switch: Switch
    result: Result
    sampling: SamplingControls
    examples: list[gr.Button]


def build(context: UiContext, line: Line) -> GroundingTab | None:
    """None where no loaded model draws boxes; the tab then says so."""
    if unavailable(context, "grounding"):
        return None
    examples = load_examples("grounding")
    tab = _layout(context, examples)
    asking = tab.asking

    def ask(
        picture: str | None, phrase: str | None, controls: Controls, task: str, scope: str, question: str, *corners: Any
    ) -> Generator[Answer, None, None]:
        if task == "region":
            return looking.describe(context, picture, corners, question, controls)
        return looking.ground(context, picture, phrase, controls, every=scope == "all")

    wire(
        context,
        line,
        ask,
        triggers=[tab.switch.run.click, tab.switch.others[0].click, asking.phrase.submit, asking.question.submit],
        inputs=[tab.picture, asking.phrase, *tab.sampling.inputs],
        also=[asking.task, asking.scope, asking.question, *asking.corners],
        result=tab.result,
        switch=tab.switch,
        pick="ground.pick" if context.prompts["grounding"].describe_region else "looking.pick",
    )
    for button, example in zip(tab.examples, examples, strict=True):
        button.click(_filler(context, example), None, [tab.picture, asking.phrase, asking.task], **quick_event())
    return tab


def tip_html(say: Texts) -> str:
    """What to do next to mark a region; which of the three holds is known in the browser."""
    steps = "".join(f"<span class='{step}'>{html.escape(say(f'ground.mark.{step}'))}</span>" for step in _STEPS)
    return f"<p class='line remark tip' aria-live='polite'>{steps}</p>"


_STEPS = ("none", "half", "whole")


def _filler(context: UiContext, example: Example) -> Any:
    return lambda: [example.copied(context.store.folder), example.text, "find"]


def _layout(context: UiContext, examples: tuple[Example, ...]) -> GroundingTab:
    with gr.Row(elem_classes=["sides"], elem_id="grounding"):
        with gr.Column(min_width=300):
            picture = picture_input("ground-picture")
            asking = _asking(context)
            buttons = switch(label("ground.find"), "ground", others=[(label("ground.ask"), "ground-ask")])
            shown = example_buttons(examples)
            sampling = sampling_controls()
        with gr.Column(min_width=300):
            result = result_parts("ground", label("ground.hint"), is_staged=True, has_downloads=True)
    return GroundingTab(picture, asking, buttons, result, sampling, shown)


def _asking(context: UiContext) -> Asking:
    prompts = context.prompts["grounding"]
    can_ask = bool(prompts.describe_region)
    tasks = [(label("ground.task.find"), "find"), (label("ground.task.region"), "region")]
    task = gr.Radio(
        tasks,
        value="find",
        label=label("ground.task"),
        interactive=can_ask,
        container=False,
        elem_id="ground-task",
    )
    if not can_ask:
        gr.HTML(f"<p class='line remark'>{label('ground.no_region')}</p>")
    with gr.Column(elem_classes=["find"]):
        phrase = gr.Textbox(
            label=label("ground.phrase"),
            info=label("ground.several"),
            placeholder=label("ground.such"),
            max_lines=4,
            elem_id="ground-phrase",
        )
        scopes = [(label("ground.scope.one"), "one"), (label("ground.scope.all"), "all")]
        has_scopes = bool(prompts.ground_all)
        scope = gr.Radio(scopes, value="one", label=label("ground.scope"), visible=has_scopes, elem_id="ground-scope")
    with gr.Column(elem_classes=["region"]):
        gr.HTML(block("tip"), elem_id="ground-tip")
        with gr.Row(elem_classes=["corners"]):
            corners = tuple(
                gr.Number(0, label=name, precision=0, min_width=60, elem_id=f"ground-{name}") for name in CORNERS
            )
        question = gr.Textbox(
            label=label("ground.question"),
            placeholder=label("ground.describe"),
            max_lines=4,
            visible=bool(prompts.ask_region),
            elem_id="ground-question",
        )
    return Asking(task, phrase, scope, corners, question)
