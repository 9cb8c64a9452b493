"""What the grounding and captioning tabs have in common: a picture on one side, what was found in it on the other.

Owns the result's parts, and which of them triggers what. What the events of a run do is in
`demo.ui.tabs.looking_events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui.context import UiContext
from demo.ui.labels import label
from demo.ui.line import Line
from demo.ui.record import Record
from demo.ui.results import Kept
from demo.ui.tabs.looking_events import Ask, Events
from demo.ui.widgets import REACHABLE, answer_event, quick_event

# A word or row with a number is pressed, or pressed again: the browser knows which, the server draws what it shows.
_CHOOSING = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-only]');
  if (!button) return;
  const isOn = button.ariaPressed !== 'true';
  for (const one of element.closest('[role=tabpanel]').querySelectorAll('[data-only]'))
    one.ariaPressed = String(isOn && one.dataset.only === button.dataset.only);
  trigger('select', {only: isOn ? button.dataset.only : ''});
});
"""


@dataclass(frozen=True, slots=True)
class Result:
    """Where an answer is shown."""

    line: gr.HTML  # progress, speed or an error
    text: gr.HTML
    drawn: gr.Image
    table: gr.HTML
    raw: gr.Textbox
    parsed: gr.Textbox
    downloads: tuple[gr.DownloadButton, ...]  # as in `Exports`, or none
    kept: gr.State  # a `Record` of `Kept`
    number: gr.Number  # of the newest run

    @property
    def outputs(self) -> list[Any]:
        """In the order of `demo.ui.tabs.looking_events.Events`."""
        return [self.line, self.text, self.drawn, self.table, self.raw, self.parsed, self.kept, *self.downloads]


@dataclass(frozen=True, slots=True)
class Switch:
    """The buttons that start and the one that stops; either the former or the latter can be pressed."""

    run: gr.Button
    stop: gr.Button
    others: tuple[gr.Button, ...] = ()  # that start something else

    @property
    def outputs(self) -> list[gr.Button]:
        return [self.run, *self.others, self.stop]


def switch(name: Any, prefix: str, *, others: Sequence[tuple[Any, str]] = ()) -> Switch:
    """``others`` are further buttons that start, by their names and ids."""
    with gr.Row(elem_classes=["switch"]):
        run = gr.Button(name, variant="primary", elem_id=f"{prefix}-run", scale=3)
        further = [gr.Button(words, variant="primary", elem_id=name, scale=3) for words, name in others]
        stop = gr.Button(label("looking.stop"), interactive=False, elem_id=f"{prefix}-stop", scale=1)
    return Switch(run, stop, tuple(further))


def result_parts(prefix: str, hint: Any, *, is_staged: bool = False, has_downloads: bool = False) -> Result:
    """``hint`` is the label of what is said until there is an answer.

    With ``is_staged`` the picture comes first, in a place that is kept for it, and nothing moves while an answer grows.
    """
    words = f"<p class='line hint'>{hint}</p>"
    if is_staged:
        with gr.Column(elem_classes=["stage"]):
            gr.HTML(words, elem_id=f"{prefix}-hint")
            drawn = _drawn(prefix)
        line = gr.HTML(elem_id=f"{prefix}-line")
        text = gr.HTML(elem_id=f"{prefix}-text", js_on_load=_CHOOSING + REACHABLE)
        downloads = _downloads(prefix) if has_downloads else ()
        raw, parsed = _own_words(prefix)
        table = gr.HTML(elem_id=f"{prefix}-table", js_on_load=_CHOOSING)
    else:
        text = gr.HTML(words, elem_id=f"{prefix}-text", js_on_load=_CHOOSING + REACHABLE)
        line = gr.HTML(elem_id=f"{prefix}-line")
        drawn = _drawn(prefix)
        table = gr.HTML(elem_id=f"{prefix}-table", js_on_load=_CHOOSING)
        downloads = _downloads(prefix) if has_downloads else ()
        raw, parsed = _own_words(prefix)
    kept, number = gr.State(Record(Kept())), gr.Number(0, visible="hidden")
    return Result(line, text, drawn, table, raw, parsed, downloads, kept, number)


def _drawn(prefix: str) -> gr.Image:
    return gr.Image(
        label=label("looking.drawn"),
        show_label=False,  # it would cover what is in the picture's corner
        interactive=False,
        type="filepath",
        visible=False,
        buttons=["download", "fullscreen"],
        elem_id=f"{prefix}-drawn",
    )


def _own_words(prefix: str) -> tuple[gr.Textbox, gr.Textbox]:
    with gr.Accordion(label("answer.own_words"), open=False), gr.Row(elem_classes=["own"]):
        return (
            gr.Textbox(
                label=label("looking.raw"),
                interactive=False,
                lines=3,
                max_lines=12,
                buttons=["copy"],
                elem_id=f"{prefix}-raw",
            ),
            gr.Textbox(
                label=label("looking.parsed"),
                interactive=False,
                lines=3,
                max_lines=12,
                buttons=["copy"],
                elem_id=f"{prefix}-parsed",
            ),
        )


def _downloads(prefix: str) -> tuple[gr.DownloadButton, ...]:
    names = {name: label(f"looking.as.{name}") for name in ("drawn", "boxes", "coco", "yolo")}
    with gr.Row(elem_classes=["downloads"]):
        return tuple(
            gr.DownloadButton(words, size="sm", interactive=False, elem_id=f"{prefix}-as-{name}")
            for name, words in names.items()
        )


def wire(
    context: UiContext,
    line: Line,
    ask: Ask,
    *,
    triggers: list[Any],
    inputs: list[Any],  # picture, text, then the sampling controls
    result: Result,
    switch: Switch,
    also: Sequence[Any] = (),
    pick: str = "looking.pick",
) -> None:
    """``also`` are further inputs; ``pick`` is the key of what pressing a row of the table does.

    Run on any trigger, stop on the Stop button; both leave the buttons right whatever happened.
    """
    events = Events(context, line, ask, len(inputs), len(result.downloads), 1 + len(switch.others), pick)
    known, begun = [result.kept, result.number], [result.line, *switch.outputs, result.number]
    everything = [*result.outputs, *switch.outputs]
    started = gr.on(triggers, events.start, known, begun, **quick_event())
    # "multiple", as gradio would skip a run while it still waits to hear of the end of the one that was stopped
    asked = [result.kept, *inputs, *also]
    model = {**answer_event(context), "trigger_mode": "multiple"}
    running = started.success(events.answers, asked, everything, **model)
    running.failure(events.failed, known, everything, **quick_event())
    switch.stop.click(events.stop, result.kept, everything, cancels=[running], **quick_event())
    chosen = [result.drawn, *result.downloads[:1]]
    gr.on([result.text.select, result.table.select], events.choose, result.kept, chosen, **quick_event())
