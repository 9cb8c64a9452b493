"""Conversations of several turns about one picture, with pronouns and ellipses that only the history resolves.

Owns which follow-up makes sense after which turn. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from training.asking import Asker, Turn
from training.captions import caption_detailed, caption_grounded, caption_short
from training.comparing import nearest_answer
from training.questions import colour_answer, count, count_answer, exist, exist_answer, question, where, where_answer
from training.referring import ground, region
from training.small_talk import remark, small_talk, unknown
from training.view import NOTHING, box_text, sentence

_NO_PICTURE = "There is no picture yet. Please add one."


def conversation(ask: Asker, turns: int) -> list[Turn]:
    """``turns`` questions; from the second on, mostly follow-ups of what came before."""
    said = [_opening(ask)]
    while len(said) < turns:
        said.append(_follow_up(ask, said) or _anew(ask))
    return said


def without_picture(ask: Asker) -> list[Turn]:
    """A first word to a page that has no picture yet."""
    if ask.rng.random() < 0.4:
        return [small_talk(ask)]
    if ask.rng.random() < 0.25:
        return [unknown(ask)]
    about = ask.rng.choice((question, caption_short, ground, region))(ask)
    return [Turn("no_picture", about.question, _NO_PICTURE)]


def _opening(ask: Asker) -> Turn:
    openings: tuple[Callable[[Asker], Turn | None], ...] = (
        exist,
        exist,
        where,
        count,
        ground,
        question,
        question,
        caption_short,
        region,
        small_talk,
    )
    return ask.rng.choice(openings)(ask) or exist(ask)


def _anew(ask: Asker) -> Turn:
    """A question that owes nothing to what was said: about the whole scene as often as about one thing."""
    if ask.rng.random() < 0.04:
        return small_talk(ask)
    whole: tuple[Callable[[Asker], Turn], ...] = (caption_short, caption_detailed, caption_grounded, ground, question)
    return ask.rng.choice(whole)(ask) if ask.rng.random() < 0.5 else question(ask)


def _follow_up(ask: Asker, said: list[Turn]) -> Turn | None:
    last = said[-1]
    if ask.rng.random() < 0.08 and (rest := _else(ask, said)) is not None:
        return rest
    if last.focus is not None and ask.rng.random() < 0.7:
        return _about(ask, last, last.focus)
    if last.task in ("exist", "count", "where", "ground", "colour") and ask.rng.random() < 0.5:
        return _same_for_another(ask, last)
    chance = ask.rng.random()
    if chance < 0.06:
        return ask.turn("small_talk", "thanks", "You are welcome.", focus=last.focus)
    if chance < 0.1 and last.task not in ("small_talk", "unknown"):
        return ask.turn("follow", "sure", "Yes, I am sure.", focus=last.focus)
    return remark(ask, last.focus) if chance < 0.14 else None


def _about(ask: Asker, last: Turn, noun: int) -> Turn | None:
    """A question about what the last turn was about, by pronoun, or the last question again for another noun."""
    view, kind = ask.view, ask.rng.choice(("count", "where", "colour", "box", "same", "near"))
    if kind == "same" and last.task in ("exist", "count", "where", "ground", "colour"):
        return _same_for_another(ask, last)
    if kind == "count" and last.task != "count":
        return ask.turn("follow", "follow_count", count_answer(view, noun), focus=noun)
    if kind == "box":
        boxes = box_text([t.box for t in view.by_noun[noun]]) if noun in view.by_noun else view.no_such(noun)
        return ask.turn("follow", "follow_box", boxes, focus=noun)
    if (
        kind == "colour"
        and last.task not in ("colour", "is_colour")
        and (noun not in view.by_noun or view.colour_of(noun) is not None)
    ):
        return ask.turn("follow", "follow_colour", colour_answer(view, noun), focus=noun)
    if kind == "near" and (found := nearest_answer(view, noun)) is not None:
        return ask.turn("follow", "follow_near", found[0], focus=found[1])
    answer = where_answer(view, noun) if last.task != "where" else None
    return ask.turn("follow", "follow_where", answer, focus=noun) if answer else None


def _same_for_another(ask: Asker, last: Turn) -> Turn | None:
    """ "And the cat?" after "Where is the dog?"."""
    view = ask.view
    others = [n for n in view.by_noun if n != last.focus]
    pool = others if others and ask.rng.random() < 0.8 else view.absent
    if not pool:
        return None
    noun = ask.rng.choice(pool)
    names = ask.names(noun)
    if last.task == "count" and "thing" not in last.question:
        return ask.turn("count", "follow_same_count", count_answer(view, noun), focus=noun, **names)
    if last.task == "exist":
        return ask.turn("exist", "follow_same", exist_answer(view, noun), focus=noun, the=names["a"])
    if last.task == "where":
        answer = where_answer(view, noun)
        return ask.turn("where", "follow_same", answer, focus=noun, **names) if answer else None
    if last.task == "ground" and last.answer.startswith("[["):
        boxes = box_text([t.box for t in view.by_noun[noun]]) if noun in view.by_noun else view.no_such(noun)
        return ask.turn("ground", "follow_same", boxes, focus=noun, **names)
    if last.task == "colour" and (noun not in view.by_noun or view.colour_of(noun) is not None):
        return ask.turn("colour", "follow_same", colour_answer(view, noun), focus=noun, **names)
    return None


def _else(ask: Asker, said: list[Turn]) -> Turn | None:
    """What the conversation has not mentioned yet; only after turns of which it is known what each named."""
    if any((turn.focus is None and not turn.also) or turn.task in ("relation", "beside", "more") for turn in said):
        return None
    mentioned = {noun for turn in said for noun in (turn.focus, *turn.also)}
    rest = [t for t in ask.view.things if t.noun not in mentioned]
    answer = sentence(ask.view.listed(rest)) if rest else "Nothing else that I know." if ask.view.things else NOTHING
    return ask.turn("follow", "follow_else", answer)
