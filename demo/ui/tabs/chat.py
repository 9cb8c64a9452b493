"""The chat tab: its layout, its events, and how a conversation is shown.

Owns the translation between `Conversation` and gradio's components. What happens to a conversation is decided in
`demo.ui.handlers.chat`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.errors import DemoError
from demo.grounding.palette import colour_of
from demo.ui import markup
from demo.ui.context import UiContext, Waiting
from demo.ui.conversation import Conversation, Turn
from demo.ui.examples import Example, load_examples
from demo.ui.handlers import chat as handlers
from demo.ui.handlers.chat import Draft
from demo.ui.language import load_languages
from demo.ui.notes import line_of
from demo.ui.reading import readable
from demo.ui.stops import Stops
from demo.ui.thinking import thought_markdown
from demo.ui.widgets import (
    SamplingControls,
    example_buttons,
    message_input,
    model_event,
    not_taken,
    quick_event,
    sampling_controls,
)

_SAY = load_languages().english  # until this tab speaks both languages
_COPY_JS = """() => {
  const parts = [...document.querySelectorAll('#conversation .bot .message-content')];
  const answers = parts.filter(part => !part.querySelector('.remark, .pending, .failure, .reasoning'));
  const text = answers.length ? answers[answers.length - 1].innerText.trim() : '';
  if (navigator.clipboard) navigator.clipboard.writeText(text);
}"""

_WELCOME = """### Ask about a picture
Add one with the clip below, or drop or paste it into the box; or try an example.
What an answer points at is drawn on a copy."""


@dataclass(frozen=True, slots=True)
class ChatTab:
    conversation: gr.State
    stops: gr.State
    chatbot: gr.Chatbot
    box: gr.MultimodalTextbox
    notice: gr.HTML
    retry: gr.Button
    undo: gr.Button
    copy: gr.Button
    clear: gr.Button
    sampling: SamplingControls
    examples: list[gr.Button]

    @property
    def outputs(self) -> list[Any]:
        return [self.conversation, self.chatbot, self.box, self.notice, self.retry, self.undo, self.copy]


def build(context: UiContext, waiting: Waiting) -> ChatTab:
    examples = load_examples("chat")
    spec = context.spec("chat")
    tab = _layout(examples, takes_clips=spec is not None and spec.max_frames > 0)
    _wire(tab, context, waiting)
    for button, example in zip(tab.examples, examples, strict=True):
        button.click(_filler(context, example), None, tab.box, **quick_event())
    return tab


def _layout(examples: tuple[Example, ...], *, takes_clips: bool) -> ChatTab:
    chatbot = gr.Chatbot(
        elem_id="conversation",
        show_label=False,
        container=False,
        height="min(62vh, 640px)",  # a fixed one: with max_height the newest words do not scroll into view
        placeholder=_WELCOME,
        buttons=[],
        layout="bubble",
        latex_delimiters=[],
        allow_tags=False,
        feedback_options=None,
    )
    notice = gr.HTML(elem_id="chat-notice")
    box = message_input("message", takes_clips=takes_clips)
    with gr.Row(elem_classes=["actions"]):
        names = ("Retry", "Undo", "Copy answer")
        retry, undo, copy = (gr.Button(name, size="sm", interactive=False) for name in names)
        clear = gr.Button("Clear", size="sm")
    shown = example_buttons(examples)
    return ChatTab(
        gr.State(Conversation(), time_to_live=6 * 3600), gr.State(Stops()), chatbot, box, notice, retry, undo, copy,
        clear, sampling_controls(), shown,
    )  # fmt: skip


def _wire(tab: ChatTab, context: UiContext, waiting: Waiting) -> None:
    asking = [tab.conversation, tab.stops, *tab.sampling.inputs]
    model = {**model_event(context), "api_visibility": "private", "show_progress": "hidden"}
    # Counts the accepted questions: its change asks the model, so that a refused one never joins the queue. A gr.State
    # would not do, its change is not told after an event that runs beside the queue.
    accepted = gr.Number(0, visible="hidden")

    def send(value: dict[str, Any] | None, conversation: Conversation, stops: Stops, count: float) -> list[Any]:
        value = value or {}
        draft = Draft(value.get("text") or "", tuple(value.get("files") or ()))
        try:
            accepted = handlers.accept(context, draft, conversation)
        except DemoError as error:
            return [*_view(conversation, notice=str(error)), count]
        stops.asked()
        return [*_view(accepted, Draft()), count + 1]

    def retry(conversation: Conversation, stops: Stops, count: float) -> list[Any]:
        stops.asked()
        return [*_view(conversation.asked_again()), count + 1]

    def answer(conversation: Conversation, stops: Stops, *controls: Any) -> Generator[list[Any], None, None]:
        yield from _run(handlers.answer(context, conversation, controls), stops)

    def give_back(conversation: Conversation, stops: Stops) -> list[Any]:
        if stops.takes_report():
            return [gr.skip()] * len(tab.outputs) if stops.is_open else _at_rest(conversation, stops)
        notice = not_taken(_SAY, context, waiting())
        if not conversation.is_open:
            return _view(conversation, notice=notice)
        if (kept := conversation.not_asked_again()) is not None:
            return _view(kept, notice=notice)
        return _view(*handlers.undo(conversation), notice=notice)

    asked = [*tab.outputs, accepted]
    tab.box.submit(send, [tab.box, tab.conversation, tab.stops, accepted], asked, **quick_event())
    tab.retry.click(retry, [tab.conversation, tab.stops, accepted], asked, **quick_event())
    # One event for both: gradio cancels several one after the other, and would meet what was asked for meanwhile.
    running = accepted.change(answer, asking, tab.outputs, trigger_mode="multiple", **model)
    running.failure(give_back, [tab.conversation, tab.stops], tab.outputs, **quick_event())
    tab.box.stop(_stop, [tab.conversation, tab.stops], tab.outputs, cancels=[running], **quick_event())
    tab.undo.click(_undo, tab.conversation, tab.outputs, **quick_event())
    for clears in (tab.clear.click, tab.chatbot.clear):
        clears(_clear, tab.stops, tab.outputs, cancels=[running], **quick_event())
    tab.copy.click(None, None, None, js=_COPY_JS)


def _filler(context: UiContext, example: Example) -> Any:
    return lambda: {"text": example.text, "files": [example.copied(context.store.folder)]}


# --- what the events that do not ask the model do


def _stop(conversation: Conversation, stops: Stops) -> list[Any]:
    stops.stopped()
    return _view(conversation.stopped())


def _undo(conversation: Conversation) -> list[Any]:
    return _view(*handlers.undo(conversation))


def _clear(stops: Stops) -> list[Any]:
    stops.cleared()
    return _view(Conversation())  # the box is left alone: what is in it may have been added since


# --- how a conversation looks


def _run(steps: Generator[Conversation, None, None], stops: Stops) -> Generator[list[Any], None, None]:
    """An answer's views as long as it is wanted: full ones where the buttons change, otherwise only what grows."""
    shown = Conversation()
    with closing(steps), stops.run() as run:
        for conversation in steps if run.may_begin else ():
            if not run.is_current:
                break
            is_same = conversation.is_open == shown.is_open
            yield [conversation, messages(conversation), *[gr.skip()] * 5] if is_same else _view(conversation)
            shown = conversation
        if run.was_stopped:  # a view that was on its way then may have come after the stop's own
            yield _at_rest(shown, stops)


