"""What is not about the picture: greetings, what the model can do, and what it says it cannot know."""

from __future__ import annotations

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
    "ability": ABILITY,
    "identity": "I am a small CogVLM model, trained on drawn emoji scenes.",
}


def small_talk(ask: Asker) -> Turn:
    bank = ask.rng.choice(list(_ANSWERS))
    return ask.turn("small_talk", bank, _ANSWERS[bank])


def unknown(ask: Asker) -> Turn:
    """What no picture tells."""
    return ask.turn("unknown", "unknown", UNKNOWN, **ask.names(ask.some_noun(absent=0.3)))


def alien(ask: Asker) -> Turn:
    """A thing that the model was never shown: it says so instead of guessing."""
    bank = ask.banks.unseen if ask.split == "unseen" else ask.banks.trained
    word = ask.rng.choice(bank["alien"])
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
