"""The events of many pictures, tied to their parts.

Owns which part triggers what, and the scripts that run in the browser for it. What the events do is in
`demo.ui.tabs.batch_events`.
"""

from __future__ import annotations

import gradio as gr

from demo.ui.context import UiContext, Waiting
from demo.ui.tabs.batch import BatchPart, layout
from demo.ui.tabs.batch_events import Events
from demo.ui.widgets import SamplingControls, answer_event, quick_event

# Each tab of a browser has its own; it may be forbidden, and then nothing is found again.
_TOKEN_JS = """(token, ...rest) => {
  try { token = sessionStorage.getItem('batch ' + location.pathname) ?? ''; } catch { token = ''; }
  return [token, ...rest];
}"""
_KEEP_TOKEN_JS = """token => {
  try { sessionStorage.setItem('batch ' + location.pathname, token); } catch { /* forbidden */ }
}"""
_TO_TOP_JS = "() => document.querySelector('#batch-table').scrollTo(0, 0)"


def build(context: UiContext, waiting: Waiting, sampling: SamplingControls) -> tuple[BatchPart, Events]:
    part = layout(context)
    events = Events(context, part, waiting)
    _wire(part, events, context, sampling)
    _wire_pages(part, events)
    return part, events


def restore_on_load(page: gr.Blocks, part: BatchPart, events: Events) -> None:
    """A reloaded tab of the browser shows its job again, and goes on with one that ran."""
    outputs = [part.token, part.format, part.title, part.turn, part.follow, *part.outputs]
    page.load(events.restore, [part.token, part.viewer, part.turn], outputs, js=_TOKEN_JS, **quick_event())


def _wire(part: BatchPart, events: Events, context: UiContext, sampling: SamplingControls) -> None:
    model = answer_event(context)
    known = [part.viewer, part.turn]
    moved = [part.turn, part.follow, *part.outputs]
    asked = [*known, part.format, part.existing, part.files, *part.wishes.inputs, *sampling.inputs]
    begun = part.start.click(events.start, asked, [part.token, *moved], **quick_event())
    working = part.turn.change(events.work, known, moved, trigger_mode="multiple", **model)
    working.failure(events.failed, part.viewer, [part.follow, *part.outputs], **quick_event())
    part.follow.tick(events.follow, known, moved, **quick_event())
    part.pause.click(events.pause, known, moved, **quick_event())
    part.again.click(events.again, known, moved, **quick_event())
    part.stop.click(events.stop, part.viewer, part.outputs, **quick_event())
    cleared = part.clear.click(events.clear, part.viewer, [part.token, *part.outputs], **quick_event())
    for changed in (begun, cleared):
        changed.then(None, part.token, None, js=_KEEP_TOKEN_JS)
    part.format.change(events.choose, [part.viewer, part.format], part.download, **quick_event())


def _wire_pages(part: BatchPart, events: Events) -> None:
    pages = [part.table, part.pages.span, part.pages.newer, part.pages.older]
    for button, turns in ((part.pages.newer, events.newer), (part.pages.older, events.older)):
        button.click(turns, part.viewer, pages, **quick_event()).then(None, None, None, js=_TO_TOP_JS)