def _at_rest(conversation: Conversation, stops: Stops) -> list[Any]:
    """After a stop: what was written; after a clear nothing, though a last view of it may have come late."""
    return _view(Conversation() if stops.phase == "cleared" else conversation.settled())


def _view(conversation: Conversation, draft: Draft | None = None, notice: str = "") -> list[Any]:
    """Values for `ChatTab.outputs`; without a draft the box keeps what is in it."""
    is_open = conversation.is_open
    has_turns = bool(conversation.turns)
    value = {} if draft is None else {"value": {"text": draft.text, "files": list(draft.files)}}
    ready = gr.update(interactive=has_turns and not is_open)
    return [
        conversation,
        messages(conversation),
        gr.update(submit_btn=not is_open, stop_btn=is_open, **value),
        markup.line(notice, "error"),
        ready,
        ready,
        ready,
    ]


def messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The conversation as `gr.Chatbot` takes it."""
    return [message for turn in conversation.turns for message in (_question(turn), _answer(turn))]


def _question(turn: Turn) -> dict[str, Any]:
    pictures = [{"path": picture.shown, "alt_text": "The picture that was added"} for picture in turn.pictures]
    notes = "".join(f"\n\n{_remark(picture.note, 'remark')}" for picture in turn.pictures if picture.note)
    return {"role": "user", "content": [*pictures, markup.verbatim_markdown(turn.question) + notes]}


def _answer(turn: Turn) -> dict[str, Any]:
    content: list[Any] = []
    if turn.thought:
        content.append(thought_markdown(_SAY, turn.thought, is_growing=turn.is_open))
    if turn.answer:
        content.append(_text(turn))
    content += drawn_pictures(turn)
    if turn.remark:
        kind = "failure" if turn.state == "failed" else "pending" if turn.state == "waiting" else "remark"
        raw = markup.own_words(_SAY, turn.answer) if turn.regions and not turn.is_open else ""
        content.append(_remark(line_of(_SAY, turn.remark), kind) + raw)
    return {"role": "assistant", "content": content or [_remark("No words came back", "remark")]}


def drawn_pictures(turn: Turn) -> list[dict[str, str]]:
    """One copy for each picture that has boxes, each named after its own."""
    indices = sorted({region.picture or 0 for region in turn.regions})
    shown = []
    for index, path in zip(indices, (turn.drawn, *turn.also_drawn)):
        found = (region.label or "something" for region in turn.regions if (region.picture or 0) == index)
        if path:
            shown.append(
                {"path": path, "alt_text": f"The picture with boxes around: {', '.join(dict.fromkeys(found))}"}
            )
    return shown


def _text(turn: Turn) -> str:
    pieces = readable(_SAY, turn.answer, turn.regions, turn.dialect, is_growing=turn.state == "answering")
    return markup.answer_markdown(pieces, colour_of(region.label for region in turn.regions))


def _remark(text: str, kind: str) -> str:
    return f"<span class='{kind}'>{markup.verbatim_markdown(text)}</span>"
