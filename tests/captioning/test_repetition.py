"""What is a loop and what is only a list."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.captioning.repetition import LEAST_COPIES, LEAST_WORDS, MOST_WORDS, loops

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = [
    "",
    "A cat.",
    "A cat, a cat and a cat.",
    "A very, very, very long train on a bridge over a river, and a train below it.",
    "Three cats [[100,100,200,200;300,300,400,400]], a cat [[1,2,3,4]], a cat [[5,6,7,8]] and a cat [[9,10,11,12]].",
    "There is a dog on the left, a dog on the right, a ball in the middle, and a tree behind them.",
]
LOOPING = [
    "The picture shows a street. " * 4,
    "A street with cars and cars and cars and cars and cars and cars and cars and cars and cars",
    "no " * 20,
    "It begins well, and then the sky is blue and the sky is blue and the sky is blue and the sky is bl",
    "一只猫坐在桌子上。" * 3,
]


@pytest.mark.parametrize("text", ORDINARY)
def test_what_people_write_is_no_loop(text):
    assert not loops(text)


@pytest.mark.parametrize("text", LOOPING)
def test_a_piece_again_and_again_is_a_loop(text):
    assert loops(text)


def test_no_caption_of_the_example_pictures_is_a_loop():
    found = [
        text for path in (ROOT / "assets" / "examples").glob("*.json") for text in strings(json.loads(path.read_text()))
    ]
    assert found
    assert not any(map(loops, found))


def strings(value):
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for child in children for text in strings(child)]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=MOST_WORDS), st.integers(LEAST_COPIES, 6))
def test_copies_are_found_whatever_they_are_made_of_and_wherever_they_are(piece, copies):
    if len(piece) * copies < LEAST_WORDS:
        return
    assert loops(" ".join(["first", "this", *piece * copies, "and", "then"]))


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=200))
def test_words_that_are_all_different_never_loop(words):
    assert not loops(" ".join(map(str, words)))
