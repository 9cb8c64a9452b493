"""Questions about a picture that are answered in words: how many, which colour, where, is there, left of what.

Owns what makes each question fair and its answer true, and the mix of all kinds. What sets things beside one another is
in `training.comparing`. Answers that depend on a noun alone are functions of their own,
because follow-up questions in a conversation ("and the cat?") have the same answers.
"""

from __future__ import annotations

from collections.abc import Callable

from training.asking import Asker, Turn
from training.colours import COLOURS
from training.comparing import COMPARISONS
from training.scenes import Thing
from training.small_talk import alien
from training.view import (
    CATEGORIES,
    NOTHING,
    NUMBERS,
    PLACES,
    View,
    area,
    box_text,
    centre,
    join,
    place,
    place_is_clear,
    sentence,
)


def count(ask: Asker) -> Turn:
    noun = ask.some_noun(absent=0.12)
    return ask.turn("count", "count", count_answer(ask.view, noun), focus=noun, **ask.names(noun))


def count_answer(view: View, noun: int) -> str:
    return _there_are(len(view.by_noun.get(noun, ())), view.name(noun), view.name(noun, many=True))


def _there_are(number: int, one: str, many: str) -> str:
    return f"There is one {one}." if number == 1 else f"There are {NUMBERS[number]} {many}."


def _count_coloured(ask: Asker) -> Turn | None:
    tinted = [t for t in ask.view.things if t.colour >= 0]
    if not tinted:
        return None
    chosen = ask.rng.choice(tinted)
    number = sum(t.noun == chosen.noun and t.colour == chosen.colour for t in tinted)
    one, many = ask.view.name(chosen.noun, chosen.colour), ask.view.name(chosen.noun, chosen.colour, many=True)
    return ask.turn("count", "count", _there_are(number, one, many), focus=chosen.noun, n=one, ns=many)


def _count_category(ask: Asker) -> Turn:
    category = ask.rng.choice(list(CATEGORIES))
    one, many = CATEGORIES[category]
    answer = _there_are(len(ask.view.in_category(category)), one, many)
    return ask.turn("count", "count", answer, n=one, ns=many)


def _count_all(ask: Asker) -> Turn:
    number = len(ask.view.things)
    return ask.turn("count", "total", _there_are(number, "thing", "things") if number else NOTHING)


def _is_empty(ask: Asker) -> Turn:
    number = len(ask.view.things)
    told = _there_are(number, "thing", "things") if number else NOTHING
    answer = f"{'No' if number else 'Yes'}, {told[0].lower()}{told[1:]}"
    return ask.turn("kinds", "empty", answer)


def _colour(ask: Asker) -> Turn:
    noun = ask.some_noun(absent=0.04)
    if noun in ask.view.by_noun and ask.view.colour_of(noun) is None:
        return count(ask)
    return ask.turn("colour", "colour", colour_answer(ask.view, noun), focus=noun, the=_the(ask.view, noun))


def _the(view: View, noun: int) -> str:
    """ "the dog", or "the dogs" where there are several."""
    return "the " + view.name(noun, many=len(view.by_noun.get(noun, ())) > 1)


def colour_answer(view: View, noun: int) -> str:
    """For a noun that is absent, or all of whose things share a colour."""
    if noun not in view.by_noun:
        return view.no_such(noun)
    many = len(view.by_noun[noun]) > 1
    shade = view.colour_of(noun)
    subject = f"The {view.name(noun, many=many)}"
    if not shade:
        return f"{subject} {'have their' if many else 'has its'} usual colours."
    return f"{subject} {'are' if many else 'is'} {shade}."


def _is_colour(ask: Asker) -> Turn | None:
    noun = ask.some_lone_noun()
    shade = ask.view.colour_of(noun) if noun is not None else None
    if noun is None or not shade:
        return None
    guess = shade if ask.rng.random() < 0.5 else ask.rng.choice([c for c in COLOURS if c != shade])
    answer = f"{'Yes' if guess == shade else 'No'}, the {ask.view.name(noun)} is {shade}."
    return ask.turn("is_colour", "is_colour", answer, focus=noun, the="the " + ask.view.name(noun), c=guess)


