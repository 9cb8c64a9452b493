"""One picture's caption: the model is asked, its answer read, and asked again where it went in circles.

Owns the wording of the request, prefix and suffix, and what a caption is. Knows nothing of files, lists or who shows
it. The engine is whatever streams answers, a `ModelManager`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from demo.captioning.repetition import loops
from demo.catalog import BUNDLED, ModelSpec
from demo.engine.events import Done, StreamEvent, Token
from demo.grounding import dialects
from demo.grounding.highlight import plain
from demo.grounding.pictures import located
from demo.prompts import PromptSet
from demo.reasoning import split
from demo.types import GenerateRequest, Message, Picture, Region, Sampling, Usage

PENALTY = 1.2  # of repetition, where the first answer went in circles
LENGTHS = (10, 25, 50, 100)  # words, to choose from; a model that was asked for one keeps it roughly


DEFAULT = Sampling()


class Engine(Protocol):
    def stream(self, request: GenerateRequest) -> Iterator[StreamEvent]: ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """What every caption of a job is to be like."""

    style: str
    instruction: str = ""  # the user's, added to the style's own
    words: int = 0  # about how many are asked for; 0 leaves it to the style
    prefix: str = ""
    suffix: str = ""
    sampling: Sampling = DEFAULT

    def message(self, prompts: PromptSet, picture: Picture) -> Message:
        """The style's words, which may hold a template's special tokens, and the user's, which may not."""
        message = prompts.caption_of(self.style, picture)
        length = f"Use about {self.words} words." if self.words else ""
        return replace(message, text=" ".join(filter(None, (message.text, self.instruction, length))))

    @property
    def are_special(self) -> bool:
        """The model is asked for more than one of its own styles."""
        return bool(self.instruction or self.words)


def follows_wishes(spec: ModelSpec, prompts: PromptSet) -> bool:
    """Whether a model heeds an instruction beside its style: not one that knows fixed questions only."""
    return not prompts.whole and spec.source != str(BUNDLED)


@dataclass(frozen=True, slots=True)
class Caption:
    """``text`` is the model's words for reading between prefix and suffix; ``note`` is for people, often empty."""

    text: str
    regions: tuple[Region, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Captioner:
    """Asks one model in one way, from any thread."""

    engine: Engine
    spec: ModelSpec
    prompts: PromptSet
    wishes: Wishes

    def caption(self, picture: Picture, cancelled: Callable[[], bool]) -> Caption | None:
        """None where it was cancelled. Raises the engine's errors."""
        answer = self._answer(picture, self.wishes.sampling, cancelled)
        note = ""
        if answer is not None and loops(answer.text):
            penalty = max(PENALTY, self.wishes.sampling.repetition_penalty)
            answer = self._answer(picture, replace(self.wishes.sampling, repetition_penalty=penalty), cancelled)
            note = "it repeats itself, also when asked again" if answer and loops(answer.text) else "asked twice"
        if answer is None:
            return None
        regions = self._regions(answer.text, picture)
        words = plain(answer.text, regions).strip() or ", ".join(filter(None, (region.label for region in regions)))
        notes = (note, _cut_off(answer) if answer.is_cut else "")
        return Caption(self.wishes.prefix + words + self.wishes.suffix, regions, "; ".join(filter(None, notes)))

    def _answer(self, picture: Picture, sampling: Sampling, cancelled: Callable[[], bool]) -> _Answer | None:
        request = GenerateRequest(
            uuid.uuid4().hex, "captioning", (self.wishes.message(self.prompts, picture),), sampling, is_patient=True
        )
        pieces: list[str] = []
        with closing(self._events(request)) as events:
            for event in events:
                if cancelled():
                    return None
                if isinstance(event, Token):
                    pieces.append(event.text)
                elif isinstance(event, Done):
                    told = split("".join(pieces), self.spec.traits.thoughts)
                    return _Answer(told.answer.strip(), event.reason == "length", event.usage, told.is_thinking)
        return None

    def _events(self, request: GenerateRequest) -> Generator[StreamEvent, None, None]:
        yield from self.engine.stream(request)

    def _regions(self, text: str, picture: Picture) -> tuple[Region, ...]:
        if self.spec.dialect is None:
            return ()
        return tuple(located(text, dialects.get(self.spec.dialect), [self.spec.view(picture.size)]))


def _cut_off(answer: _Answer) -> str:
    count = answer.usage.completion_tokens
    if answer.is_thinking:
        return f"cut off after {count} tokens while it was still thinking"
    return f"cut off after {count} tokens"


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    is_cut: bool
    usage: Usage
    is_thinking: bool  # the model had not come to its answer
