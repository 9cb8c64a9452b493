"""The things that the bundled model can name: noun, plural, emoji code point, natural colour, category.

Owns: the table `nouns.tsv` and how it is read. Does not know: how the things are drawn.
A natural colour is given only where every drawing of the thing agrees on it; "" means that there is none to ask for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parent / "nouns.tsv"
COLUMNS = ("noun", "plural", "codepoint", "colour", "category")
# Words whose first letter and first sound disagree, as far as the table needs them.
SOUNDS_LIKE_CONSONANT = ("uni", "ufo", "eu", "one")
SOUNDS_LIKE_VOWEL = ("hour", "x-ray")


@dataclass(frozen=True)
class Noun:
    """One nameable thing. `codepoint` is lower-case hex without variation selector, e.g. 1f436."""

    name: str
    plural: str
    codepoint: str
    colour: str
    category: str


def load_nouns(table: Path = TABLE) -> tuple[Noun, ...]:
    """All nouns in the table's order, which is the order of the sprite bank's noun indices."""
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    if tuple(header.split("\t")) != COLUMNS:
        raise ValueError(f"{table.name} must start with the columns {', '.join(COLUMNS)}, but starts with {header!r}.")
    return tuple(Noun(*line.split("\t")) for line in lines)


def article(noun: str) -> str:
    """ "a" or "an", by sound: an owl, a unicorn, an hourglass."""
    word = noun.lower()
    if word.startswith(SOUNDS_LIKE_CONSONANT):
        return "a"
    return "an" if word[0] in "aeiou" or word.startswith(SOUNDS_LIKE_VOWEL) else "a"


def write_nouns_json(path: Path, nouns: tuple[Noun, ...] | None = None) -> None:
    """Writes noun -> emoji code point, so that anyone can draw new scenes of things that the model knows."""
    table = {noun.name: noun.codepoint for noun in nouns or load_nouns()}
    path.write_text(json.dumps(table, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
