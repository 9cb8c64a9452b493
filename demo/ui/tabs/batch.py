"""The captioning tab's second part: many pictures. Layout and events.

What happens to a job is decided in `demo.ui.handlers.batch`, how it is shown in `demo.ui.jobs`. Whether its captions
are a table or a gallery is only a matter of the style sheet.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.captioning.export import formats
from demo.errors import DemoError
from demo.ui import jobs
from demo.ui.context import UiContext, Waiting
from demo.ui.handlers import batch as handlers
from demo.ui.handlers.batch import Batch
from demo.ui.labels import label
from demo.ui.language import Texts
from demo.ui.notes import told
from demo.ui.tabs.wishes import WishesPart, wishes_part
from demo.ui.widgets import SamplingControls, answer_event, guarded, not_taken, quick_event

STATE_S = 6 * 3600
# What scrolls can be reached by the keyboard.
_REACHABLE = "element.closest('.block').tabIndex = 0"


@dataclass(frozen=True, slots=True)
class BatchPart:
    files: gr.File
    wishes: WishesPart
    start: gr.Button
    pause: gr.Button
    stop: gr.Button
    line: gr.HTML
    table: gr.HTML
    format: gr.Dropdown
    download: gr.DownloadButton
    batch: gr.State
    turn: gr.Number  # counts the turns: its change asks for the next one

    @property
    def outputs(self) -> list[Any]:
        """What tells of the job, then the buttons."""
        return [self.line, self.table, self.download, self.start, self.pause, self.stop]


def build(context: UiContext, waiting: Waiting, sampling: SamplingControls) -> BatchPart:
    part = _layout(context)
    _wire(part, context, waiting, sampling)
    _wire_download(part, context)
    return part


def _layout(context: UiContext) -> BatchPart:
    with gr.Accordion(label("batch.title"), open=False, elem_id="batch"), gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            files = gr.File(
                label=label("batch.files"),
                file_count="multiple",
                file_types=["image", ".zip"],
                height=180,
                elem_id="batch-files",
            )
            guarded(files, lambda data: [file.path for file in data] if data else [])
            wishes = wishes_part(context, "batch", is_folded=False)
            with gr.Row(elem_classes=["switch"]):
                start = gr.Button(label("batch.start"), variant="primary", elem_id="batch-start", scale=2)
                pause = gr.Button(label("batch.pause"), interactive=False, elem_id="batch-pause", scale=1)
                stop = gr.Button(label("batch.stop"), interactive=False, elem_id="batch-stop", scale=1)
        with gr.Column(min_width=300):
            line, table, format_, download = _results()
    state = gr.State(None, time_to_live=STATE_S)
    turn = gr.Number(0, visible="hidden")
    return BatchPart(files, wishes, start, pause, stop, line, table, format_, download, state, turn)


def _results() -> tuple[gr.HTML, gr.HTML, gr.Dropdown, gr.DownloadButton]:
    line = gr.HTML(jobs.NOTHING, elem_id="batch-line")
    looks = [(label("batch.table"), "table"), (label("batch.gallery"), "gallery")]
    gr.Radio(
        looks,
        value="table",
        label=label("batch.look"),
        show_label=False,
        container=False,
        interactive=True,
        elem_id="batch-look",
    )
    hint = f"<p class='line hint'>{label('batch.hint')}</p>"
    table = gr.HTML(hint, elem_id="batch-table", js_on_load=_REACHABLE)
    with gr.Row(elem_id="batch-results"):
        choices = [(label(f"batch.format.{name}"), name) for name in formats()]
        format_ = gr.Dropdown(choices, value="zip", label=label("batch.format"), elem_id="batch-format", min_width=160)
        download = gr.DownloadButton(
            label("batch.download"), interactive=False, elem_id="batch-download", min_width=120
        )
    return line, table, format_, download


def _wire(part: BatchPart, context: UiContext, waiting: Waiting, sampling: SamplingControls) -> None:
    nothing = [gr.skip()] * len(part.outputs)
    languages = context.languages

    def start(request: gr.Request, old: Batch | None, turn: float, format_: str, *given: Any) -> list[Any]:
        if old is not None and old.phase in ("running", "paused"):  # pressed twice
            return [old, turn, *nothing]
        say = languages.of(request)
        files, style, instruction, prefix, suffix, words, *controls = given
        try:
            batch = handlers.begin(context, files, style, instruction, prefix, suffix, words, controls)
        except DemoError as error:
            return [old, turn, jobs.refusal_html(say, str(error)), *nothing[1:]]
        batch.choose(format_)
        return [batch, turn + 1, *_view(say, context, batch)]

    def work(request: gr.Request, batch: Batch | None, turn: float) -> Generator[list[Any], None, None]:
        if batch is None:
            return
        say = languages.of(request)
        with closing(handlers.turn(context, batch, lambda: waiting() > 0)) as steps:
            for has_rows in steps:
                rows = jobs.captions_html(say, batch) if has_rows else gr.skip()
                yield [turn, jobs.job_html(say, batch), rows, *nothing[2:]]
        if batch.at_work.locked():  # another turn is at it
            return
        if batch.wants_turn:
            yield [turn + 1, jobs.job_html(say, batch), jobs.captions_html(say, batch), *nothing[2:]]
        else:
            yield [turn, *_view(say, context, batch)]

    def pause(request: gr.Request, batch: Batch | None, turn: float) -> list[Any]:
        if batch is None:
            return [turn, *nothing]
        say = languages.of(request)
        if batch.phase == "paused":
            batch.resume()
            return [turn + 1, *_view(say, context, batch)]
        batch.pause()
        if batch.at_work.locked():  # the turn tells how it goes, and what it says last may come before this
            return [turn, *nothing[:3], *_buttons(say, batch)]
        return [turn, *_view(say, context, batch)]

    def stop(request: gr.Request, batch: Batch | None) -> list[Any]:
        if batch is None:
            return nothing
        batch.stop()
        return _view(languages.of(request), context, batch)

    def failed(request: gr.Request, batch: Batch | None) -> list[Any]:
        if batch is None or batch.phase != "running" or batch.at_work.locked():
            return nothing
        batch.pause()
        say = languages.of(request)
        batch.error = told(not_taken(say, context, waiting()))
        return _view(say, context, batch)

    model = answer_event(context)
    begun = [part.batch, part.turn, *part.outputs]
    asked = [part.batch, part.turn, part.format, part.files, *part.wishes.inputs, *sampling.inputs]
    part.start.click(start, asked, begun, **quick_event())
    working = part.turn.change(
        work, [part.batch, part.turn], [part.turn, *part.outputs], trigger_mode="multiple", **model
    )
    working.failure(failed, part.batch, part.outputs, **quick_event())
    part.pause.click(pause, [part.batch, part.turn], [part.turn, *part.outputs], **quick_event())
    part.stop.click(stop, part.batch, part.outputs, **quick_event())


def _wire_download(part: BatchPart, context: UiContext) -> None:
    def chosen(batch: Batch | None, format_: str) -> Any:
        if batch is None:
            return gr.skip()
        batch.choose(format_)
        return _download(context, batch)

    part.format.change(chosen, [part.batch, part.format], part.download, **quick_event())


def _view(say: Texts, context: UiContext, batch: Batch) -> list[Any]:
    """Values for `BatchPart.outputs`."""
    shown = [jobs.job_html(say, batch), jobs.captions_html(say, batch), _download(context, batch)]
    return [*shown, *_buttons(say, batch)]


def _buttons(say: Texts, batch: Batch) -> list[Any]:
    is_open = batch.phase in ("running", "paused")
    return [
        gr.update(interactive=not is_open),
        gr.update(interactive=is_open, value=say("batch.go_on" if batch.phase == "paused" else "batch.pause")),
        gr.update(interactive=is_open),
    ]


def _download(context: UiContext, batch: Batch) -> Any:
    """There is something to download while the job rests."""
    file = None if batch.phase == "running" else handlers.results(context, batch)
    return gr.update(value=file, interactive=file is not None)