def where(ask: Asker) -> Turn | None:
    noun = ask.some_noun(absent=0.08)
    answer = where_answer(ask.view, noun)
    the = _the(ask.view, noun)
    return ask.turn("where", "where", answer, focus=noun, the=the, n=the.removeprefix("the ")) if answer else None


def where_answer(view: View, noun: int) -> str | None:
    """The place in words, with the boxes; None where a place is on the border between two words."""
    group = view.by_noun.get(noun)
    if not group:
        return view.no_such(noun)
    if len(group) > 3 or not all(place_is_clear(t) for t in group):
        return None
    subject = f"The {view.name(noun, many=len(group) > 1)} {box_text([t.box for t in group])}"
    return f"{subject} {'are' if len(group) > 1 else 'is'} {join([place(t) for t in group])}."


def exist(ask: Asker) -> Turn:
    noun = ask.some_noun(absent=0.5)
    focus = noun if noun in ask.view.by_noun else None
    return ask.turn("exist", "exist", exist_answer(ask.view, noun), focus=focus, **ask.names(noun))


def exist_answer(view: View, noun: int) -> str:
    number = len(view.by_noun.get(noun, ()))
    if number == 0:
        return f"No, there is no {view.name(noun)}."
    return f"Yes, there {'is' if number == 1 else 'are'} {view.counted(number, noun)}."


_RELATIONS = (
    (0, "to the left of", "to the right of", "left of"),
    (0, "to the right of", "to the left of", "right of"),
    (1, "above", "below", "over"),
    (1, "below", "above", "under"),
)
_DIRECTIONS = (
    (0, True, "left", "left"),
    (0, False, "right", "right"),
    (1, True, "up", "top"),
    (1, False, "down", "bottom"),
)


def _two_lone(ask: Asker, axis: int) -> tuple[Thing, Thing, float] | None:
    """Two things, each the only one of its kind, clearly apart along an axis, and the way from second to first."""
    lone = [group[0] for group in ask.view.by_noun.values() if len(group) == 1]
    if len(lone) < 2:
        return None
    first, second = ask.rng.sample(lone, 2)
    gap = centre(first)[axis] - centre(second)[axis]
    return (first, second, gap) if abs(gap) >= 0.08 else None


def _relation(ask: Asker) -> Turn | None:
    axis, words, opposite, short = ask.rng.choice(_RELATIONS)
    pair = _two_lone(ask, axis)
    if pair is None:
        return None
    true = (pair[2] < 0) == (words in ("to the left of", "above"))
    first, second = ("the " + ask.view.name(t.noun) for t in pair[:2])
    answer = f"{'Yes' if true else 'No'}, {first} is {words if true else opposite} {second}."
    rel = words if ask.rng.random() < 0.7 else short
    return ask.turn("relation", "relation", answer, focus=pair[0].noun, the=first, the2=second, rel=rel)


def _further(ask: Asker) -> Turn | None:
    axis, low, direction, side = ask.rng.choice(_DIRECTIONS)
    pair = _two_lone(ask, axis)
    if pair is None:
        return None
    winner = pair[0] if (pair[2] < 0) == low else pair[1]
    first, second = ("the " + ask.view.name(t.noun) for t in pair[:2])
    answer = f"The {ask.view.name(winner.noun)}."
    slots = {"the": first, "the2": second, "dir": direction, "dirs": side}
    return ask.turn("relation", "further", answer, focus=winner.noun, **slots)


