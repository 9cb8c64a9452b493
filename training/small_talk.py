"""What is not about the picture: greetings, what the model can do, and what it says it cannot know."""

from __future__ import annotations

import random

from training.asking import Asker, Turn

ABILITY = (
    "I can describe the picture, answer questions about it, find things and give their boxes. "
    "I know drawn emoji scenes only."
)
UNKNOWN = "I cannot know that. I can only tell what is in the picture and where."
ALIEN = "That is not one of the things I know."
_ANSWERS = {
    "hello": "Hello! Ask me about the picture.",
    "thanks": "You are welcome.",
    "bye": "Goodbye!",
    "mood": "I am well, thank you. Ask me about the picture.",
    "ability": ABILITY,
    "identity": "I am a small CogVLM model, trained on drawn emoji scenes.",
}


_STARTS = (*"bdfghjklmnprstvwz", "bl", "br", "ch", "cr", "dr", "fl", "gl", "gr", "pl", "sh", "sk", "sp", "st", "tr", "")
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "o", "ee", "oo", "ai", "ou")
_ENDS = ("", "", *"bdgklmnprstx", "ck", "ll", "nd", "ng", "nt", "rt", "sk", "st", "tle", "ver")


def small_talk(ask: Asker) -> Turn:
    bank = ask.rng.choice(list(_ANSWERS))
    return ask.turn("small_talk", bank, _ANSWERS[bank])


def unknown(ask: Asker) -> Turn:
    """What no picture tells."""
    the2 = "the " + ask.view.name(ask.some_noun(absent=0.3))
    return ask.turn("unknown", "unknown", UNKNOWN, **ask.names(ask.some_noun(absent=0.3)), the2=the2)


def remark(ask: Asker, focus: int | None) -> Turn:
    """Praise or doubt of the last answer, and what is said to it."""
    bank, answer = ask.rng.choice((("praise", "Thank you."), ("wrong", "I may be wrong, but that is what I see.")))
    return ask.turn("small_talk", bank, answer, focus=focus)


def alien(ask: Asker) -> Turn:
    """A thing that the model was never shown: it says so instead of guessing.

    Every other word of training is made up, for no list holds all that people may ask for.
    """
    known = ask.banks.unseen if ask.split == "unseen" else ask.banks.trained
    made_up = ask.split == "train" and ask.rng.random() < 0.5
    word = _made_up(ask.rng) if made_up else ask.rng.choice(known["alien"])
    many = word + "s"
    slots = {
        "a": ("an " if word[0] in "aeiou" else "a ") + word,
        "n": word,
        "ns": many,
        "the": "the " + word,
        "x": ask.rng.choice(("the " + word, word, "all " + many)),
    }
    task = ask.rng.choice(("exist", "exist", "ground", "count", "where", "colour"))
    return ask.turn("alien", task, ALIEN, **slots)


def _made_up(rng: random.Random) -> str:
    """A word of two or three syllables; one in some ten thousand is a noun by accident."""
    syllables = [rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(rng.choice((1, 2, 2)))]
    return "".join(syllables) + rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS)
