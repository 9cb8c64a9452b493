"""Questions that set things side by side: which are red, which is bigger, what is next to what, two kinds at once.

Owns when such a comparison is fair: sizes, distances and orders that are nearly level are not asked about. Knows
nothing of the simpler questions (`training.questions`), which ask about one thing or one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from training.asking import Asker, Turn
from training.colours import COLOURS
from training.scenes import Thing
from training.view import CATEGORIES, NUMBERS, View, area, centre, join, sentence

_LARGER = 1.35  # one thing is called larger than another from this ratio of areas on
_NEARER = 1.3  # one is called nearer from this ratio of distances on
_APART = 0.06  # things are told in order along an axis where their neighbours keep this distance, of the picture
_SHADES = (*COLOURS, "black", "white")


def shade(view: View, thing: Thing) -> str:
    """What the thing's colour is called: what it is painted in, or what all of its kind have; "" for neither."""
    return COLOURS[thing.colour] if thing.colour >= 0 else view.nouns[thing.noun].colour


def _of_a_colour(ask: Asker) -> tuple[str, list[Thing]]:
    seen = sorted({word for t in ask.view.things if (word := shade(ask.view, t))})
    colour = ask.rng.choice(seen) if seen and ask.rng.random() < 0.7 else ask.rng.choice(_SHADES)
    return colour, [t for t in ask.view.things if shade(ask.view, t) == colour]


def coloured(ask: Asker) -> Turn:
    colour, things = _of_a_colour(ask)
    answer = sentence(ask.view.listed(things)) if things else f"I see nothing {colour}."
    return ask.turn("coloured", "coloured", answer, c=colour)


def any_coloured(ask: Asker) -> Turn:
    colour, things = _of_a_colour(ask)
    answer = f"Yes, {ask.view.listed(things)}." if things else f"No, I see nothing {colour}."
    return ask.turn("coloured", "any_coloured", answer, c=colour)


def _lone(view: View) -> list[Thing]:
    """Things that are the only ones of their kind."""
    return [group[0] for group in view.by_noun.values() if len(group) == 1]


def _two_sizes(ask: Asker) -> tuple[Thing, Thing] | None:
    lone = _lone(ask.view)
    if len(lone) < 2:
        return None
    first, second = ask.rng.sample(lone, 2)
    ratio = area(first) / area(second)
    return (first, second) if max(ratio, 1 / ratio) >= _LARGER else None


def bigger(ask: Asker) -> Turn | None:
    pair = _two_sizes(ask)
    if pair is None:
        return None
    large = ask.rng.choice(("bigger", "larger"))
    asked = ask.rng.choice((large, large, "smaller"))
    is_larger = area(pair[0]) > area(pair[1])
    first, second = ("the " + ask.view.name(t.noun) for t in pair)
    yes = "Yes" if is_larger == (asked == large) else "No"
    answer = f"{yes}, {first} is {large if is_larger else 'smaller'} than {second}."
    return ask.turn(
        "bigger", "bigger", answer, focus=pair[0].noun, also=(pair[1].noun,), the=first, the2=second, size=asked
    )


def which_bigger(ask: Asker) -> Turn | None:
    pair = _two_sizes(ask)
    if pair is None:
        return None
    asked = ask.rng.choice(("bigger", "larger", "smaller"))
    winner = (min if asked == "smaller" else max)(pair, key=area)
    first, second = ("the " + ask.view.name(t.noun) for t in pair)
    answer = f"The {ask.view.name(winner.noun)}."
    also = tuple(t.noun for t in pair)
    return ask.turn("bigger", "which_bigger", answer, focus=winner.noun, also=also, the=first, the2=second, size=asked)


def _distances(view: View, anchor: Thing, others: Sequence[Thing]) -> list[tuple[float, Thing]] | None:
    """The others by their distance from ``anchor``, nearest first, in the square that the model sees.

    None where the nearest is not clearly so, or is another one in the picture's own proportions.
    """

    def distance(thing: Thing, aspect: float) -> float:
        (x, y), (x0, y0) = centre(thing), centre(anchor)
        return math.hypot((x - x0) * aspect, y - y0)

    ranked = sorted(((distance(t, 1.0), t) for t in others), key=lambda pair: pair[0])
    if not ranked or (len(ranked) > 1 and ranked[1][0] < _NEARER * ranked[0][0]):
        return None
    nearest = min(others, key=lambda t: distance(t, view.scene.aspect))
    return ranked if nearest is ranked[0][1] else None


def nearest_answer(view: View, noun: int) -> tuple[str, int] | None:
    """What lies next to the only thing of a kind: the answer and the noun that it names."""
    if len(view.by_noun.get(noun, ())) != 1:
        return None
    anchor = view.by_noun[noun][0]
    ranked = _distances(view, anchor, [t for t in view.things if t is not anchor])
    if ranked is None:
        return None
    thing = ranked[0][1]
    return sentence(view.one(thing.noun, thing.colour)), thing.noun


def nearest(ask: Asker) -> Turn | None:
    noun = ask.some_lone_noun()
    found = nearest_answer(ask.view, noun) if noun is not None else None
    if noun is None or found is None:
        return None
    return ask.turn("nearest", "nearest", found[0], focus=found[1], also=(noun,), the="the " + ask.view.name(noun))


