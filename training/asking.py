"""What it takes to ask about a scene: a question with its true answer, and who asks it.

Owns `Turn` and `Asker`. A task is a function from an `Asker` to a `Turn`, or to None where the scene allows no fair
question of its kind (of two things level with each other it is not asked which is further left).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.phrases import Banks, Split
from training.view import View


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; ``focus`` is the noun that a pronoun in the next question would mean.

    ``also`` are the other nouns that question or answer name.
    """

    task: str
    question: str
    answer: str
    focus: int | None = None
    also: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Asker:
    """A scene, a source of chance and a set of wordings."""

    view: View
    rng: random.Random
    banks: Banks
    split: Split = "train"

    def turn(
        self,
        task: str,
        bank: str,
        answer: str,
        *,
        focus: int | None = None,
        also: tuple[int, ...] = (),
        **slots: str,
    ) -> Turn:
        return Turn(task, self.banks.ask(self.rng, bank, split=self.split, **slots), answer, focus, also)

    def some_noun(self, absent: float) -> int:
        """A noun of the scene, or with chance ``absent`` (and always in an empty scene) one that is not there."""
        if self.view.absent and (not self.view.by_noun or self.rng.random() < absent):
            return self.rng.choice(self.view.absent)
        return self.rng.choice(list(self.view.by_noun))

    def some_lone_noun(self) -> int | None:
        """A noun that the scene has exactly once."""
        lone = [noun for noun, group in self.view.by_noun.items() if len(group) == 1]
        return self.rng.choice(lone) if lone else None

    def names(self, noun: int) -> dict[str, str]:
        """The slots that a noun fills in a wording."""
        view = self.view
        return {
            "the": "the " + view.name(noun),
            "a": view.one(noun),
            "n": view.name(noun),
            "ns": view.name(noun, many=True),
        }
