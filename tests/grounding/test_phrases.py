"""Several phrases in one text."""

import pytest

from demo.errors import InvalidInput
from demo.grounding.phrases import phrases_of


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("the dog", ["the dog"]),
        ("the dog; a cat\n\n  the sun ;", ["the dog", "a cat", "the sun"]),
        ("狗；猫", ["狗", "猫"]),
        ("Dog;dog", ["dog"]),
    ],
)
def test_phrases_are_parted_by_lines_and_semicolons(text, phrases):
    assert phrases_of(text) == phrases


@pytest.mark.parametrize("text", ["", ";;;", " ;\n； "])
def test_what_only_parts_phrases_is_none(text):
    with pytest.raises(InvalidInput, match=r"The phrase is empty\. Type a phrase first\."):
        phrases_of(text)
