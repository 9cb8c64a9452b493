"""A text with boxes as people read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.grounding import cogvlm
from demo.grounding.highlight import plain, segments
from demo.types import Box, Region, Size

SIZE = Size(100, 100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog[[1,1,2,2]].", [("a ", None), ("dog", "dog"), (".", None)]),
        ("a dog [[1,1,2,2]].", [("a ", None), ("dog", "dog"), (".", None)]),
        ("a dog [[1,1,2,2]] on grass", [("a ", None), ("dog", "dog"), (" on grass", None)]),
        (
            "A dog[[1,1,2,2;3,3,4,4]], a cat[[5,5,6,6]]",
            [("A ", None), ("dog", "dog"), (", a ", None), ("cat", "cat")],
        ),
        ("dogs[[1,1,2,2]] and [[3,3,4,4]]", [("dogs", "dogs"), (" and", None)]),
        ("[[1,1,2,2]]", []),
        ("nothing here", [("nothing here", None)]),
        ("", []),
    ],
)
def test_box_numbers_go_and_their_words_are_marked(text, expected):
    regions = cogvlm.parse(text, SIZE)
    assert segments(text, regions) == expected
    assert plain(text, regions) == "".join(piece for piece, _ in expected)


def test_a_box_that_could_not_be_read_stays_visible():
    text = "a dog[[1,1]]"
    assert plain(text, cogvlm.parse(text, SIZE)) == text


@given(
    st.text(alphabet="ab [],1;\n", max_size=40),
    st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45), st.integers(0, 45), st.integers(0, 45)), max_size=5),
)
def test_spans_from_anywhere_never_break_it(text, spans):
    regions = [Region("x", Box(0, 0, 1, 1), (min(a, b), max(a, b)), (min(c, d), max(c, d))) for a, b, c, d in spans]
    assert all(piece for piece, _ in segments(text, regions))


@given(
    st.lists(st.sampled_from(["a dog", "[[1,2,3,4]]", " ", ", ", " and ", "two", "[[5,5,9,9;1,1,2,2]]"])).map("".join)
)
def test_all_words_survive_in_order(text):
    words = text.replace("[[1,2,3,4]]", "").replace("[[5,5,9,9;1,1,2,2]]", "")
    assert "".join(plain(text, cogvlm.parse(text, SIZE)).split()) == "".join(words.split())
