"""The chat tab's events, tied to its parts.

Owns which part triggers what, and the scripts that run in the browser for it. What the events do is in
`demo.ui.tabs.chat_events`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.errors import DemoError
from demo.ui import markup
from demo.ui.ahead import HeadStarts
from demo.ui.context import UiContext
from demo.ui.examples import Example
from demo.ui.handlers import transfer
from demo.ui.line import Line
from demo.ui.shelf import Shelf
from demo.ui.tabs.chat import ChatTab, Visitor, layout
from demo.ui.tabs.chat_events import Box, Events, draft_in
from demo.ui.tasks import SLOT, Task
from demo.ui.widgets import answer_event, quick_event

_COPY_JS = """() => {
  const parts = [...document.querySelectorAll('#conversation .bot .message-content')];
  const answers = parts.filter(part => !part.querySelector('.remark, .pending, .failure, .reasoning'));
  const text = answers.length ? answers[answers.length - 1].innerText.trim() : '';
  if (navigator.clipboard) navigator.clipboard.writeText(text);
}"""
# Each tab of a browser has its own; it may be forbidden, and then nothing is found again.
_TOKEN_JS = """(token, ...rest) => {
  try { token = sessionStorage.getItem('conversation ' + location.pathname) ?? ''; } catch { token = ''; }
  return [token, ...rest];
}"""
_KEEP_TOKEN_JS = """token => {
  try { sessionStorage.setItem('conversation ' + location.pathname, token); } catch { /* forbidden */ }
}"""
_EDIT_JS = "(index, ...rest) => [window.questionToEdit ?? -1, ...rest]"
_TO_BOX_JS = """() => setTimeout(() => {
  const box = document.querySelector('#message textarea'), at = box.value.indexOf('%s');
  box.focus();
  if (at >= 0) box.setSelectionRange(at, at + %d);
}, 50)"""
_DOWNLOAD_JS = """file => {
  if (!file) return;
  const link = document.createElement('a');
  link.href = file.url; link.download = file.orig_name ?? ''; link.click();
}"""


def build(context: UiContext, line: Line) -> tuple[ChatTab, Events]:
    tab = layout(context)
    events = Events(context, tab, line, Shelf(), HeadStarts())
    _wire_asking(tab, events, context)
    _wire_rest(tab, events)
    _wire_box(tab, context)
    _wire_files(tab, events, context)
    return tab, events


def restore_on_load(page: gr.Blocks, tab: ChatTab, events: Events) -> None:
    """A reloaded tab of the browser shows its conversation again."""
    inputs = [tab.token, tab.visitor]
    loaded = page.load(events.restore, inputs, [*tab.outputs, tab.token], js=_TOKEN_JS, **quick_event())
    loaded.then(None, tab.token, None, js=_KEEP_TOKEN_JS)


def _wire_asking(tab: ChatTab, events: Events, context: UiContext) -> None:
    asked, outputs = [tab.system, *tab.sampling.inputs], [*tab.outputs, tab.accepted]
    tab.box.submit(events.send, [tab.box, tab.visitor, tab.accepted, *asked], outputs, **quick_event())
    tab.actions.retry.click(events.retry, [tab.visitor, tab.accepted, *asked], outputs, **quick_event())
    # One event for both: gradio cancels several one after the other, and would meet what was asked for meanwhile.
    model = {**answer_event(context), "trigger_mode": "multiple"}
    running = tab.accepted.change(events.answer, [tab.visitor, *asked], tab.growing, **model)
    running.success(events.rest, tab.visitor, tab.outputs, **quick_event())
    running.failure(events.give_back, [tab.visitor, tab.accepted], tab.outputs, **quick_event())
    tab.box.stop(events.stop, tab.visitor, tab.outputs, cancels=[running], **quick_event())
    for clears in (tab.actions.clear.click, tab.chatbot.clear):
        clears(events.clear, tab.visitor, tab.outputs, cancels=[running], **quick_event())
    tab.waits.tick(events.ahead, tab.visitor, [tab.ahead, tab.waits], **quick_event())


def _wire_rest(tab: ChatTab, events: Events) -> None:
    tab.actions.undo.click(events.undo, tab.visitor, tab.outputs, **quick_event())
    tab.actions.keep.click(events.keep, tab.visitor, tab.outputs, **quick_event())
    to_box = _TO_BOX_JS % (SLOT, len(SLOT))
    edited = tab.edit.click(events.edit, [tab.edited, tab.box, tab.visitor], tab.outputs, js=_EDIT_JS, **quick_event())
    edited.then(None, None, None, js=to_box)
    tab.actions.copy.click(None, None, None, js=_COPY_JS)


def _wire_box(tab: ChatTab, context: UiContext) -> None:
    """Examples, tasks and the camera fill the box."""
    for button, example in tab.examples:
        button.click(_filler(context, example), None, tab.box, **quick_event())
    to_box = _TO_BOX_JS % (SLOT, len(SLOT))
    for button, task in tab.tasks:
        button.click(_asker(task), tab.box, tab.box, **quick_event()).then(None, None, None, js=to_box)
    tab.camera.input(_with_picture, [tab.box, tab.camera], [tab.box, tab.camera], **quick_event())


def _filler(context: UiContext, example: Example) -> Callable[[], Any]:
    return lambda: {"text": example.text, "files": [example.copied(context.store.folder)]}


def _asker(task: Task) -> Callable[[Box], Any]:
    return lambda box: {"text": task.filled(draft_in(box).text), "files": list(draft_in(box).files)}


def _with_picture(box: Box, picture: str | None) -> list[Any]:
    """What the camera took goes to what is in the box; the camera is free for the next one."""
    if not picture:
        return [gr.skip(), gr.skip()]
    draft = draft_in(box)
    return [{"text": draft.text, "files": [*draft.files, picture]}, None]


def _wire_files(tab: ChatTab, events: Events, context: UiContext) -> None:
    def save_json(request: gr.Request, visitor: Visitor, system: str | None) -> list[Any]:
        return save(transfer.saved_json, request, visitor, system)

    def save_markdown(request: gr.Request, visitor: Visitor, system: str | None) -> list[Any]:
        return save(transfer.saved_markdown, request, visitor, system)

    def save(make: Any, request: gr.Request, visitor: Visitor, system: str | None) -> list[Any]:
        say = context.languages.of(request)
        try:
            return [make(context, say, visitor.conversation, system), ""]
        except DemoError as error:
            return [None, markup.line(say.told(str(error)), "error")]

    def open_(request: gr.Request, path: str | None, visitor: Visitor) -> list[Any]:
        say = context.languages.of(request)
        try:
            if visitor.conversation.is_open:
                raise transfer.still_writing()
            found, system = transfer.opened(context, path)
        except DemoError as error:
            return [*[gr.skip()] * (len(tab.outputs) + 1), markup.line(say.told(str(error)), "error")]
        return [*events.show(say, visitor, found), system or gr.skip(), ""]

    files = tab.files
    for button, make in ((files.json, save_json), (files.markdown, save_markdown)):
        saved = button.click(make, [tab.visitor, tab.system], [files.made, files.line], **quick_event())
        saved.then(None, files.made, None, js=_DOWNLOAD_JS)
    opened = [*tab.outputs, tab.system, files.line]
    files.open.upload(open_, [files.open, tab.visitor], opened, **quick_event())
