"""The compare tab: the same question about the same picture on two sides, each with its own settings, or its own model.

Owns the parts, both sides' events and that one button stops both. Each side takes a place of its own in the queue, so
that both are written at once where the engine can. What is asked is decided in `demo.ui.handlers.compare`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import gradio as gr

from demo.grounding.palette import colour_of
from demo.types import Sampling
from demo.ui import markup
from demo.ui.context import UiContext
from demo.ui.handlers import compare as handlers
from demo.ui.handlers.answering import Answer, shown
from demo.ui.labels import label
from demo.ui.language import Texts
from demo.ui.line import Line
from demo.ui.notes import line_of
from demo.ui.reading import readable
from demo.ui.stops import Stops
from demo.ui.tabs.chat import system_prompt
from demo.ui.tabs.looking_events import asked_line
from demo.ui.thinking import pending
from demo.ui.widgets import (
    REACHABLE,
    SamplingControls,
    answer_event,
    not_taken,
    picture_input,
    quick_event,
    sampling_controls,
    unavailable,
)

Place = Literal["left", "right"]
PLACES: tuple[Place, ...] = ("left", "right")
# Two sides that are the same from the start would have nothing to tell.
STARTS: dict[Place, Sampling] = {"left": Sampling(), "right": Sampling(temperature=0.8, top_p=0.95)}


@dataclass(slots=True)
class Both:
    """One visitor's runs on both sides. Changed in place by that visitor's events.

    Each side has `Stops` of its own, as gradio reports each side's run for itself, and no `Record` as on the other
    tabs: an answer here is shown and then asked about no more, so that nothing of it is kept for a later view.
    """

    left: Stops = field(default_factory=Stops)
    right: Stops = field(default_factory=Stops)

    def of(self, place: Place) -> Stops:
        return self.left if place == "left" else self.right

    @property
    def was_stopped(self) -> bool:
        return any(self.of(place).was_stopped for place in PLACES)

    @property
    def is_open(self) -> bool:
        return self.left.is_open or self.right.is_open


@dataclass(frozen=True, slots=True)
class Side:
    model: gr.Radio
    sampling: SamplingControls
    system: gr.Textbox
    line: gr.HTML
    text: gr.HTML
    drawn: gr.Image

    @property
    def outputs(self) -> list[Any]:
        return [self.line, self.text, self.drawn]


@dataclass(frozen=True, slots=True)
class CompareTab:
    both: gr.State
    number: gr.Number  # of the newest run, which both sides have in common
    picture: gr.Image
    question: gr.Textbox
    run: gr.Button
    stop: gr.Button
    sides: dict[Place, Side]

    @property
    def lines(self) -> list[Any]:
        return [*(self.sides[place].line for place in PLACES), self.run, self.stop]


def build(context: UiContext, line: Line) -> CompareTab | None:
    """None where no loaded model answers questions; the tab then says so."""
    if unavailable(context, "chat"):
        return None
    tab = _layout(context)
    _wire(tab, context, line)
    return tab


def _layout(context: UiContext) -> CompareTab:
    with gr.Row(elem_classes=["sides"]):
        with gr.Column(min_width=300):
            picture = picture_input("compare-picture")
        with gr.Column(min_width=300):
            question = gr.Textbox(label=label("compare.question"), lines=3, max_lines=8, elem_id="compare-question")
            with gr.Row(elem_classes=["switch"]):
                run = gr.Button(label("compare.run"), variant="primary", elem_id="compare-run", scale=3)
                stop = gr.Button(label("compare.stop"), interactive=False, elem_id="compare-stop", scale=1)
    settings, results = {}, {}
    with gr.Row(elem_classes=["sides"]):  # rows of their own, so that the answers begin at one height
        for place in PLACES:
            with gr.Column(min_width=300):
                settings[place] = _settings(context, place)
    with gr.Row(elem_classes=["sides", "answers"]):
        for place in PLACES:
            with gr.Column(min_width=300):
                results[place] = _result(place)
    sides = {place: Side(*settings[place], *results[place]) for place in PLACES}
    return CompareTab(gr.State(Both()), gr.Number(0, visible="hidden"), picture, question, run, stop, sides)


def _settings(context: UiContext, place: Place) -> tuple[gr.Radio, SamplingControls, gr.Textbox]:
    names = list(handlers.models(context))
    gr.HTML(f"<h2 class='side'>{label(f'compare.{place}')}</h2>")
    chosen = names[-1] if place == "right" else names[0]
    model = gr.Radio(
        names, value=chosen, label=label("compare.model"), visible=len(names) > 1, elem_id=f"compare-{place}-model"
    )
    sampling = sampling_controls(STARTS[place] if len(names) == 1 else Sampling())
    takes = any(spec.has_system for spec in context.specs.values())
    return model, sampling, system_prompt(f"compare-{place}-system", takes=takes)


def _result(place: Place) -> tuple[gr.HTML, gr.HTML, gr.Image]:
    gr.HTML(f"<h2 class='side'>{label(f'compare.{place}_answer')}</h2>")
    line = gr.HTML(elem_id=f"compare-{place}-line")
    hint = f"<p class='line hint'>{label('compare.hint')}</p>"
    text = gr.HTML(hint, elem_id=f"compare-{place}-text", elem_classes=["side-text"], js_on_load=REACHABLE)
    drawn = gr.Image(
        label=label("compare.drawn"), show_label=False, interactive=False, type="filepath", visible=False,
        buttons=["fullscreen"], elem_id=f"compare-{place}-drawn", elem_classes=["side-drawn"],
    )  # fmt: skip
    return line, text, drawn


def _wire(tab: CompareTab, context: UiContext, line: Line) -> None:
    def start(request: gr.Request, both: Both, number: float) -> list[Any]:
        say = context.languages.of(request)
        for place in PLACES:
            both.of(place).asked(number)
        lines = [asked_line(say, context, line, before=index) for index in range(len(PLACES))]
        return [*lines, *_pressed(True), both.left.number]

    def stop(request: gr.Request, both: Both) -> list[Any]:
        """Both sides; one that is finished keeps its line."""
        lines = [_stopped(context.languages.of(request), both.of(place)) for place in PLACES]
        return [*lines, *_pressed(False)]

    def rest(both: Both) -> list[Any]:
        if both.was_stopped:  # it has been shown, and this may come after the next question
            return [gr.skip(), gr.skip()]
        return _pressed(both.is_open)

    triggers, known = [tab.run.click, tab.question.submit], [tab.both, tab.number]
    started = gr.on(triggers, start, known, [*tab.lines, tab.number], trigger_mode="multiple", **quick_event())
    model = answer_event(context)
    runs = []
    for place in PLACES:
        side = tab.sides[place]
        inputs = [tab.both, side.model, tab.picture, tab.question, side.system, *side.sampling.inputs]
        answers = _answers(context, place)
        failed = _failed(context, line, place, answers)
        running = started.success(answers, inputs, side.outputs, trigger_mode="multiple", **model)
        running.failure(failed, known, [side.line, tab.run, tab.stop], **quick_event())
        running.success(rest, tab.both, [tab.run, tab.stop], **quick_event())
        runs.append(running)
    tab.stop.click(stop, tab.both, tab.lines, cancels=runs, **quick_event())


def _answers(context: UiContext, place: Place) -> Callable[..., Generator[list[Any], None, None]]:
    def compare(
        request: gr.Request,
        both: Both,
        model: str | None,
        picture: str | None,
        question: str | None,
        system: str | None,
        *controls: Any,
    ) -> Generator[list[Any], None, None]:
        say, stops = context.languages.of(request), both.of(place)
        steps = shown(handlers.side(context, model, picture, question, system, controls))
        with closing(steps), stops.run() as run:
            for answer in steps if run.may_begin else ():
                if not run.is_current:
                    break
                yield _parts(say, answer)
            if run.was_stopped:  # what was on its way then may have come after the stop's own
                yield [markup.line(say("answer.stopped"), "remark"), gr.skip(), gr.skip()]

    return compare


def _failed(
    context: UiContext, line: Line, place: Place, answers: Callable[..., Generator[list[Any], None, None]]
) -> Callable[..., list[Any]]:
    def failed(request: gr.Request, both: Both, number: float) -> list[Any]:
        """gradio did not run a side, or ended it."""
        say, stops = context.languages.of(request), both.of(place)
        if stops.takes_report(number, waits=line.waits(request.session_hash, answers)):
            said = markup.line(say("answer.stopped"), "remark") if stops.was_stopped else gr.skip()
        else:
            said = markup.line(not_taken(say, context, line(), line.wait_s(0)), "error")
        return [said, *_pressed(both.is_open)]

    return failed


def _stopped(say: Texts, stops: Stops) -> Any:
    was_open = stops.is_open
    stops.stopped()
    return markup.line(say("answer.stopped"), "remark") if was_open else gr.skip()


def _pressed(is_running: bool) -> list[Any]:
    return [gr.update(interactive=not is_running), gr.update(interactive=is_running)]


def _parts(say: Texts, answer: Answer) -> list[Any]:
    """Values for `Side.outputs`."""
    words = line_of(say, answer.remark) or pending(say, answer.thought) or say("chat.writing")
    kind = {"failed": "error", "waiting": "busy", "answering": "busy"}.get(answer.state, "remark")
    pieces = readable(say, answer.text, answer.regions, answer.dialect, is_growing=answer.state != "done")
    text = markup.answer_html(pieces, colour_of(region.label for region in answer.regions))
    drawn = gr.update(value=answer.drawn, visible=answer.drawn is not None)
    return [markup.line(words, kind), f"<div class='answer'>{text}</div>" if text else "", drawn]
