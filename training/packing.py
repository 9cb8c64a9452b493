"""Many conversations about one picture in one row of tokens: what makes training cheap.

One pass of the vision tower serves about ten prompts. A row is the picture's prefix, which the model makes itself,
followed by ``length`` text tokens in which independent segments stand one after another. A segment sees the prefix
and its own past only; its rotary positions start afresh. Owns the arrays; knows nothing of masks or of the model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from training.asking import Asker, Turn
from training.captions import caption_detailed, caption_grounded, caption_short
from training.dialogue import conversation, without_picture
from training.questions import question
from training.referring import ground, ground_absent, region
from training.small_talk import small_talk, unknown

FIRST_POSITION = 4  # beginning of text 0, beginning of image 1, patches 2, end of image 3
FIRST_POSITION_BLIND = 1  # without a picture: beginning of text 0
IGNORED = -1
# The pieces of `training.tokenizer`, for text in ASCII.
_WORDS = re.compile(r" ?\[\[|\]\]| ?[A-Za-z]+|\d{3}|\d|\s|.")
TASKS = (
    "caption_short", "caption_detailed", "caption_grounded", "ground", "ground_absent", "region", "count", "colour",
    "is_colour", "where", "exist", "relation", "beside", "at_place", "extreme", "kinds", "more", "follow", "unknown",
    "alien", "small_talk", "no_picture", "coloured", "bigger", "nearest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """One conversation in tokens. ``labels[i]`` is what should follow ``ids[i]``, IGNORED inside questions."""

    ids: list[int]
    labels: list[int]
    tasks: list[int]
    blind: bool


class Encoder:
    """Turns into token ids, in the wording of CogVLM's "chat" template.

    Words recur, so each is given to the tokenizer once; `training.tokenizer` cuts text into words the same way.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._fast = tokenizer.backend_tokenizer
        self._end = tokenizer.eos_token_id
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in _WORDS.findall(text):
            if word not in self._known:
                self._known[word] = self._fast.encode(word, add_special_tokens=False).ids
            ids += self._known[word]
        return ids

    def segment(self, turns: Sequence[Turn], *, blind: bool = False) -> Segment:
        """ "Question: {q} Answer: {a}" joined by line ends; after each answer the label is the end of text."""
        ids: list[int] = []
        labels: list[int] = []
        tasks: list[int] = []
        for i, turn in enumerate(turns):
            asked = self.encode(("\n" if i else "") + f"Question: {turn.question} Answer:")
            answered = self.encode(" " + turn.answer)
            ids += asked + answered
            labels += [IGNORED] * (len(asked) - 1) + answered + [self._end]
            tasks += [TASKS.index(turn.task)] * (len(asked) + len(answered))
        return Segment(ids, labels, tasks, blind)


def conversations(ask: Asker) -> Iterator[tuple[list[Turn], bool]]:
    """An endless mix of tasks about one scene, the dear ones first; each with whether it sees no picture."""
    rng = ask.rng
    yield [caption_grounded(ask)], False
    yield [ground(ask)], False
    yield conversation(ask, rng.choice((2, 3, 3, 4, 5, 6, 8))), False
    yield [(caption_short if rng.random() < 0.6 else caption_detailed)(ask)], False
    yield [ground(ask) if rng.random() < 0.6 else ground_absent(ask)], False
    yield [region(ask)], False
    while True:
        chance = rng.random()
        if chance < 0.03:
            yield without_picture(ask), True
        elif chance < 0.06:
            yield [unknown(ask)], False
        elif chance < 0.075:
            yield [small_talk(ask)], False
        elif chance < 0.15:
            yield [ground(ask)], False
        elif chance < 0.22:
            yield [region(ask)], False
        else:
            yield [question(ask)], False


@dataclass(frozen=True, slots=True)
class Row:
    """``length`` text tokens; ``segment`` is 0 for padding, negative for segments that see no picture."""

    ids: NDArray[np.int16]
    labels: NDArray[np.int16]
    positions: NDArray[np.int16]
    segment: NDArray[np.int8]
    tasks: NDArray[np.int8]


def pack(source: Iterable[Segment], *, length: int, misses: int = 3) -> Row:
    """Fill a row with segments until ``misses`` of them did not fit."""
    row = Row(
        np.zeros(length, np.int16),
        np.full(length, IGNORED, np.int16),
        np.zeros(length, np.int16),
        np.zeros(length, np.int8),
        np.zeros(length, np.int8),
    )
    start, number = 0, 0
    for part in source:
        end = start + len(part.ids)
        if end > length:
            misses -= 1
            if misses == 0:
                break
            continue
        number += 1
        first = FIRST_POSITION_BLIND if part.blind else FIRST_POSITION
        row.ids[start:end] = part.ids
        row.labels[start:end] = part.labels
        row.positions[start:end] = np.arange(first, first + len(part.ids))
        row.segment[start:end] = -number if part.blind else number
        row.tasks[start:end] = part.tasks
        start = end
    return row


def scene_rng(seed: int, index: int) -> random.Random:
    return random.Random(seed * 1_000_003 + index)
