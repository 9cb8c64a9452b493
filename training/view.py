"""What can truthfully be said of a scene: groups of things, their names, colours, places and boxes in words.

Owns the English of the answers. Knows nothing of questions or of how the scene is drawn. Boxes are fractions of the
picture, written as CogVLM does: three digits 000-999, thousandths of the width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from training.colours import COLOURS
from training.nouns import Noun, article
from training.scenes import Scene, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NOTHING = "There is nothing here that I know."
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
CATEGORIES = {
    "animal": ("animal", "animals"),
    "vehicle": ("vehicle", "vehicles"),
    "food": ("food", "foods"),
    "clothing": ("piece of clothing", "clothes"),
    "plant": ("plant", "plants"),
    "building": ("building", "buildings"),
    "music": ("musical instrument", "musical instruments"),
    "tool": ("tool", "tools"),
}


def coordinate(value: float) -> str:
    return f"{min(999, max(0, round(value * 1000))):03d}"


def box_text(boxes: Sequence[tuple[float, float, float, float]]) -> str:
    """``[[x0,y0,x1,y1]]``, several boxes joined by ";"."""
    return "[[" + ";".join(",".join(coordinate(v) for v in box) for box in boxes) + "]]"


def centre(thing: Thing) -> tuple[float, float]:
    x0, y0, x1, y1 = thing.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def area(thing: Thing) -> float:
    x0, y0, x1, y1 = thing.box
    return (x1 - x0) * (y1 - y0)


def _cell(value: float) -> int:
    return 0 if value < 1 / 3 else 1 if value < 2 / 3 else 2


def place(thing: Thing) -> str:
    """Which ninth of the picture the thing's centre lies in, in words."""
    x, y = centre(thing)
    return PLACES[_cell(y)][_cell(x)]


def place_is_clear(thing: Thing, margin: float = 0.03) -> bool:
    """Whether the centre keeps away from the borders between the ninths."""
    return all(abs(v - border) > margin for v in centre(thing) for border in (1 / 3, 2 / 3))


def join(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


@dataclass(frozen=True)
class View:
    """A scene as its nouns see it; things in order of their centres from left to right."""

    scene: Scene
    nouns: tuple[Noun, ...]

    @cached_property
    def things(self) -> tuple[Thing, ...]:
        return tuple(sorted(self.scene.things, key=lambda t: centre(t)[0]))

    @cached_property
    def by_noun(self) -> dict[int, tuple[Thing, ...]]:
        groups: dict[int, list[Thing]] = {}
        for thing in self.things:
            groups.setdefault(thing.noun, []).append(thing)
        return {noun: tuple(group) for noun, group in groups.items()}

    @cached_property
    def absent(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.nouns)) if i not in self.by_noun)

    def in_category(self, category: str) -> tuple[Thing, ...]:
        return tuple(t for t in self.things if self.nouns[t.noun].category == category)

    # --- words

    def name(self, noun: int, colour: int = -1, *, many: bool = False) -> str:
        """ "dog", "red dogs"."""
        word = self.nouns[noun].plural if many else self.nouns[noun].name
        return f"{COLOURS[colour]} {word}" if colour >= 0 else word

    def no_such(self, noun: int) -> str:
        return f"There is no {self.name(noun)} in the picture."

    def one(self, noun: int, colour: int = -1) -> str:
        """ "a dog", "an orange car"."""
        name = self.name(noun, colour)
        return f"{article(name)} {name}"

    def counted(self, number: int, noun: int, colour: int = -1) -> str:
        """ "a dog", "two dogs"."""
        return self.one(noun, colour) if number == 1 else f"{NUMBERS[number]} {self.name(noun, colour, many=True)}"

    def alike(self, things: Sequence[Thing]) -> list[list[Thing]]:
        """Things grouped by noun and colour, in order of the leftmost of each group."""
        groups: dict[tuple[int, int], list[Thing]] = {}
        for thing in things:
            groups.setdefault((thing.noun, thing.colour), []).append(thing)
        return list(groups.values())

    def listed(self, things: Sequence[Thing], *, boxes: bool = False) -> str:
        """ "a red dog, two cats and a car", with boxes after each name when asked."""
        parts = []
        for group in self.alike(things):
            words = self.counted(len(group), group[0].noun, group[0].colour)
            parts.append(f"{words} {box_text([t.box for t in group])}" if boxes else words)
        return join(parts)

    def colour_of(self, noun: int) -> str | None:
        """The colour word that all things of ``noun`` share: "" when they have none to name, None when mixed."""
        colours = {t.colour for t in self.by_noun[noun]}
        if len(colours) > 1:
            return None
        colour = colours.pop()
        return COLOURS[colour] if colour >= 0 else self.nouns[noun].colour
