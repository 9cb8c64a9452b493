"""What the grounding and captioning tabs have in common: a picture on one side, what was found in it on the other.

Owns the result's parts and how an `Answer` is shown in them. What is asked is decided in `demo.ui.handlers.looking`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.grounding.palette import colour_of
from demo.ui import markup
from demo.ui.context import UiContext, Waiting
from demo.ui.handlers.answering import Answer, shown
from demo.ui.handlers.sampling import Controls
from demo.ui.language import load_languages
from demo.ui.notes import line_of
from demo.ui.reading import readable
from demo.ui.stops import Stops
from demo.ui.thinking import pending
from demo.ui.widgets import model_event, not_taken, quick_event

_SAY = load_languages().english  # until this tab speaks both languages

# from a picture's path, a text and the sampling controls to the steps of an answer
Ask = Callable[[str | None, str | None, Controls], Generator[Answer, None, None]]


@dataclass(frozen=True, slots=True)
class Result:
    """Where an answer is shown."""

    line: gr.HTML  # progress, speed or an error
    text: gr.HTML
    drawn: gr.Image
    table: gr.HTML
    raw: gr.Textbox

    @property
    def outputs(self) -> list[Any]:
        return [self.line, self.text, self.drawn, self.table, self.raw]


@dataclass(frozen=True, slots=True)
class Switch:
    """The button that starts and the one that stops; exactly one of them can be pressed."""

    run: gr.Button
    stop: gr.Button

    @property
    def outputs(self) -> list[gr.Button]:
        return [self.run, self.stop]


def switch(name: str, prefix: str) -> Switch:
    with gr.Row(elem_classes=["switch"]):
        return Switch(
            gr.Button(name, variant="primary", elem_id=f"{prefix}-run", scale=3),
            gr.Button("Stop", interactive=False, elem_id=f"{prefix}-stop", scale=1),
        )


def result_parts(prefix: str, hint: str) -> Result:
    text = gr.HTML(f"<p class='line hint'>{hint}</p>", elem_id=f"{prefix}-text")
    line = gr.HTML(elem_id=f"{prefix}-line")
    drawn = gr.Image(
        label="Boxes, drawn on a copy",
        show_label=False,  # it would cover what is in the picture's corner
        interactive=False,
        type="filepath",
        visible=False,
        buttons=["download", "fullscreen"],
        elem_id=f"{prefix}-drawn",
    )
    table = gr.HTML(elem_id=f"{prefix}-table")
    with gr.Accordion("The model's own words", open=False):
        raw = gr.Textbox(show_label=False, interactive=False, lines=3, buttons=["copy"], elem_id=f"{prefix}-raw")
    return Result(line, text, drawn, table, raw)


def wire(
    context: UiContext,
    waiting: Waiting,
    ask: Ask,
    *,
    triggers: list[Any],
    inputs: list[Any],  # picture, text, then the sampling controls
    result: Result,
    switch: Switch,
    nothing_found: str,
) -> None:
    """Run on any trigger, stop on the Stop button; both leave the buttons right whatever happened."""
    stops = gr.State(Stops())
    buttons = [result.line, *switch.outputs]

    def start(stops: Stops) -> list[Any]:
        stops.asked()
        return [markup.line(line_of(_SAY, Answer().remark), "busy"), *_pressed(True)]

    def answers(
        stops: Stops, picture: str | None, text: str | None, *controls: Any
    ) -> Generator[list[Any], None, None]:
        with closing(shown(ask(picture, text, controls))) as steps, stops.run() as run:
            for answer in steps if run.may_begin else ():
                if not run.is_current:
                    break
                yield [*_parts(answer, nothing_found), *_pressed(answer.state in ("waiting", "answering"))]
            if run.was_stopped:  # what was on its way then may have come after the stop's own
                line, *pressed = _stopped()
                yield [line, *[gr.skip()] * 4, *pressed]

    def stop(stops: Stops) -> list[Any]:
        stops.stopped()
        return _stopped()

    def failed(stops: Stops) -> list[Any]:
        if stops.takes_report():
            return [gr.skip()] * len(buttons) if stops.is_open else _stopped()
        return [markup.line(not_taken(_SAY, context, waiting()), "error"), *_pressed(False)]

    started = gr.on(triggers, start, stops, buttons, **quick_event())
    model = {**model_event(context), "api_visibility": "private", "show_progress": "hidden"}
    # "multiple", as gradio would skip a run while it still waits to hear of the end of the one that was stopped
    running = started.success(
        answers, [stops, *inputs], [*result.outputs, *switch.outputs], trigger_mode="multiple", **model
    )
    running.failure(failed, stops, buttons, **quick_event())
    switch.stop.click(stop, stops, buttons, cancels=[running], **quick_event())


def _stopped() -> list[Any]:
    return [markup.line("Stopped.", "remark"), *_pressed(False)]


def _pressed(is_running: bool) -> list[Any]:
    return [gr.update(interactive=not is_running), gr.update(interactive=is_running)]


def _parts(answer: Answer, nothing_found: str) -> list[Any]:
    """Values for `Result.outputs`."""
    thinking = pending(_SAY, answer.thought) if answer.state == "answering" else ""
    kind = "busy" if thinking else {"failed": "error", "waiting": "busy"}.get(answer.state, "remark")
    colours = colour_of(region.label for region in answer.regions)
    table = markup.regions_table(_SAY, answer.regions, colours, answer.size) if answer.regions and answer.size else ""
    text = _text(answer, colours)
    if answer.state == "done" and not answer.regions and nothing_found:
        text += markup.line(nothing_found, "empty")
    drawn = gr.update(value=answer.drawn, visible=answer.drawn is not None)
    return [markup.line(line_of(_SAY, answer.remark) or thinking, kind), text, drawn, table, answer.text]


def _text(answer: Answer, colours: dict[str, str]) -> str:
    pieces = readable(_SAY, answer.text, answer.regions, answer.dialect, is_growing=answer.state == "answering")
    return f"<div class='answer'>{markup.answer_html(pieces, colours)}</div>" if pieces else ""
