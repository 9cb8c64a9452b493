"""The chat tab: its parts and where they are.

Owns the layout only. What happens is in `demo.ui.tabs.chat_events`, how a conversation looks in `demo.ui.transcript`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from demo.ui.ahead import HeadStart
from demo.ui.context import UiContext
from demo.ui.conversation import Conversation
from demo.ui.examples import Example, load_examples
from demo.ui.handlers.chat import Draft
from demo.ui.labels import block, label
from demo.ui.record import Record
from demo.ui.stops import Stops
from demo.ui.tasks import Task, tasks_for
from demo.ui.transcript import Transcript
from demo.ui.widgets import SamplingControls, example_buttons, guarded, message_input, sampling_controls

QUEUE_S = 1.0  # how often somebody who waits is told how many come before


@dataclass(slots=True)
class Visitor:
    """What the server remembers of one tab. Changed in place by that tab's events."""

    record: Record[Conversation] = field(default_factory=lambda: Record(Conversation()))
    transcript: Transcript = field(default_factory=Transcript)
    token: str = ""  # under which the conversation is found after a reload
    editing: int | None = None  # the index of the question whose new version is in the box
    set_aside: Draft = field(default_factory=Draft)  # what was in the box before
    begun: HeadStart[Conversation] | None = None  # the answer to what was asked last, until its page comes for it

    @property
    def stops(self) -> Stops:
        return self.record.stops

    @property
    def conversation(self) -> Conversation:
        return self.record.value


@dataclass(frozen=True, slots=True)
class Actions:
    retry: gr.Button
    undo: gr.Button
    copy: gr.Button
    clear: gr.Button
    keep: gr.Button  # ends the editing of a question


@dataclass(frozen=True, slots=True)
class Files:
    """Saving a conversation and opening one. ``made`` holds a file on its way to the visitor."""

    json: gr.Button
    markdown: gr.Button
    open: gr.UploadButton
    made: gr.DownloadButton
    line: gr.HTML


@dataclass(frozen=True, slots=True)
class ChatTab:
    visitor: gr.State
    chatbot: gr.Chatbot
    ahead: gr.HTML  # how many come before, while a question waits in the queue
    waits: gr.Timer  # runs as long
    box: gr.MultimodalTextbox
    notice: gr.HTML
    actions: Actions
    sampling: SamplingControls
    system: gr.Textbox
    camera: gr.Image
    files: Files
    accepted: gr.Number
    edited: gr.Number  # the index of the question that is to be edited
    edit: gr.Button  # pressed by the page's script, as gradio's own editing would show our markup
    token: gr.Textbox
    tasks: list[tuple[gr.Button, Task]]
    examples: list[tuple[gr.Button, Example]]

    @property
    def outputs(self) -> list[Any]:
        """Of an event after which all may look different."""
        buttons = [self.actions.retry, self.actions.undo, self.actions.copy, self.actions.keep]
        return [*self.growing, self.box, self.notice, self.waits, self.ahead, *buttons]

    @property
    def growing(self) -> list[Any]:
        """What changes while an answer is written. gradio makes each output anew at each step, also one that is
        skipped; for all of them that is most of what a step costs the server."""
        return [self.visitor, self.chatbot]


def layout(context: UiContext) -> ChatTab:
    spec = context.spec("chat")
    chatbot = _chatbot()
    ahead = gr.HTML(elem_id="chat-ahead")
    notice = gr.HTML(elem_id="chat-notice")
    box = message_input("message", takes_clips=spec is not None and spec.max_frames > 0)
    actions = _actions()
    tasks = _task_buttons(tasks_for(spec, context.prompts.get("chat")))
    listed = load_examples("chat")
    examples = list(zip(example_buttons(listed), listed, strict=True))
    with gr.Column(elem_classes=["extras"]):
        sampling = sampling_controls()
        system = system_prompt("system", takes=spec is not None and spec.has_system)
        camera = _camera()
        files = _files()
    return ChatTab(
        visitor=gr.State(Visitor()),
        chatbot=chatbot,
        ahead=ahead,
        waits=gr.Timer(QUEUE_S, active=False),
        box=box,
        notice=notice,
        actions=actions,
        sampling=sampling,
        system=system,
        camera=camera,
        files=files,
        # Counts the accepted questions: its change asks the model, so that a refused one never joins the queue. A
        # gr.State would not do, its change is not told after an event that runs beside the queue.
        accepted=gr.Number(0, visible="hidden"),
        edited=gr.Number(0, visible="hidden"),
        edit=gr.Button(visible="hidden", elem_id="edit-question"),
        token=gr.Textbox(visible="hidden"),
        tasks=tasks,
        examples=examples,
    )


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="conversation",
        show_label=False,
        container=False,
        height="min(62vh, 640px)",  # a fixed one: with max_height the newest words do not scroll into view
        placeholder=block("welcome"),
        buttons=[],
        layout="bubble",
        latex_delimiters=[],
        allow_tags=False,
        feedback_options=None,
    )


def _actions() -> Actions:
    with gr.Row(elem_classes=["actions"]):
        return Actions(
            gr.Button(label("chat.retry"), size="sm", interactive=False, elem_id="chat-retry"),
            gr.Button(label("chat.undo"), size="sm", interactive=False, elem_id="chat-undo"),
            gr.Button(label("chat.copy"), size="sm", interactive=False, elem_id="chat-copy"),
            gr.Button(label("chat.clear"), size="sm", elem_id="chat-clear"),
            gr.Button(label("chat.keep"), size="sm", visible=False, elem_id="chat-keep"),
        )


def _task_buttons(tasks: tuple[Task, ...]) -> list[tuple[gr.Button, Task]]:
    """One button each, which fills the box."""
    if not tasks:
        return []
    gr.HTML(f"<p class='line examples-title'>{label('chat.tasks')}</p>")
    with gr.Row(elem_classes=["tasks"]):
        return [(gr.Button(_task_name(task), size="sm", elem_classes=["task"]), task) for task in tasks]


def _task_name(task: Task) -> Any:
    return label(f"chat.task.{task.key}") if task.key else task.name


def system_prompt(name: str, *, takes: bool) -> gr.Textbox:
    """A closed accordion; its box says why where nothing can be told to the model."""
    with gr.Accordion(label("chat.system"), open=False):
        return gr.Textbox(
            label=label("chat.system"),
            show_label=False,
            info=label("chat.system_yes" if takes else "chat.system_no"),
            lines=3,
            max_lines=10,
            interactive=takes,
            elem_id=name,
        )


def _camera() -> gr.Image:
    with gr.Accordion(label("chat.camera"), open=False):
        image = gr.Image(
            label=label("chat.camera"), show_label=False, type="filepath", image_mode=None, sources=["webcam"],
            height=320, elem_id="chat-camera", buttons=[],
        )  # fmt: skip
    return guarded(image, lambda data: data.path if data else None)


def _files() -> Files:
    with gr.Accordion(label("chat.files"), open=False):
        with gr.Row(elem_classes=["actions"]):
            json = gr.Button(label("chat.save_json"), size="sm", elem_id="save-json")
            markdown = gr.Button(label("chat.save_markdown"), size="sm", elem_id="save-markdown")
            upload = gr.UploadButton(label("chat.open"), size="sm", file_types=[".json", ".md"], elem_id="open-saved")
        line = gr.HTML(elem_id="files-line")
        made = gr.DownloadButton(visible="hidden", elem_id="saved-file")
    return Files(json, markdown, guarded(upload, lambda data: data.path if data else None), made, line)
