"""How people ask: banks of wordings, one part of which is never trained, and the noise of real typing.

Owns the choice and the rendering of a wording. Knows nothing of pictures. The banks are data, in phrases.json;
every seventh wording of a bank (index 3, 10, 17, …) is held out of training and measures unseen paraphrases.
A wording that starts with "!" is an order ("count the dogs"), any other a question.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "unseen", "page"]

_BANKS = Path(__file__).with_name("phrases.json")
_ORDERS = (
    "",
    "",
    "",
    "please ",
    "please ",
    "can you ",
    "could you ",
    "could you please ",
    "would you ",
    "I want you to ",
    "now ",
    "just ",
)
_QUESTIONS = (
    "",
    "",
    "",
    "",
    "",
    "",
    "please tell me, ",
    "tell me, ",
    "hey, ",
    "so ",
    "can you tell me: ",
    "I wonder, ",
    "question: ",
)
_PICTURES = ("picture", "picture", "image", "image", "photo", "scene", "drawing", "pic")
_KEYS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Banks:
    """Wordings by task: ``trained`` and ``unseen``."""

    trained: dict[str, tuple[str, ...]]
    unseen: dict[str, tuple[str, ...]]

    @staticmethod
    def load() -> Banks:
        banks = json.loads(_BANKS.read_text())
        return Banks(
            {task: tuple(w for i, w in enumerate(words) if i % 7 != 3) for task, words in banks.items()},
            {task: tuple(w for i, w in enumerate(words) if i % 7 == 3) for task, words in banks.items()},
        )

    def ask(self, rng: random.Random, task: str, *, split: Split = "train", **slots: str) -> str:
        """A wording of ``task`` with its slots filled, dressed and typed as a person would.

        "page" is the first wording of the bank, clean: the one that the demo's own buttons send.
        """
        if split == "page" or (split == "train" and rng.random() < 0.12):
            return _finish(self.trained[task][0], slots, "picture")
        wording = rng.choice(self.unseen[task] if split == "unseen" else self.trained[task])
        return _typed(rng, _dressed(rng, wording, slots))


def _finish(wording: str, slots: dict[str, str], pic: str) -> str:
    text = _fill(wording.removeprefix("!"), slots, pic)
    return _capitalised(text) + _mark(wording, text)


def _capitalised(text: str) -> str:
    """With a capital at the start and after a question mark."""
    return re.sub(r"(^|\? )([a-z])", lambda found: found[1] + found[2].upper(), text)


def _mark(wording: str, text: str) -> str:
    if text.endswith("format"):
        return "."
    return "." if wording.startswith("!") else "?"


def _fill(text: str, slots: dict[str, str], pic: str) -> str:
    for slot, value in (*slots.items(), ("pic", pic)):
        text = text.replace("{" + slot + "}", value)
    return text


def _dressed(rng: random.Random, wording: str, slots: dict[str, str]) -> str:
    order = wording.startswith("!")
    text = _fill(wording.removeprefix("!"), slots, rng.choice(_PICTURES))
    text = rng.choice(_ORDERS if order else _QUESTIONS) + text
    if rng.random() < 0.06:
        text += rng.choice((" please", ", please", " for me", " now"))
    mark = _mark(wording, text) if rng.random() < 0.75 else rng.choice(("", "", "", ".", "?", "!"))
    if rng.random() < 0.7:
        text = _capitalised(text)
    return text + mark


def _typed(rng: random.Random, text: str) -> str:
    chance = rng.random()
    if chance < 0.12:
        return text.lower()
    if chance < 0.13:
        return text.upper()
    if chance < 0.22:
        return _misspelt(rng, text)
    return text


def _misspelt(rng: random.Random, text: str) -> str:
    """``text`` with one letter of one longer word doubled, dropped, swapped or mistyped."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word, at = words[place], rng.randrange(1, len(words[place]) - 1)
    words[place] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + rng.choice(_KEYS) + word[at + 1 :],
        )
    )
    return " ".join(words)
