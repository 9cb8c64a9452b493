"""Text to boxes, one or several or none, and a box to its description."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.asking import Asker, Turn
from training.colours import COLOURS
from training.scenes import Thing
from training.view import CATEGORIES, area, box_text, centre, join, sentence


def ground(ask: Asker) -> Turn:
    """A phrase to the boxes of all that it names, by kind, colour, place or size."""
    turn = ask.rng.choice(_GROUND)(ask) if ask.view.things else None
    return turn or _noun(ask)


def ground_absent(ask: Asker) -> Turn:
    """A noun that is not there, or a colour that none of its kind has."""
    view, rng = ask.view, ask.rng
    tinted = [noun for noun, group in view.by_noun.items() if all(t.colour >= 0 for t in group)]
    if tinted and rng.random() < 0.25:
        noun = rng.choice(tinted)
        worn = {t.colour for t in view.by_noun[noun]}
        name = view.name(noun, rng.choice([c for c in range(len(COLOURS)) if c not in worn]))
        return ask.turn("ground_absent", "ground", f"There is no {name} in the picture.", x="the " + name, focus=noun)
    if not view.absent:
        return _noun(ask)
    noun = rng.choice(view.absent)
    return ask.turn("ground_absent", "ground", view.no_such(noun), x=_mention(ask, noun))


def _mention(ask: Asker, noun: int, colour: int = -1) -> str:
    """The ways in which a phrase names all things of a kind."""
    one, many = ask.view.name(noun, colour), ask.view.name(noun, colour, many=True)
    ways = ("the " + one, "the " + one, one, ask.view.one(noun, colour), "the " + many, many)
    return ask.rng.choice((*ways, "all " + many, "all the " + many, "every " + one, "any " + one))


def _boxes(things: Sequence[Thing]) -> str:
    return box_text([t.box for t in things])


def _noun(ask: Asker) -> Turn:
    if not ask.view.things:
        return ground_absent(ask)
    noun = ask.some_noun(absent=0.0)
    return ask.turn("ground", "ground", _boxes(ask.view.by_noun[noun]), x=_mention(ask, noun), focus=noun)


def _coloured(ask: Asker) -> Turn | None:
    tinted = [t for t in ask.view.things if t.colour >= 0]
    if not tinted:
        return None
    chosen = ask.rng.choice(tinted)
    group = [t for t in ask.view.by_noun[chosen.noun] if t.colour == chosen.colour]
    return ask.turn("ground", "ground", _boxes(group), x=_mention(ask, chosen.noun, chosen.colour), focus=chosen.noun)


def _several(ask: Asker) -> tuple[int, tuple[Thing, ...]] | None:
    groups = [(noun, group) for noun, group in ask.view.by_noun.items() if len(group) > 1]
    return ask.rng.choice(groups) if groups else None


_SIDES = (
    (0, False, "left", "on the left", "leftmost"),
    (0, True, "right", "on the right", "rightmost"),
    (1, False, "top", "at the top", "topmost"),
    (1, True, "bottom", "at the bottom", "lowest"),
)


def _placed(ask: Asker) -> Turn | None:
    """One of several of a kind, by its place."""
    found = _several(ask)
    if found is None:
        return None
    noun, group = found
    axis, last, side, where, most = ask.rng.choice(_SIDES)
    first, second, *_ = sorted(group, key=lambda t: centre(t)[axis], reverse=last)
    if abs(centre(first)[axis] - centre(second)[axis]) < 0.08:
        return None
    name = ask.view.name(noun)
    x = ask.rng.choice((f"the {name} {where}", f"the {side} {name}", f"the {most} {name}", f"{name} {where}"))
    return ask.turn("ground", "ground", _boxes([first]), x=x, focus=noun)


def _sized(ask: Asker) -> Turn | None:
    """The largest or smallest of several of a kind."""
    found = _several(ask)
    if found is None:
        return None
    noun, group = found
    small = ask.rng.random() < 0.5
    first, second, *_ = sorted(group, key=area, reverse=not small)
    if max(area(first), area(second)) < 1.35 * min(area(first), area(second)):
        return None
    words = ("smallest", "smaller", "small") if small else ("largest", "biggest", "bigger", "big")
    x = f"the {ask.rng.choice(words)} {ask.view.name(noun)}"
    return ask.turn("ground", "ground", _boxes([first]), x=x, focus=noun)


def _two(ask: Asker) -> Turn | None:
    """Two phrases at once: each is named in the answer before its boxes."""
    view = ask.view
    if len(view.by_noun) < 2:
        return None
    first, second = ask.rng.sample(list(view.by_noun), 2)
    parts = [f"the {view.name(n, many=len(view.by_noun[n]) > 1)} {_boxes(view.by_noun[n])}" for n in (first, second)]
    x = ask.rng.choice(("the {} and the {}", "{} and {}", "the {} and {}")).format(view.name(first), view.name(second))
    return ask.turn("ground", "ground", sentence(join(parts)), x=x, focus=second, also=(first,))


def _category(ask: Asker) -> Turn | None:
    category = ask.rng.choice(list(CATEGORIES))
    group = ask.view.in_category(category)
    if not group:
        return None
    one, many = CATEGORIES[category]
    x = ask.rng.choice((f"all {many}", f"the {many}", many, f"every {one}"))
    return ask.turn("ground", "ground", _boxes(group), x=x)


_EVERYTHING = (
    "everything",
    "all objects",
    "all things",
    "every object",
    "all the things",
    "each object",
    "the objects",
    "all items",
    "every item",
    "all the elements",
)


def _everything(ask: Asker) -> Turn:
    """Boxes of all kinds in one answer, so each is named before its own, as in a grounded caption."""
    view = ask.view
    answer = sentence(view.listed(view.things, boxes=True))
    return ask.turn("ground", "ground", answer, x=ask.rng.choice(_EVERYTHING), also=tuple(view.by_noun))


_GROUND: tuple[Callable[[Asker], Turn | None], ...] = (
    _noun,
    _noun,
    _noun,
    _coloured,
    _placed,
    _sized,
    _two,
    _category,
    _everything,
)


def region(ask: Asker) -> Turn:
    """Box to description; the box is as sloppy as a hand-drawn one, and sometimes holds nothing."""
    view, rng = ask.view, ask.rng
    empty = _empty_box(ask) if not view.things or rng.random() < 0.08 else None
    if empty is not None:
        return ask.turn("region", "region", "Nothing that I know.", box=box_text([empty]))
    if not view.things:
        return ask.turn("region", "region", "Nothing that I know.", box=box_text([(0.2, 0.2, 0.7, 0.8)]))
    thing = rng.choice(view.things)
    x0, y0, x1, y1 = thing.box
    slack = rng.choice((0.0, 0.02, 0.06))
    w, h = (x1 - x0) * slack, (y1 - y0) * slack
    drawn = (x0 + rng.gauss(0, w), y0 + rng.gauss(0, h), x1 + rng.gauss(0, w), y1 + rng.gauss(0, h))
    answer = sentence(view.one(thing.noun, thing.colour))
    return ask.turn("region", "region", answer, box=box_text([drawn]), focus=thing.noun)


def _empty_box(ask: Asker) -> tuple[float, float, float, float] | None:
    """A box that touches no thing, if one is soon found."""
    for _ in range(4):
        w, h = ask.rng.uniform(0.12, 0.35), ask.rng.uniform(0.12, 0.35)
        x, y = ask.rng.uniform(0, 1 - w), ask.rng.uniform(0, 1 - h)
        if all(t.box[2] < x or t.box[0] > x + w or t.box[3] < y or t.box[1] > y + h for t in ask.view.things):
            return x, y, x + w, y + h
    return None
