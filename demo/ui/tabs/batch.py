"""The captioning tab's second part: many pictures. Layout only.

How a job is shown is in `demo.ui.jobs`. Whether its captions are a table or a gallery is only a matter of the style
sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.captioning.export import formats
from demo.captioning.sidecars import CHOICES
from demo.ui import jobs
from demo.ui.batch import Viewer
from demo.ui.context import UiContext
from demo.ui.labels import block, label
from demo.ui.tabs.wishes import WishesPart, wishes_part
from demo.ui.widgets import REACHABLE, guarded

STATE_S = 24 * 3600
FOLLOW_S = 1.0  # how often a tab looks at a job that another one works at


@dataclass(frozen=True, slots=True)
class Pages:
    newer: gr.Button
    older: gr.Button
    span: gr.HTML


@dataclass(frozen=True, slots=True)
class BatchPart:
    title: gr.Accordion
    files: gr.File
    wishes: WishesPart
    existing: gr.Radio
    start: gr.Button
    pause: gr.Button
    stop: gr.Button
    line: gr.HTML
    table: gr.HTML
    pages: Pages
    format: gr.Dropdown
    download: gr.DownloadButton
    clear: gr.Button
    again: gr.Button
    viewer: gr.State
    token: gr.Textbox
    turn: gr.Number  # counts the turns: its change asks for the next one
    follow: gr.Timer

    @property
    def progress(self) -> list[Any]:
        """What changes while the job runs."""
        return [self.line, self.table, self.pages.span, self.pages.newer, self.pages.older]

    @property
    def outputs(self) -> list[Any]:
        """All that tells of the job."""
        return [*self.progress, self.download, self.start, self.pause, self.stop, self.clear, self.again]


def layout(context: UiContext) -> BatchPart:
    with gr.Accordion(label("batch.title"), open=False, elem_id="batch") as title, gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            files = gr.File(
                label=label("batch.files"),
                file_count="multiple",
                file_types=["image", ".zip", ".txt"],
                height=180,
                elem_id="batch-files",
            )
            gr.HTML(block("uploads"), elem_id="batch-limits")
            guarded(files, lambda data: [file.path for file in data] if data else [])
            wishes = wishes_part(context, "batch", is_folded=False)
            existing = _existing()
            with gr.Row(elem_classes=["switch"]):
                start = gr.Button(label("batch.start"), variant="primary", elem_id="batch-start", scale=2)
                pause = gr.Button(label("batch.pause"), interactive=False, elem_id="batch-pause", scale=1)
                stop = gr.Button(label("batch.stop"), interactive=False, elem_id="batch-stop", scale=1)
        with gr.Column(min_width=300):
            line, table, pages = _results()
            format_, download, clear = _files()
            again = gr.Button(label("batch.again"), size="sm", visible=False, elem_id="batch-again")
    return BatchPart(
        *(title, files, wishes, existing, start, pause, stop, line, table, pages, format_, download, clear, again),
        viewer=gr.State(Viewer(), time_to_live=STATE_S),
        token=gr.Textbox(visible="hidden"),
        turn=gr.Number(0, visible="hidden"),
        follow=gr.Timer(FOLLOW_S, active=False),
    )


def _existing() -> gr.Radio:
    """As in the terminal, with its default."""
    words = (label("batch.existing.skip"), label("batch.existing.overwrite"), label("batch.existing.append"))
    choices = list(zip(words, CHOICES, strict=True))
    return gr.Radio(choices, value="skip", label=label("batch.existing"), elem_id="batch-existing")


def _results() -> tuple[gr.HTML, gr.HTML, Pages]:
    line = gr.HTML(jobs.NOTHING, elem_id="batch-line")
    looks = [(label("batch.table"), "table"), (label("batch.gallery"), "gallery")]
    with gr.Row(elem_id="batch-pages"):
        gr.Radio(
            looks,
            value="table",
            label=label("batch.look"),
            show_label=False,
            container=False,
            interactive=True,
            elem_id="batch-look",
            scale=0,
            min_width=150,
        )
        span = gr.HTML("<p class='line'></p>", elem_id="batch-span")
        newer = gr.Button(
            label("batch.newer"), size="sm", interactive=False, elem_id="batch-newer", scale=0, min_width=76
        )
        older = gr.Button(
            label("batch.older"), size="sm", interactive=False, elem_id="batch-older", scale=0, min_width=76
        )
    hint = f"<p class='line hint'>{label('batch.hint')}</p>"
    table = gr.HTML(hint, elem_id="batch-table", html_template=jobs.TABLE, js_on_load=REACHABLE)
    return line, table, Pages(newer, older, span)


def _files() -> tuple[gr.Dropdown, gr.DownloadButton, gr.Button]:
    with gr.Row(elem_id="batch-results"):
        choices = [(label(f"batch.format.{name}"), name) for name in formats()]
        format_ = gr.Dropdown(choices, value="zip", label=label("batch.format"), elem_id="batch-format", min_width=160)
        download = gr.DownloadButton(
            label("batch.download"), interactive=False, elem_id="batch-download", min_width=120
        )
        clear = gr.Button(label("batch.clear"), interactive=False, elem_id="batch-clear", min_width=80)
    return format_, download, clear
