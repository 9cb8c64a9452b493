"""What the events of many pictures do: each takes what the page sends and returns values for its parts.

Owns the order of the values and what a tab does while another one works at the job that both show. What happens to a
job is decided in `demo.ui.handlers.batch`. Nothing here waits, but for turns.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.errors import DemoError
from demo.ui import jobs
from demo.ui.batch import Batch, Viewer
from demo.ui.context import UiContext, Waiting
from demo.ui.handlers import batch as handlers
from demo.ui.language import Texts
from demo.ui.notes import told
from demo.ui.tabs.batch import BatchPart
from demo.ui.widgets import not_taken


@dataclass(frozen=True, slots=True)
class Events:
    context: UiContext
    part: BatchPart
    waiting: Waiting

    def start(self, request: gr.Request, viewer: Viewer, turn: float, format_: str, *given: Any) -> list[Any]:
        """Values for the token, the turn, the timer and `BatchPart.outputs`."""
        if viewer.batch is not None and viewer.batch.is_open:  # pressed twice
            return [gr.skip()] * (3 + len(self.part.outputs))
        say = self._say(request)
        existing, files, style, instruction, prefix, suffix, words, *controls = given
        try:
            wishes = (style, instruction, prefix, suffix, words, controls)
            batch = handlers.begin(self.context, files, *wishes, existing)
        except DemoError as error:
            line = jobs.refusal_html(say, str(error))
            return [*[gr.skip()] * 3, line, *[gr.skip()] * (len(self.part.outputs) - 1)]
        if viewer.batch is not None:  # no tab could find it any more
            self.context.desk.clear(viewer.batch)
        batch.choose(format_)
        viewer.show(batch)
        return [batch.token, turn + 1, gr.Timer(active=False), *self._view(say, viewer)]

    def work(self, request: gr.Request, viewer: Viewer, turn: float) -> Generator[list[Any], None, None]:
        """Values for the turn, the timer and `BatchPart.outputs`."""
        batch = viewer.batch
        if batch is None:
            return
        say = self._say(request)
        shown = _Shown(say, viewer)
        with closing(handlers.turn(self.context, batch, lambda: self.waiting() > 0)) as steps:
            for has_rows in steps:
                captions = shown.captions(has_rows=has_rows)
                yield [turn, gr.skip(), *self._running(say, viewer, batch, captions, has_rows=has_rows)]
        if viewer.batch is not batch:  # cleared meanwhile
            return
        if batch.at_work.locked():  # another turn is at it; its number stays, or both would change it without an end
            yield [gr.skip(), gr.Timer(active=True), *self._view(say, viewer)]
        elif batch.wants_turn:
            captions = shown.captions(has_rows=True)
            yield [turn + 1, gr.skip(), *self._running(say, viewer, batch, captions, has_rows=True)]
        else:
            yield [turn, _follows(batch), *self._view(say, viewer)]

    def follow(self, request: gr.Request, viewer: Viewer, turn: float) -> list[Any]:
        """How far the work of another tab is; once that works no more, it is this one's turn. A job that rests is
        looked at as well, for another tab may go on with it."""
        batch = viewer.batch
        if batch is not None and batch.wants_turn and not batch.at_work.locked():
            return [turn + 1, gr.Timer(active=False), *self._view(self._say(request), viewer)]
        before, viewer.seen = viewer.seen, _state(batch)
        if viewer.seen == before:
            return [gr.skip()] * (2 + len(self.part.outputs))
        return [gr.skip(), _follows(batch), *self._view(self._say(request), viewer)]

    def pause(self, request: gr.Request, viewer: Viewer, turn: float) -> list[Any]:
        batch = viewer.batch
        if batch is None:
            return [gr.skip()] * (2 + len(self.part.outputs))
        say = self._say(request)
        if batch.phase == "paused":
            batch.resume()
            return self._gone_on(say, viewer, batch, turn)
        batch.pause()
        if batch.at_work.locked():  # the turn tells how it goes, and what it says last may come before this
            nothing = [gr.skip()] * (1 + len(self.part.progress))
            return [turn, *nothing, gr.skip(), *_buttons(say, batch)]
        return [turn, _follows(batch), *self._view(say, viewer)]

    def again(self, request: gr.Request, viewer: Viewer, turn: float) -> list[Any]:
        """Those that failed, once more."""
        batch = viewer.batch
        if batch is None:
            return [gr.skip()] * (2 + len(self.part.outputs))
        batch.retry()
        return self._gone_on(self._say(request), viewer, batch, turn)

    def stop(self, request: gr.Request, viewer: Viewer) -> list[Any]:
        if viewer.batch is None:
            return [gr.skip()] * len(self.part.outputs)
        viewer.batch.stop()
        return self._view(self._say(request), viewer)

    def clear(self, request: gr.Request, viewer: Viewer) -> list[Any]:
        """Values for the token and `BatchPart.outputs`."""
        if viewer.batch is not None:
            self.context.desk.clear(viewer.batch)
        viewer.show(None)
        return ["", *self._view(self._say(request), viewer)]

    def failed(self, request: gr.Request, viewer: Viewer) -> list[Any]:
        """The queue did not take a turn; values for the timer and `BatchPart.outputs`."""
        batch = viewer.batch
        if batch is None or batch.phase != "running" or batch.at_work.locked():
            return [gr.skip()] * (1 + len(self.part.outputs))
        say = self._say(request)
        batch.fail(told(not_taken(say, self.context, self.waiting())))
        return [_follows(batch), *self._view(say, viewer)]

    def restore(self, request: gr.Request, token: str | None, viewer: Viewer, turn: float) -> list[Any]:
        """What the tab showed before it was reloaded: the token, the format, the title, and as `work`."""
        batch = None if viewer.batch else handlers.found(self.context, token)
        if batch is None:
            return [gr.skip()] * (5 + len(self.part.outputs))
        viewer.show(batch)
        known = [batch.token, batch.format, gr.Accordion(open=True)]
        return [*known, *self.follow(request, viewer, turn)]

    def newer(self, request: gr.Request, viewer: Viewer) -> list[Any]:
        viewer.newer()
        return self._progress(self._say(request), viewer)[1:]

    def older(self, request: gr.Request, viewer: Viewer) -> list[Any]:
        viewer.older()
        return self._progress(self._say(request), viewer)[1:]

    def choose(self, viewer: Viewer, format_: str) -> Any:
        if viewer.batch is None:
            return gr.skip()
        viewer.batch.choose(format_)
        return self._download(viewer.batch)

    # --- views

    def _say(self, request: gr.Request) -> Texts:
        return self.context.languages.of(request)

    def _gone_on(self, say: Texts, viewer: Viewer, batch: Batch, turn: float) -> list[Any]:
        """This tab works at it from now on."""
        is_wanted = batch.wants_turn
        return [turn + is_wanted, gr.Timer(active=False), *self._view(say, viewer)]

    def _running(self, say: Texts, viewer: Viewer, batch: Batch, captions: Any, *, has_rows: bool) -> list[Any]:
        """Values for `BatchPart.outputs` while the job runs."""
        rest = [gr.skip()] * (len(self.part.outputs) - len(self.part.progress))
        pages = [jobs.span_html(say, viewer), *_pages(viewer)] if has_rows else [gr.skip()] * 3
        return [jobs.job_html(say, batch), captions, *pages, *rest]

    def _progress(self, say: Texts, viewer: Viewer) -> list[Any]:
        """Values for `BatchPart.progress`."""
        line = jobs.job_html(say, viewer.batch) if viewer.batch else jobs.NOTHING
        return [line, jobs.captions(say, viewer), jobs.span_html(say, viewer), *_pages(viewer)]

    def _view(self, say: Texts, viewer: Viewer) -> list[Any]:
        """Values for `BatchPart.outputs`."""
        download = self._download(viewer.batch)
        return [*self._progress(say, viewer), download, *_buttons(say, viewer.batch)]

    def _download(self, batch: Batch | None) -> Any:
        """There is something to download while the job rests."""
        file = None if batch is None or batch.phase == "running" else handlers.results(self.context, batch)
        return gr.update(value=file, interactive=file is not None)


class _Shown:
    """The captions that one turn sends. gradio sends of a value what differs from the one before: so while the newest
    page grows, the same one is given again where nothing is new. Earlier captions stand still, and are sent once more
    when the visitor went there, for what this turn sent last may have come after them."""

    def __init__(self, say: Texts, viewer: Viewer) -> None:
        self._say = say
        self._viewer = viewer
        self._last = viewer.last
        self._newest: Any = gr.skip()

    def captions(self, *, has_rows: bool) -> Any:
        has_turned = self._viewer.last != self._last
        self._last = self._viewer.last
        if not self._viewer.follows:
            self._newest = gr.skip()
            return jobs.captions(self._say, self._viewer) if has_turned else gr.skip()
        if has_rows or has_turned:
            self._newest = jobs.captions(self._say, self._viewer)
        return self._newest


def _follows(batch: Batch | None) -> gr.Timer:
    """Runs while another tab may change what this one shows."""
    return gr.Timer(active=batch is not None and (batch.is_open or batch.can_retry))


def _state(batch: Batch | None) -> tuple[object, ...]:
    """What a tab that looks at a job would have to show anew."""
    if batch is None:
        return ()
    return batch.token, batch.phase, batch.at_work.locked(), batch.progress, batch.error, batch.keeping


def _pages(viewer: Viewer) -> list[Any]:
    return [gr.update(interactive=not viewer.follows), gr.update(interactive=viewer.has_older)]


def _buttons(say: Texts, batch: Batch | None) -> list[Any]:
    is_open = batch is not None and batch.is_open
    is_paused = batch is not None and batch.phase == "paused"
    return [
        gr.update(interactive=not is_open),
        gr.update(interactive=is_open, value=say("batch.go_on" if is_paused else "batch.pause")),
        gr.update(interactive=is_open),
        gr.update(interactive=batch is not None and batch.phase != "running"),
        gr.update(visible=batch is not None and batch.can_retry),
    ]
