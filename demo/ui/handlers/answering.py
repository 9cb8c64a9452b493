"""One answer as the page shows it while it grows: the engine's events, put together and slowed down.

Owns the pace of updates, the reading of boxes and the small line about speed. Knows nothing of gradio, tabs or how
anything looks. Each step yields at least every quarter of a second, which is how Stop and a closed tab are noticed;
leaving the iterator closes the engine's stream, which never waits.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from demo.catalog import ModelSpec
from demo.engine.events import Done, Ping, StreamEvent, Token
from demo.errors import DemoError
from demo.grounding import dialects
from demo.grounding.draw import draw
from demo.grounding.pictures import located
from demo.history import pictures_of, recent
from demo.types import Box, GenerateRequest, Message, Picture, Region, Role, Sampling, Size, Usage
from demo.ui.context import UiContext
from demo.ui.notes import Note, Remark, counted, note, told
from demo.ui.thinking import Thinker, Thought

UPDATE_S = 0.07  # about 14 updates a second: smooth to read, cheap to send

log = logging.getLogger(__name__)

AnswerState = Literal["waiting", "answering", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the phrases that a run looks for, and what came of it; ``text`` and ``regions`` are its own."""

    asked: str
    text: str
    regions: tuple[Region, ...]
    is_done: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer so far. ``drawn`` is a file with the boxes on a copy of the picture, there once the answer is done.

    Where there are boxes in several pictures, it is the first of them and the others are in ``also_drawn``.
    """

    state: AnswerState = "waiting"
    text: str = ""  # without the reasoning before it
    own: str | None = None  # the model's words alone, where others are around them in the text
    thought: Thought | None = None  # where the model thinks aloud
    regions: tuple[Region, ...] = ()
    drawn: str | None = None
    also_drawn: tuple[str, ...] = ()
    remark: Remark = (note("answer.queued"),)
    size: Size | None = None  # of the newest picture
    sizes: tuple[Size, ...] = ()  # of all pictures of the conversation, which the regions' indices count
    dialect: str | None = None  # of the boxes in the text
    parts: tuple[Part, ...] = ()  # where phrases were looked for; text and regions are those of all of them
    about: Box | None = None  # the region that was asked about


def answering(
    context: UiContext,
    role: Role,
    messages: tuple[Message, ...],
    sampling: Sampling,
    *,
    unnamed: str = "",
    draws: bool = True,
) -> Generator[Answer, None, None]:
    """Ask the engine; yields the growing answer, raises what the engine raised.

    Boxes that the model wrote without words of their own are called ``unnamed``, also in the drawn picture. Without
    ``draws`` nothing is drawn, for those who do it themselves.
    """
    spec = context.spec(role)
    pictures = pictures_of(messages)
    sizes = tuple(picture.size for picture in pictures)
    read = _reader(spec, sizes, messages[-1].text, unnamed)
    answer = Answer(size=sizes[-1] if sizes else None, sizes=sizes, dialect=spec.dialect if spec else None)
    request = GenerateRequest(uuid.uuid4().hex, role, recent(messages, spec.max_turns if spec else None), sampling)
    yield answer
    thinker = Thinker(spec.traits.thoughts if spec else ())
    with closing(_as_generator(context, request)) as events:
        for event in _paced(events):
            if isinstance(event, Token):
                text = thinker.add(event.text)
                thought = thinker.thought
                answer = replace(answer, state="answering", text=text, thought=thought, regions=read(text), remark=())
            elif isinstance(event, Done):
                text = thinker.finish()
                answer = replace(answer, text=text, thought=thinker.thought, regions=read(text))
                answer = _finished(answer, event, context, pictures if draws else ())
                answer = replace(answer, remark=(*answer.remark, *_maker(context, spec, event)))
            elif answer.state == "waiting":
                answer = replace(answer, remark=_waiting(event))
            yield answer


def shown(steps: Generator[Answer, None, None]) -> Generator[Answer, None, None]:
    """The page's edge: an error becomes the last state of the answer, in one sentence, beside what was written."""
    answer = Answer()
    try:
        with closing(steps):
            for answer in steps:
                yield answer
    except DemoError as error:
        yield replace(answer, state="failed", remark=(told(str(error)),))
    except Exception:  # the request edge: the page goes on whatever happened
        log.exception("a request of the page failed")
        yield replace(answer, state="failed", remark=(note("answer.broken"),))


