"""Captions: short, detailed, and with boxes."""

from __future__ import annotations

from training.asking import Asker, Turn
from training.view import NOTHING, NUMBERS, View, area, join, place, sentence


def caption_short(ask: Asker) -> Turn:
    view = ask.view
    answer = sentence(view.listed(view.things)) if view.things else NOTHING
    return ask.turn("caption_short", "caption_short", answer, also=tuple(view.by_noun))


def caption_grounded(ask: Asker) -> Turn:
    view = ask.view
    answer = sentence(view.listed(view.things, boxes=True)) if view.things else NOTHING
    return ask.turn("caption_grounded", "caption_grounded", answer, also=tuple(view.by_noun))


def caption_detailed(ask: Asker) -> Turn:
    return ask.turn("caption_detailed", "caption_detailed", _detailed(ask.view), also=tuple(ask.view.by_noun))


def _detailed(view: View) -> str:
    """Every thing with its place, and the largest where one is clearly so."""
    things = view.things
    if not things:
        return NOTHING
    parts = join([f"{view.one(t.noun, t.colour)} {place(t)}" for t in things])
    if len(things) == 1:
        return f"The picture shows one thing: {parts}."
    first, second, *_ = sorted(things, key=area, reverse=True)
    largest = f" The largest is the {view.name(first.noun, first.colour)}." if area(first) > 1.4 * area(second) else ""
    return f"The picture shows {NUMBERS[len(things)]} things: {parts}.{largest}"
