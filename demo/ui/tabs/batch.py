"""The captioning tab's second part: many pictures. Layout, events, and how a job is shown.

What happens to a job is decided in `demo.ui.handlers.batch`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.errors import DemoError
from demo.ui import markup
from demo.ui.context import UiContext, Waiting
from demo.ui.handlers import batch as handlers
from demo.ui.handlers.batch import Batch
from demo.ui.language import load_languages
from demo.ui.widgets import SamplingControls, guarded, model_event, not_taken, quick_event

_SAY = load_languages().english  # until this tab speaks both languages
STATE_S = 6 * 3600
_AT_REST = {"stopped": "Stopped", "paused": "Paused", "done": "Done"}


@dataclass(frozen=True, slots=True)
class BatchPart:
    files: gr.File
    style: gr.Radio
    instruction: gr.Textbox
    prefix: gr.Textbox
    suffix: gr.Textbox
    start: gr.Button
    pause: gr.Button
    stop: gr.Button
    line: gr.HTML
    download: gr.DownloadButton
    table: gr.HTML
    batch: gr.State
    turn: gr.Number  # counts the turns: its change asks for the next one

    @property
    def wishes(self) -> list[Any]:
        return [self.files, self.style, self.instruction, self.prefix, self.suffix]

    @property
    def outputs(self) -> list[Any]:
        return [self.line, self.table, self.start, self.pause, self.stop, self.download]


def build(
    context: UiContext, waiting: Waiting, choices: list[tuple[str, str]], sampling: SamplingControls
) -> BatchPart:
    part = _layout(choices)
    _wire(part, context, waiting, sampling)
    return part


def _layout(choices: list[tuple[str, str]]) -> BatchPart:
    with gr.Accordion("Many pictures", open=False, elem_id="batch"), gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            files = gr.File(
                label="Pictures, or zip archives of them",
                file_count="multiple",
                file_types=["image", ".zip"],
                height=180,
                elem_id="batch-files",
            )
            guarded(files, lambda data: [file.path for file in data] if data else [])
            style = gr.Radio(choices, value=choices[0][1], label="Style", elem_id="batch-style")
            instruction = gr.Textbox(label="Also tell the model", placeholder="Name the colours.", max_lines=4)
            with gr.Row():
                prefix = gr.Textbox(label="Prefix", placeholder="a photo: ", max_lines=1, min_width=120)
                suffix = gr.Textbox(label="Suffix", max_lines=1, min_width=120)
            with gr.Row(elem_classes=["switch"]):
                start = gr.Button("Start", variant="primary", elem_id="batch-start", scale=2)
                pause = gr.Button("Pause", interactive=False, elem_id="batch-pause", scale=1)
                stop = gr.Button("Stop", interactive=False, elem_id="batch-stop", scale=1)
        with gr.Column(min_width=300):
            line = gr.HTML(elem_id="batch-line")
            download = gr.DownloadButton(
                "Download all as zip", interactive=False, size="sm", elem_id="batch-download", visible=False
            )
            table = gr.HTML(
                "<p class='line hint'>The captions are listed here as they come.</p>", elem_id="batch-table"
            )
    state = gr.State(None, time_to_live=STATE_S)
    turn = gr.Number(0, visible="hidden")
    return BatchPart(
        files, style, instruction, prefix, suffix, start, pause, stop, line, download, table, state, turn
    )  # fmt: skip


def _wire(part: BatchPart, context: UiContext, waiting: Waiting, sampling: SamplingControls) -> None:
    nothing = [gr.skip()] * len(part.outputs)

    def start(old: Batch | None, turn: float, *given: Any) -> list[Any]:
        if old is not None and old.phase in ("running", "paused"):  # pressed twice
            return [old, turn, *nothing]
        files, style, instruction, prefix, suffix, *controls = given
        try:
            batch = handlers.begin(context, files, style, instruction, prefix, suffix, controls)
        except DemoError as error:
            return [old, turn, markup.line(str(error), "error"), *nothing[1:]]
        return [batch, turn + 1, *_view(context, batch)]

    def work(batch: Batch | None, turn: float) -> Generator[list[Any], None, None]:
        if batch is None:
            return
        with closing(handlers.turn(context, batch, lambda: waiting() > 0)) as steps:
            for has_rows in steps:
                yield [turn, _line(batch), _table(batch) if has_rows else gr.skip(), *nothing[2:]]
        if batch.at_work.locked():  # another turn is at it
            return
        if batch.wants_turn:
            yield [turn + 1, _line(batch), _table(batch), *nothing[2:]]
        else:
            yield [turn, *_view(context, batch)]

    def pause(batch: Batch | None, turn: float) -> list[Any]:
        if batch is None:
            return [turn, *nothing]
        if batch.phase == "paused":
            batch.resume()
            return [turn + 1, *_view(context, batch)]
        batch.pause()
        return [turn, *_view(context, batch)]

    def stop(batch: Batch | None) -> list[Any]:
        if batch is None:
            return nothing
        batch.stop()
        return _view(context, batch)

    def failed(batch: Batch | None) -> list[Any]:
        if batch is None or batch.phase != "running" or batch.at_work.locked():
            return nothing
        batch.pause()
        batch.error = not_taken(_SAY, context, waiting())
        return _view(context, batch)

    model = {**model_event(context), "api_visibility": "private", "show_progress": "hidden"}
    begun = [part.batch, part.turn, *part.outputs]
    part.start.click(start, [part.batch, part.turn, *part.wishes, *sampling.inputs], begun, **quick_event())
    working = part.turn.change(
        work, [part.batch, part.turn], [part.turn, *part.outputs], trigger_mode="multiple", **model
    )
    working.failure(failed, part.batch, part.outputs, **quick_event())
    part.pause.click(pause, [part.batch, part.turn], [part.turn, *part.outputs], **quick_event())
    part.stop.click(stop, part.batch, part.outputs, **quick_event())


# --- how a job looks


def _view(context: UiContext, batch: Batch) -> list[Any]:
    """Values for `BatchPart.outputs`."""
    is_open = batch.phase in ("running", "paused")
    file = None if batch.phase == "running" else handlers.results(context, batch)
    return [
        _line(batch),
        _table(batch),
        gr.update(interactive=not is_open),
        gr.update(interactive=is_open, value="Go on" if batch.phase == "paused" else "Pause"),
        gr.update(interactive=is_open),
        gr.update(value=file, interactive=file is not None, visible=file is not None),
    ]


def _line(batch: Batch) -> str:
    if batch.error:
        return markup.line(f"{batch.error} {batch.progress}", "error")
    if batch.phase == "running":
        return markup.line(str(batch.progress), "busy")
    finishing = ", finishing what is under way" if batch.phase == "paused" and batch.at_work.locked() else ""
    return markup.line(f"{_AT_REST[batch.phase]}{finishing}: {batch.progress}", "remark")


def _table(batch: Batch) -> str:
    rows = [(row.name, row.text, row.note, row.is_error, row.preview) for row in batch.rows]
    return markup.captions_table(_SAY, rows, len(batch.entries) - len(rows))
