"""What happens on the chat tab: its events, and the views that they make.

Owns the order of events and what is shown after each. What happens to a conversation is decided in
`demo.ui.handlers.chat`; each event puts it into the visitor's record, and what is there is shown, kept on the shelf for
a reloaded page, and asked about.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.errors import DemoError
from demo.ui import markup
from demo.ui.ahead import HeadStarts
from demo.ui.context import UiContext
from demo.ui.conversation import Conversation
from demo.ui.handlers import chat as handlers
from demo.ui.handlers.chat import Draft
from demo.ui.language import Texts
from demo.ui.line import Line
from demo.ui.shelf import Shelf
from demo.ui.tabs.chat import ChatTab, Visitor
from demo.ui.widgets import not_taken

Box = dict[str, Any] | None  # what gr.MultimodalTextbox has


def draft_in(box: Box) -> Draft:
    box = box or {}
    return Draft(box.get("text") or "", tuple(box.get("files") or ()))


def value_of(draft: Draft) -> dict[str, Any]:
    return {"text": draft.text, "files": list(draft.files)}


@dataclass(frozen=True, slots=True)
class Events:
    """gradio's events of the tab. Those that return a view have `ChatTab.outputs`, an answer has `ChatTab.growing`."""

    context: UiContext
    tab: ChatTab
    line: Line
    shelf: Shelf
    starts: HeadStarts

    # --- those that ask the model

    def send(self, request: gr.Request, box: Box, visitor: Visitor, count: float, *asked: Any) -> list[Any]:
        say, before = self.context.languages.of(request), visitor.conversation
        try:
            accepted = handlers.accept(self.context, draft_in(box), before, at=visitor.editing)
        except DemoError as error:
            return [*self._view(say, visitor, notice=say.told(str(error))), gr.skip()]
        if not self._asked(visitor, before, accepted, count, asked):
            return [*self._skipped(), gr.skip()]
        return [*self._view(say, visitor, Draft()), visitor.stops.number]

    def retry(self, request: gr.Request, visitor: Visitor, count: float, *asked: Any) -> list[Any]:
        before = visitor.conversation
        # pressed before the page heard that something was asked
        if before.is_open or not self._asked(visitor, before, before.asked_again(), count, asked):
            return [*self._skipped(), gr.skip()]
        return [*self._view(self.context.languages.of(request), visitor), visitor.stops.number]

    def answer(self, request: gr.Request, visitor: Visitor, *asked: Any) -> Generator[list[Any], None, None]:
        """An answer as it grows, as long as it is wanted."""
        say = self.context.languages.of(request)
        with visitor.stops.run() as run:
            with closing(self._steps(visitor, asked)) as steps:
                for conversation in steps if run.may_begin else ():
                    if not visitor.record.grown(run, conversation):
                        break
                    yield self._grown(say, visitor)
            if run.was_stopped:  # what was on its way then may have come after the stop's own view
                yield self._grown(say, visitor)

    def rest(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        """The answer is written. The end of a stopped one was shown by the stop, and this may come after a question."""
        if visitor.stops.is_open or visitor.stops.was_stopped:
            return self._skipped()
        return self._view(self.context.languages.of(request), visitor)

    def give_back(self, request: gr.Request, visitor: Visitor, count: float) -> list[Any]:
        """gradio did not run the answer, or ended it."""
        say = self.context.languages.of(request)
        if visitor.stops.takes_report(count, waits=self.line.waits(request.session_hash, self.answer)):
            if visitor.stops.phase == "running":  # its own views follow
                return self._skipped()
            return self._view(say, visitor)
        notice = not_taken(say, self.context, self.line(), self.line.wait_s(0))
        if not visitor.conversation.is_open:
            return self._view(say, visitor, notice=notice)
        visitor.record.value, draft, visitor.editing = handlers.refused(visitor.conversation)
        return self._view(say, visitor, draft, notice)

    def ahead(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        """How many come before, for somebody who waits in gradio's queue; asked for no more by who does not."""
        say, is_waiting = self.context.languages.of(request), visitor.stops.phase == "asked"
        place = self.line.ahead(request.session_hash) if is_waiting and visitor.conversation.is_open else None
        if place is None:
            return ["", gr.Timer(active=is_waiting)]
        words = say("chat.next") if place == 0 else say.counted("chat.ahead", place)
        return [markup.line(words, "remark"), gr.skip()]

    # --- those that do not

    def stop(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        visitor.record.stopped(Conversation.stopped)
        return self._view(self.context.languages.of(request), visitor)

    def undo(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        if visitor.conversation.is_open:  # as for a retry; what is written would bring it back
            return self._skipped()
        visitor.editing = None
        visitor.record.value, draft = handlers.undo(visitor.conversation)
        return self._view(self.context.languages.of(request), visitor, draft)

    def clear(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        """The box is left alone: what is in it may have been added since."""
        visitor.record.stopped(lambda _: Conversation())
        visitor.editing = None
        return self._view(self.context.languages.of(request), visitor)

    def edit(self, request: gr.Request, index: float | None, box: Box, visitor: Visitor) -> list[Any]:
        """Put an earlier question into the box, where sending it begins anew from there."""
        turn = handlers.question_at(visitor.conversation, index)
        if turn is None or index is None:
            return self._skipped()
        if visitor.editing is None:
            visitor.set_aside = draft_in(box)
        visitor.editing = int(index)
        return self._view(self.context.languages.of(request), visitor, handlers.draft_of(turn))

    def keep(self, request: gr.Request, visitor: Visitor) -> list[Any]:
        """No editing after all."""
        visitor.editing = None
        return self._view(self.context.languages.of(request), visitor, visitor.set_aside)

    def restore(self, request: gr.Request, token: str | None, visitor: Visitor) -> list[Any]:
        """What the tab showed before it was reloaded; ``token`` is what its storage holds, or anything else."""
        visitor.token, found = self.shelf.take((token or "")[:100])
        with visitor.stops.lock:
            if visitor.stops.number or visitor.conversation.turns or not found.turns:  # asked already, or nothing there
                self.shelf.keep(visitor.token, visitor.conversation)
                return [*self._skipped(), visitor.token]
            visitor.record.value = found
        return [*self._view(self.context.languages.of(request), visitor), visitor.token]

    def show(self, say: Texts, visitor: Visitor, conversation: Conversation) -> list[Any]:
        """A conversation that was opened from a file."""
        visitor.editing = None
        visitor.record.value = conversation
        return self._view(say, visitor)

    # --- what they share

    def _asked(
        self, visitor: Visitor, before: Conversation, conversation: Conversation, count: float, asked: tuple[Any, ...]
    ) -> bool:
        """False, and nothing is asked, where the conversation is no longer what it was before: a double click makes two
        events, and the other one may have been first.

        The answer is begun where a place is free, so that the model does not wait for the page to come for it.
        """
        stops = visitor.stops
        with stops.lock:
            if visitor.conversation is not before:
                return False
            visitor.record.asked(conversation, count)
            visitor.editing, number = None, stops.number
        visitor.begun = self.starts.begin(
            self._answered(conversation, asked),
            lambda: stops.is_open and stops.number == number,
            free=lambda: self.line.free(self.context.engine.capacity),
        )
        return True

    def _steps(self, visitor: Visitor, asked: tuple[Any, ...]) -> Generator[Conversation, None, None]:
        """Those that were begun, or else new ones."""
        begun, visitor.begun = visitor.begun, None
        return (begun and begun.take()) or self._answered(visitor.conversation, asked)

    def _answered(self, conversation: Conversation, asked: tuple[Any, ...]) -> Generator[Conversation, None, None]:
        """``asked`` is the system prompt and the sampling controls."""
        system, *controls = asked
        return handlers.answer(self.context, conversation, controls, system)

    # --- views

    def _kept(self, visitor: Visitor) -> Conversation:
        """What is in the record now, and on the shelf, whatever a view was to be made of."""
        with visitor.stops.lock:
            self.shelf.keep(visitor.token, visitor.conversation)
            return visitor.conversation

    def _grown(self, say: Texts, visitor: Visitor) -> list[Any]:
        return [visitor, visitor.transcript.messages(say, self._kept(visitor))]

    def _skipped(self) -> list[Any]:
        return [gr.skip()] * len(self.tab.outputs)

    def _view(
        self,
        say: Texts,
        visitor: Visitor,
        draft: Draft | None = None,
        notice: str = "",
    ) -> list[Any]:
        """Values for `ChatTab.outputs`; without a draft the box keeps what is in it."""
        conversation = self._kept(visitor)
        is_open, editing = conversation.is_open, visitor.editing
        value = {} if draft is None else {"value": value_of(draft)}
        ready = gr.update(interactive=bool(conversation.turns) and not is_open)
        said = markup.line(notice, "error")
        if not notice and editing is not None:
            said = markup.line(say("chat.editing", number=editing + 1), "remark")
        return [
            visitor,
            visitor.transcript.messages(say, conversation),
            gr.update(submit_btn=not is_open, stop_btn=is_open, **value),
            said,
            gr.Timer(active=visitor.stops.phase == "asked" and visitor.begun is None),
            "",
            ready,
            ready,
            ready,
            gr.update(visible=editing is not None),
        ]