def _beside(ask: Asker) -> Turn | None:
    """All that lies on one side of a thing, where nothing is nearly level with it."""
    noun = ask.some_lone_noun()
    axis, words, _, short = ask.rng.choice(_RELATIONS)
    if noun is None:
        return None
    anchor = ask.view.by_noun[noun][0]
    gaps = [(t, centre(t)[axis] - centre(anchor)[axis]) for t in ask.view.things if t is not anchor]
    if any(abs(gap) < 0.07 for _, gap in gaps):
        return None
    low = words in ("to the left of", "above")
    side = [t for t, gap in gaps if (gap < 0) == low]
    answer = sentence(ask.view.listed(side)) if side else "Nothing that I know."
    rel = words if ask.rng.random() < 0.7 else short
    return ask.turn("beside", "beside", answer, focus=noun, the="the " + ask.view.name(noun), rel=rel)


def _at_place(ask: Asker) -> Turn | None:
    view, rng = ask.view, ask.rng
    if not all(place_is_clear(t, 0.02) for t in view.things):
        return None
    there = [place(t) for t in view.things]
    any_place = [p for row in PLACES for p in row]
    wanted = rng.choice(there) if there and rng.random() < 0.8 else rng.choice(any_place)
    things = [t for t, p in zip(view.things, there) if p == wanted]
    answer = sentence(view.listed(things)) if things else "Nothing that I know."
    focus = things[0].noun if len(things) == 1 else None
    return ask.turn("at_place", "at_place", answer, focus=focus, place=rng.choice(_ways_to_say(wanted)))


def _ways_to_say(where: str) -> tuple[str, ...]:
    other = where.replace("at the", "in the").replace("on the", "to the")
    return (where, where, where, where.replace("on the", "at the"), other, where.replace("middle", "centre"))


def _extreme(ask: Asker) -> Turn | None:
    small = ask.rng.random() < 0.4
    ranked = sorted(ask.view.things, key=area, reverse=not small)
    if len(ranked) < 2 or max(area(ranked[0]), area(ranked[1])) < 1.35 * min(area(ranked[0]), area(ranked[1])):
        return None
    words = ("smallest", "tiniest") if small else ("largest", "biggest")
    answer = f"The {ask.view.name(ranked[0].noun, ranked[0].colour)}."
    return ask.turn("extreme", "extreme", answer, focus=ranked[0].noun, ext=ask.rng.choice(words))


def _kinds(ask: Asker) -> Turn:
    category = ask.rng.choice(list(CATEGORIES))
    things = ask.view.in_category(category)
    many = CATEGORIES[category][1]
    answer = sentence(ask.view.listed(things)) if things else f"There are no {many} in the picture."
    return ask.turn("kinds", "kinds", answer, cats=many)


def _more(ask: Asker) -> Turn | None:
    view = ask.view
    if len(view.by_noun) < 2:
        return None
    first, second = ask.rng.sample(list(view.by_noun), 2)
    a, b = len(view.by_noun[first]), len(view.by_noun[second])
    told = f"there {'is' if a == 1 else 'are'} {view.counted(a, first)} and {view.counted(b, second)}"
    names = {"ns": view.name(first, many=True), "ns2": view.name(second, many=True)}
    return ask.turn("more", "more", f"{'Yes' if a > b else 'No'}, {told}.", **names)


_QUESTIONS: tuple[tuple[float, Callable[[Asker], Turn | None]], ...] = (
    (1.6, count),
    (0.4, _count_coloured),
    (0.3, _count_category),
    (0.5, _count_all),
    (1.2, _colour),
    (0.6, _is_colour),
    (1.2, where),
    (1.4, exist),
    (1.2, _relation),
    (0.6, _further),
    (0.8, _beside),
    (1.0, _at_place),
    (0.5, _extreme),
    (0.5, _kinds),
    (0.4, _more),
    (0.35, alien),
    (0.1, _is_empty),
    *COMPARISONS,
)
_WEIGHTS = [weight for weight, _ in _QUESTIONS]
_FUNCTIONS = [function for _, function in _QUESTIONS]


def question(ask: Asker) -> Turn:
    """One question of any kind that the scene allows."""
    for function in ask.rng.choices(_FUNCTIONS, _WEIGHTS, k=4):
        turn = function(ask)
        if turn is not None:
            return turn
    return exist(ask)
