"""How answers are judged: tables of texts and what they count for."""

import pytest

from demo.types import Box
from training.nouns import load_nouns
from training.scoring import NounCounter, boxes_of, is_well_formed, matched, overlap, same_answer, same_boxes

HERE, NEAR, THERE = Box(100, 100, 300, 300), Box(110, 90, 310, 300), Box(600, 600, 900, 900)


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("[[000,010,500,999]]", [(0, 10, 500, 999)]),
        ("A dog [[100,100,300,300]] and a cat [[600,600,900,900]].", [(100, 100, 300, 300), (600, 600, 900, 900)]),
        ("[[100,100,300,300;600,600,900,900]]", [(100, 100, 300, 300), (600, 600, 900, 900)]),
        ("There is no dog in the picture.", []),
        ("", []),
        ("[[100,100,300", []),
    ],
)  # fmt: skip
def test_boxes_of_an_answer(text, boxes):
    assert boxes_of(text) == [Box(*box) for box in boxes]


@pytest.mark.parametrize(
    ("text", "well"),
    [
        ("no box at all", True),
        ("[[000,010,500,999]]", True),
        ("a [[000,010,500,999]] and b [[100,100,300,300;600,600,900,900]].", True),
        ("[[000,010,500]]", False),
        ("[[000,010,500,99]]", False),
        ("[[000,010,500,9999]]", False),
        ("[[000,010,500,999;]]", False),
        ("[[000,010,500,999", False),
        ("[[000,010,500,999]] [[000,", False),
        ("[[a,b,c,d]]", False),
        ("[[]]", False),
    ],
)
def test_every_opening_has_to_be_a_whole_box(text, well):
    assert is_well_formed(text) is well


@pytest.mark.parametrize(
    ("found", "wanted", "hits"),
    [
        ([], [], 0),
        ([HERE], [], 0),
        ([], [HERE], 0),
        ([NEAR], [HERE], 1),
        ([THERE], [HERE], 0),
        ([THERE, NEAR], [HERE, THERE], 2),
        ([HERE], [HERE, NEAR], 1),  # one found box serves one wanted box
        ([HERE, NEAR], [HERE], 1),
        ([NEAR, HERE], [HERE, NEAR], 2),  # each takes its best
    ],
)
def test_matching_is_one_to_one(found, wanted, hits):
    assert matched(found, wanted) == hits


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("[[100,100,300,300]]", "[[110,090,310,300]]", True),
        ("[[100,100,300,300;600,600,900,900]]", "[[600,600,900,900;100,100,300,300]]", True),
        ("[[100,100,300,300]]", "[[100,100,300,300;600,600,900,900]]", False),
        ("[[100,100,300,300;100,100,300,300]]", "[[100,100,300,300]]", False),
        ("There is no dog.", "[[100,100,300,300]]", False),
        ("[[600,600,900,900]]", "There is no dog.", False),
    ],
)
def test_boxes_are_the_same_when_each_has_its_match(answer, truth, same):
    assert same_boxes(answer, truth) is same


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("There are two dogs.", "There are two dogs.", True),
        (" There are two dogs. ", "There are two dogs.", True),
        ("There are two dogs.", "There are three dogs.", False),
        ("there are two dogs.", "There are two dogs.", False),
        ("The dog [[100,100,300,300]] is here.", "The dog [[110,090,310,300]] is here.", True),
        ("The dog [[600,600,900,900]] is here.", "The dog [[110,090,310,300]] is here.", False),
        ("The cat [[110,090,310,300]] is here.", "The dog [[110,090,310,300]] is here.", False),
        ("The dog is here.", "The dog [[110,090,310,300]] is here.", False),
        ("[[110,090,310,300", "[[110,090,310,300]]", False),
        ("", "There are two dogs.", False),
    ],
)
def test_an_answer_is_right_when_words_and_boxes_are(answer, truth, same):
    assert same_answer(answer, truth) is same


@pytest.fixture(scope="module")
def count():
    return NounCounter(load_nouns())


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("Two red dogs and a car.", {"dog": 2, "car": 1}),
        ("A dog, an apple and ten balloons.", {"dog": 1, "apple": 1, "balloon": 10}),
        ("An orange cat.", {"cat": 1}),
        ("AN APPLE AND TWO CATS.", {"apple": 1, "cat": 2}),
        ("An ice cream and two ice creams.", {"ice cream": 3}),
        ("A teddy bear and a bear.", {"teddy bear": 1, "bear": 1}),
        ("A purple teddy bear.", {"teddy bear": 1}),
        ("Three hot dogs and a dog.", {"hot dog": 3, "dog": 1}),
        ("A dog [[100,100,300,300]] and two cats [[100,100,300,300;600,600,900,900]].", {"dog": 1, "cat": 2}),
        ("The picture shows two things: a dog on the left and a cat at the top.", {"dog": 1, "cat": 1}),
        ("The picture shows two things: a dog on the left and a red car at the top. The largest is the red car.",
         {"dog": 1, "car": 1}),
        ("A dog and a dog and a dog.", {"dog": 3}),
        ("A carpet and a catapult.", {}),
        ("There is nothing here that I know.", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_nouns_of_a_caption_are_counted(count, caption, nouns):
    assert dict(count(caption)) == nouns


def test_every_noun_is_read_in_the_singular_and_the_plural_with_and_without_a_colour(count):
    for noun in load_nouns():
        for text, number in ((f"A {noun.name}.", 1), (f"Three {noun.plural}.", 3), (f"Two red {noun.plural}.", 2)):
            assert dict(count(text)) == {noun.name: number}, text


def test_the_overlap_is_of_multisets(count):
    assert overlap(count("Three dogs and a cat."), count("Two dogs and a car.")) == 2
    assert overlap(count("A dog."), count("")) == 0