def _as_generator(context: UiContext, request: GenerateRequest) -> Generator[StreamEvent, None, None]:
    yield from context.engine.stream(request)


def _paced(events: Iterator[StreamEvent]) -> Iterator[StreamEvent]:
    """The same events with neighbouring tokens joined, so that a fast model does not flood the page."""
    pending: Token | None = None
    last_s = 0.0
    try:
        for event in events:
            if isinstance(event, Token):
                pending = event if pending is None else Token(event.request_id, pending.text + event.text)
                if time.monotonic() - last_s < UPDATE_S:
                    continue
                event, pending = pending, None
                last_s = time.monotonic()
            elif pending is not None:
                yield pending
                pending = None
            yield event
    except DemoError:  # what was written before is shown beside it
        if pending is not None:
            yield pending
        raise


def _finished(answer: Answer, done: Done, context: UiContext, pictures: Sequence[Picture]) -> Answer:
    by_picture = _by_picture(answer.regions) if pictures else ()
    drawn = [context.store.save(draw(pictures[index], found)) for index, found in by_picture]
    state: AnswerState = "stopped" if done.reason == "cancelled" else "done"
    is_unanswered = answer.thought is not None and answer.thought.is_open
    remark = _cost(done.usage, done.reason, is_unanswered)
    first = drawn[0] if drawn else None
    return replace(answer, state=state, drawn=first, also_drawn=tuple(drawn[1:]), remark=remark)


def _by_picture(regions: Sequence[Region]) -> Iterator[tuple[int, list[Region]]]:
    """The pictures that have boxes, in their order, and theirs."""
    for index in sorted({region.picture or 0 for region in regions}):
        yield index, [region for region in regions if (region.picture or 0) == index]


def _reader(
    spec: ModelSpec | None, sizes: Sequence[Size], question: str, unnamed: str
) -> Callable[[str], tuple[Region, ...]]:
    """Reads the boxes of a text; none where the model draws none or has seen no picture."""
    if spec is None or spec.dialect is None:
        return lambda _: ()
    dialect, views = dialects.get(spec.dialect), [spec.view(size) for size in sizes]

    def read(text: str) -> tuple[Region, ...]:
        found = located(text, dialect, views, question)
        return tuple(replace(region, label=region.label or unnamed) for region in found)

    return read


def _waiting(ping: Ping) -> Remark:
    detail = (told(ping.detail),) if ping.detail else ()
    if ping.state == "queued":
        return (note("answer.queued"), *detail)
    if ping.state == "loading":
        stage = told(ping.detail or "starting")
        if ping.fraction is None:
            return (note("answer.loading", stage=stage),)
        return (note("answer.loaded", stage=stage, percent=f"{ping.fraction:.0%}"),)
    return detail or (note("answer.looking"),)


def _cost(usage: Usage, reason: str, is_unanswered: bool) -> Remark:
    parts = [counted("answer.tokens", usage.completion_tokens)]
    if usage.tokens_per_s:
        parts.append(note("answer.speed", speed=f"{usage.tokens_per_s:.0f}"))
    parts.append(note("answer.first", took=_duration(usage.first_token_s)))
    if reason == "length":
        parts.append(note("answer.cut_thinking" if is_unanswered else "answer.cut"))
    return tuple(parts)


def _maker(context: UiContext, spec: ModelSpec | None, done: Done) -> Remark:
    """Which replica wrote it, where there are several."""
    replicas = context.engine.snapshot().replicas
    if spec is None or done.replica is None or sum(replica.model == spec.name for replica in replicas) < 2:
        return ()
    return (note("answer.replica", number=done.replica),)


def _duration(seconds_s: float) -> Note:
    if seconds_s < 1:
        return note("time.milliseconds", count=f"{seconds_s * 1000:.0f}")
    return note("time.seconds", seconds=f"{seconds_s:.1f}")