def which_nearer(ask: Asker) -> Turn | None:
    lone = _lone(ask.view)
    if len(lone) < 3:
        return None
    anchor, *others = ask.rng.sample(lone, 3)
    ranked = _distances(ask.view, anchor, others)
    if ranked is None:
        return None
    winner = ranked[0][1].noun
    the, the2, the3 = ("the " + ask.view.name(t.noun) for t in (anchor, *others))
    answer, also = f"The {ask.view.name(winner)}.", tuple(t.noun for t in (anchor, *others))
    return ask.turn("nearest", "which_nearer", answer, focus=winner, also=also, the=the, the2=the2, the3=the3)


_SIDES = ((0, False, "left"), (0, False, "left"), (0, True, "right"), (1, False, "top"), (1, True, "bottom"))
_ENDS = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}
_ORDER = ("first", "second", "third")


def _in_order(ask: Asker, count: int) -> tuple[str, Thing, int] | None:
    """A side, and one of the first ``count`` things from there, with its number."""
    axis, last, side = ask.rng.choice(_SIDES)
    ranked = sorted(ask.view.things, key=lambda t: centre(t)[axis], reverse=last)
    if len(ranked) < 2:
        return None
    number = ask.rng.randrange(min(count, len(ranked)))
    gaps = [abs(centre(a)[axis] - centre(b)[axis]) for a, b in pairwise(ranked[: number + 2])]
    return None if min(gaps) < _APART else (side, ranked[number], number)


def outermost(ask: Asker) -> Turn | None:
    found = _in_order(ask, 1)
    return _named(ask, "extreme", found[1], ext=_ENDS[found[0]]) if found else None


def ordered(ask: Asker) -> Turn | None:
    found = _in_order(ask, 3)
    return _named(ask, "ordered", found[1], nth=_ORDER[found[2]], side=found[0]) if found else None


def _named(ask: Asker, bank: str, thing: Thing, **slots: str) -> Turn:
    answer = f"The {ask.view.name(thing.noun, thing.colour)}."
    return ask.turn("extreme", bank, answer, focus=thing.noun, **slots)


def _two_kinds(ask: Asker, absent: float) -> tuple[int, int] | None:
    first, second = ask.some_noun(absent), ask.some_noun(absent)
    return None if first == second else (first, second)


def count_two(ask: Asker) -> Turn | None:
    pair = _two_kinds(ask, 0.15)
    if pair is None:
        return None
    view = ask.view
    numbers = [len(view.by_noun.get(noun, ())) for noun in pair]
    told = [f"{NUMBERS[number]} {view.name(noun, many=number != 1)}" for number, noun in zip(numbers, pair)]
    first, second = (view.name(noun, many=True) for noun in pair)
    return ask.turn("count", "count_two", sentence(join(told)), also=pair, ns=first, ns2=second)


def exist_two(ask: Asker) -> Turn | None:
    pair = _two_kinds(ask, 0.35)
    if pair is None:
        return None
    yes = "Yes" if all(noun in ask.view.by_noun for noun in pair) else "No"
    return _exist(ask, "exist_two", yes, pair)


def exist_either(ask: Asker) -> Turn | None:
    pair = _two_kinds(ask, 0.5)
    if pair is None:
        return None
    yes = "Yes" if any(noun in ask.view.by_noun for noun in pair) else "No"
    return _exist(ask, "exist_either", yes, pair)


def _exist(ask: Asker, bank: str, yes: str, pair: tuple[int, int]) -> Turn:
    """ "Yes, a dog and two cats.", "No, a dog but no cat.", "No, no dog and no cat." """
    view = ask.view
    there = [view.counted(len(view.by_noun[noun]), noun) for noun in pair if noun in view.by_noun]
    missing = [f"no {view.name(noun)}" for noun in pair if noun not in view.by_noun]
    told = " but ".join(join(part) for part in (there, missing) if part)
    slots = {"a": view.one(pair[0]), "a2": view.one(pair[1])}
    return ask.turn("exist", bank, f"{yes}, {told}.", also=pair, **slots)


def exist_category(ask: Asker) -> Turn:
    things, many = _some_category(ask)
    answer = f"Yes, {ask.view.listed(things)}." if things else f"No, there are no {many}."
    return ask.turn("kinds", "exist_category", answer, cats=many)


def where_category(ask: Asker) -> Turn:
    things, many = _some_category(ask)
    listed = sentence(ask.view.listed(things, boxes=True)) if things else f"There are no {many} in the picture."
    return ask.turn("kinds", "where_category", listed, cats=many)


def _some_category(ask: Asker) -> tuple[Sequence[Thing], str]:
    """A category, one of the scene's in two of three cases, with its things and its plural."""
    shown = [c for c in CATEGORIES if ask.view.in_category(c)]
    category = ask.rng.choice(shown if shown and ask.rng.random() < 0.67 else list(CATEGORIES))
    return ask.view.in_category(category), CATEGORIES[category][1]


COMPARISONS: tuple[tuple[float, Callable[[Asker], Turn | None]], ...] = (
    (0.5, coloured),
    (0.3, any_coloured),
    (0.35, bigger),
    (0.25, which_bigger),
    (0.4, nearest),
    (0.2, which_nearer),
    (0.25, outermost),
    (0.25, ordered),
    (0.3, count_two),
    (0.25, exist_two),
    (0.2, exist_either),
    (0.25, exist_category),
    (0.2, where_category),
)
