"""What happens on a tab that looks at one picture: the events of a run, and the views that they make.

Owns the order of events. What is asked is decided in `demo.ui.handlers.looking`, how an answer looks in
`demo.ui.results`; what is shown is what is in the visitor's record.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from demo.ui import markup, results
from demo.ui.context import UiContext
from demo.ui.handlers import looking
from demo.ui.handlers.answering import Answer, shown
from demo.ui.language import Texts
from demo.ui.line import Line
from demo.ui.notes import STOPPED, line_of
from demo.ui.record import Record
from demo.ui.results import Kept
from demo.ui.widgets import not_taken

# from a picture's path, a text, the sampling controls and what else a tab asks for to the steps of an answer
Ask = Callable[..., Generator[Answer, None, None]]

NUM_PARTS = 7  # of a result, the line first, without its downloads


def asked_line(say: Texts, context: UiContext, line: Line, *, before: int = 0) -> str:
    """Until a run begins: a page asks for it once its picture is uploaded, so that a free place is not waited for.

    So many runs were asked for just ``before``.
    """
    is_free = line.free(context.engine.capacity) > before
    return markup.line(say("answer.sent" if is_free else "answer.queued"), "busy")


@dataclass(frozen=True, slots=True)
class Events:
    """gradio's events of such a tab. All but two of them return values for `Result.outputs` and `Switch.outputs`.

    ``number`` is that of the newest run that the page knows of.
    """

    context: UiContext
    line: Line
    ask: Ask
    num_inputs: int  # picture, text and the sampling controls; all further ones go to ``ask`` as they are
    num_downloads: int
    num_starts: int  # buttons that start a run
    pick: str  # the key of what pressing a row of the table does

    def start(self, request: gr.Request, record: Record[Kept], number: float) -> list[Any]:
        """Returns the line, the buttons and the number of the run; until there is something new, what was found last is
        still shown."""
        record.asked(record.value, number)
        return [*self._waits(self.context.languages.of(request)), record.stops.number]

    def answers(
        self, request: gr.Request, record: Record[Kept], picture: str | None, text: str | None, *values: Any
    ) -> Generator[list[Any], None, None]:
        say = self.context.languages.of(request)
        controls, further = values[: self.num_inputs - 2], values[self.num_inputs - 2 :]
        with closing(shown(self.ask(picture, text, controls, *further))) as steps, record.stops.run() as run:
            for answer in steps if run.may_begin else ():
                kept = Kept(answer, picture or "")
                if not record.grown(run, kept):
                    break
                yield [*self._values(say, record, kept), *self._pressed(results.grows(answer))]
            if run.was_stopped:  # what was on its way then may have come after the stop's own
                yield self._at_rest(say, record)

    def stop(self, request: gr.Request, record: Record[Kept]) -> list[Any]:
        record.stopped()
        return self._at_rest(self.context.languages.of(request), record)

    def failed(self, request: gr.Request, record: Record[Kept], number: float) -> list[Any]:
        """gradio did not run the event, or ended it."""
        say = self.context.languages.of(request)
        if not record.stops.takes_report(number, waits=self.line.waits(request.session_hash, self.answers)):
            line = markup.line(not_taken(say, self.context, self.line()), "error")
            return [line, *self._skipped()[1:], *self._pressed(False)]
        if record.stops.phase == "running":  # its own views follow
            return [*self._skipped(), *[gr.skip()] * (self.num_starts + 1)]
        if record.stops.is_open:
            line, *pressed = self._waits(say)
            return [line, *self._skipped()[1:], *pressed]
        return self._at_rest(say, record)

    def choose(self, record: Record[Kept], event: gr.EventData) -> list[Any]:
        """A word or row that is pressed shows its boxes alone: in the picture, and in its download if there is one."""
        drawn, copy = results.chosen(self.context, record.value, getattr(event, "only", ""))
        return [drawn or gr.skip(), gr.skip() if copy is None else copy][: 1 + self.num_downloads]

    # --- views

    def _waits(self, say: Texts) -> list[Any]:
        return [asked_line(say, self.context, self.line), *self._pressed(True)]

    def _at_rest(self, say: Texts, record: Record[Kept]) -> list[Any]:
        """After a stop: what was found so far, which can be used like all that was found."""
        line = markup.line(line_of(say, STOPPED), "remark")
        if not record.number:
            return [line, *self._skipped()[1:], *self._pressed(False)]
        own, *rest = self._values(say, record, record.settled(self._left))
        return [own if record.is_of_last_run else line, *rest, *self._pressed(False)]

    def _left(self, kept: Kept) -> Kept:
        if not results.grows(kept.answer):
            return kept
        return replace(kept, answer=looking.stopped(self.context, kept.answer, kept.picture))

    def _values(self, say: Texts, record: Record[Kept], kept: Kept) -> list[Any]:
        answer = kept.answer
        view = results.view(say, answer, self.pick)
        drawn = gr.update(value=answer.drawn, visible=answer.drawn is not None)
        own = answer.text if answer.own is None else answer.own
        files = results.files(self.context, answer, kept.picture).files if self.num_downloads else []
        downloads = [gr.update(value=file, interactive=file is not None) for file in files]
        return [view.line, view.text, drawn, view.table, own, view.parsed, record, *downloads]

    def _skipped(self) -> list[Any]:
        return [gr.skip()] * (NUM_PARTS + self.num_downloads)

    def _pressed(self, is_running: bool) -> list[Any]:
        starts = [gr.update(interactive=not is_running)] * self.num_starts
        return [*starts, gr.update(interactive=is_running)]
