"""What the grounding and captioning tabs have in common: a picture on one side, what was found in it on the other.

Owns the result's parts and the events of a run. What is asked is decided in `demo.ui.handlers.looking`, how an answer
looks in `demo.ui.results`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.ui import markup, results
from demo.ui.context import UiContext, Waiting
from demo.ui.exports import Exports
from demo.ui.handlers.answering import Answer, shown
from demo.ui.labels import label
from demo.ui.language import Texts
from demo.ui.notes import line_of
from demo.ui.results import Kept
from demo.ui.stops import Stops
from demo.ui.widgets import answer_event, not_taken, quick_event

# from a picture's path, a text, the sampling controls and what else a tab asks for to the steps of an answer
Ask = Callable[..., Generator[Answer, None, None]]

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
    kept: gr.State

    @property
    def outputs(self) -> list[Any]:
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
        text = gr.HTML(elem_id=f"{prefix}-text", js_on_load=_CHOOSING)
        downloads = _downloads(prefix) if has_downloads else ()
        raw, parsed = _own_words(prefix)
        table = gr.HTML(elem_id=f"{prefix}-table", js_on_load=_CHOOSING)
    else:
        text = gr.HTML(words, elem_id=f"{prefix}-text", js_on_load=_CHOOSING)
        line = gr.HTML(elem_id=f"{prefix}-line")
        drawn = _drawn(prefix)
        table = gr.HTML(elem_id=f"{prefix}-table", js_on_load=_CHOOSING)
        downloads = _downloads(prefix) if has_downloads else ()
        raw, parsed = _own_words(prefix)
    return Result(line, text, drawn, table, raw, parsed, downloads, gr.State(Kept()))


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
    waiting: Waiting,
    ask: Ask,
    *,
    triggers: list[Any],
    inputs: list[Any],  # picture, text, then the sampling controls
    result: Result,
    switch: Switch,
    nothing_found: str,
    also: Sequence[Any] = (),
    pick: str = "looking.pick",
) -> None:
    """``nothing_found`` is the key of what is said of an answer without a box, or empty; ``also`` are further inputs;
    ``pick`` is the key of what pressing a row of the table does.

    Run on any trigger, stop on the Stop button; both leave the buttons right whatever happened.
    """
    stops = gr.State(Stops())
    buttons = [result.line, *switch.outputs]
    num_inputs = len(inputs)

    def start(request: gr.Request, stops: Stops) -> list[Any]:
        stops.asked()
        return [markup.line(line_of(context.languages.of(request), Answer().remark), "busy"), *pressed(True)]

    def answers(
        request: gr.Request, stops: Stops, picture: str | None, text: str | None, *values: Any
    ) -> Generator[list[Any], None, None]:
        say = context.languages.of(request)
        controls, further = values[: num_inputs - 2], values[num_inputs - 2 :]
        with closing(shown(ask(picture, text, controls, *further))) as steps, stops.run() as run:
            for answer in steps if run.may_begin else ():
                if not run.is_current:
                    break
                is_open = answer.state in ("waiting", "answering")
                yield [*_values(context, say, answer, picture, result, nothing_found, pick), *pressed(is_open)]
            if run.was_stopped:  # what was on its way then may have come after the stop's own
                line, *after = stopped(say)
                yield [line, *[gr.skip()] * (len(result.outputs) - 1), *after]

    def stop(request: gr.Request, stops: Stops) -> list[Any]:
        stops.stopped()
        return stopped(context.languages.of(request))

    def failed(request: gr.Request, stops: Stops) -> list[Any]:
        say = context.languages.of(request)
        if stops.takes_report():
            return [gr.skip()] * len(buttons) if stops.is_open else stopped(say)
        return [markup.line(not_taken(say, context, waiting()), "error"), *pressed(False)]

    def stopped(say: Texts) -> list[Any]:
        return [markup.line(say("answer.stopped"), "remark"), *pressed(False)]

    def pressed(is_running: bool) -> list[Any]:
        starts = [gr.update(interactive=not is_running)] * (1 + len(switch.others))
        return [*starts, gr.update(interactive=is_running)]

    started = gr.on(triggers, start, stops, buttons, **quick_event())
    model = answer_event(context)
    # "multiple", as gradio would skip a run while it still waits to hear of the end of the one that was stopped
    running = started.success(
        answers, [stops, *inputs, *also], [*result.outputs, *switch.outputs], trigger_mode="multiple", **model
    )
    running.failure(failed, stops, buttons, **quick_event())
    switch.stop.click(stop, stops, buttons, cancels=[running], **quick_event())
    _wire_choice(context, result)


def _wire_choice(context: UiContext, result: Result) -> None:
    """A word or row that is pressed shows its boxes alone."""
    outputs = [result.drawn, *result.downloads[:1]]

    def choose(kept: Kept, event: gr.EventData) -> list[Any]:
        drawn, copy = results.chosen(context, kept, getattr(event, "only", ""))
        return [drawn or gr.skip(), gr.skip() if copy is None else copy][: len(outputs)]

    gr.on([result.text.select, result.table.select], choose, result.kept, outputs, **quick_event())


def _values(
    context: UiContext, say: Texts, answer: Answer, picture: str | None, result: Result, nothing_found: str, pick: str
) -> list[Any]:
    """For `Result.outputs`."""
    view = results.view(say, answer, nothing_found, pick)
    drawn = gr.update(value=answer.drawn, visible=answer.drawn is not None)
    exports = results.files(context, answer, picture) if result.downloads else Exports()
    downloads = [gr.update(value=file, interactive=file is not None) for file in exports.files[: len(result.downloads)]]
    return [view.line, view.text, drawn, view.table, answer.text, view.parsed, Kept(answer, picture or ""), *downloads]
