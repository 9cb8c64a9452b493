"""What can be said of a scene: names, places, boxes and lists in words."""

import pytest

from training.colours import COLOURS
from training.nouns import load_nouns
from training.scenes import Scene, Thing
from training.view import View, box_text, coordinate, join, place, place_is_clear, sentence

NOUNS = load_nouns()
BY_NAME = {noun.name: i for i, noun in enumerate(NOUNS)}
RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")


def thing(name, x, y, colour=-1, side=0.2):
    return Thing(BY_NAME[name], 0, colour, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


def view(*things):
    return View(Scene(things, "plain", 1.0), NOUNS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "000"), (0.0004, "000"), (0.0126, "013"), (0.5, "500"), (0.9994, "999"), (1.0, "999"),
     (-0.2, "000"), (7, "999")],
)  # fmt: skip
def test_coordinates_are_three_digits(value, text):
    assert coordinate(value) == text


def test_boxes_are_written_as_cogvlm_writes_them():
    assert box_text([(0.1, 0.2, 0.3, 1.0)]) == "[[100,200,300,999]]"
    assert box_text([(0.1, 0.2, 0.3, 0.4), (0, 0, 0.05, 0.5)]) == "[[100,200,300,400;000,000,050,500]]"


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (0.1, 0.1, "at the top left"), (0.5, 0.1, "at the top"), (0.9, 0.1, "at the top right"),
        (0.1, 0.5, "on the left"), (0.5, 0.5, "in the middle"), (0.9, 0.5, "on the right"),
        (0.1, 0.9, "at the bottom left"), (0.5, 0.9, "at the bottom"), (0.9, 0.9, "at the bottom right"),
    ],
)  # fmt: skip
def test_places_are_ninths_of_the_picture(x, y, words):
    assert place(thing("dog", x, y)) == words


def test_a_place_is_clear_away_from_the_borders_between_ninths():
    assert place_is_clear(thing("dog", 0.5, 0.5))
    assert not place_is_clear(thing("dog", 0.34, 0.5))
    assert not place_is_clear(thing("dog", 0.5, 0.65))
    assert place_is_clear(thing("dog", 0.365, 0.5))


@pytest.mark.parametrize(
    ("parts", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c", "d"], "a, b, c and d")]
)
def test_lists_in_words(parts, text):
    assert join(parts) == text
    assert sentence(join(parts)) == text[0].upper() + text[1:] + "."


def test_things_are_told_from_left_to_right_and_alike_ones_together():
    seen = view(
        thing("cat", 0.8, 0.5), thing("dog", 0.6, 0.1, RED), thing("dog", 0.1, 0.5, RED), thing("dog", 0.3, 0.9, BLUE)
    )
    assert seen.listed(seen.things) == "two red dogs, a blue dog and a cat"
    assert seen.listed(seen.things, boxes=True) == (
        "two red dogs [[000,400,200,600;500,000,700,200]], a blue dog [[200,800,400,999]] and a cat [[700,400,900,600]]"
    )
    assert [t.colour for t in seen.by_noun[BY_NAME["dog"]]] == [RED, BLUE, RED]


@pytest.mark.parametrize(
    ("number", "name", "colour", "words"),
    [
        (1, "dog", -1, "a dog"), (1, "apple", -1, "an apple"), (1, "apple", RED, "a red apple"),
        (1, "dog", COLOURS.index("orange"), "an orange dog"), (2, "dog", -1, "two dogs"),
        (8, "dog", RED, "eight red dogs"),
        (1, "unicorn", -1, "a unicorn"), (2, "teddy bear", -1, "two teddy bears"),
    ],
)  # fmt: skip
def test_things_are_counted_in_words(number, name, colour, words):
    assert view().counted(number, BY_NAME[name], colour) == words


def test_a_noun_has_a_colour_only_where_all_of_its_things_share_it():
    dog, tomato = BY_NAME["dog"], next(i for i, n in enumerate(NOUNS) if n.colour)
    plain = NOUNS[tomato].name
    assert view(thing("dog", 0.1, 0.1, RED), thing("dog", 0.9, 0.9, RED)).colour_of(dog) == "red"
    assert view(thing("dog", 0.1, 0.1, RED), thing("dog", 0.9, 0.9)).colour_of(dog) is None
    assert view(thing(plain, 0.1, 0.1)).colour_of(tomato) == NOUNS[tomato].colour
    assert view(thing(plain, 0.1, 0.1, BLUE)).colour_of(tomato) == "blue"


def test_present_and_absent_nouns_are_all_nouns():
    seen = view(thing("dog", 0.1, 0.1), thing("cat", 0.5, 0.5), thing("dog", 0.9, 0.9))
    assert set(seen.by_noun) == {BY_NAME["dog"], BY_NAME["cat"]}
    assert sorted([*seen.absent, *seen.by_noun]) == list(range(len(NOUNS)))
    assert seen.no_such(BY_NAME["owl"]) == "There is no owl in the picture."


def test_a_category_holds_its_things():
    seen = view(thing("dog", 0.1, 0.1), thing("car", 0.5, 0.5), thing("cat", 0.9, 0.9))
    assert [NOUNS[t.noun].name for t in seen.in_category("animal")] == ["dog", "cat"]
    assert seen.in_category("music") == ()
