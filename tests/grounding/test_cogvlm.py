"""CogVLM's box dialect: what models write, what they should have written, and what nobody should."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.grounding import cogvlm
from demo.grounding.geometry import ordered
from demo.types import Box, Size

SQUARE = Size(1000, 1000)
sizes = st.builds(Size, st.integers(1, 9000), st.integers(1, 9000))


def found(text, size=SQUARE):
    return [(region.label, region.box) for region in cogvlm.parse(text, size)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog[[097,514,283,996]]", [("dog", Box(97, 514, 283, 996))]),
        ("a dog [[097, 514, 283, 996]]", [("dog", Box(97, 514, 283, 996))]),
        ("a dog [[ 97 ,514\n,283, 996 ]].", [("dog", Box(97, 514, 283, 996))]),
        ("two cats[[001,002,003,004;005,006,007,008]]", [("two cats", Box(1, 2, 3, 4)), ("two cats", Box(5, 6, 7, 8))]),
        ("[[000,000,999,999]]", [("", Box(0, 0, 999, 999))]),
        ("x[[10.5,20.25,30,40]]", [("x", Box(10.5, 20.25, 30, 40))]),
        ("x[[30,40,10,20]]", [("x", Box(10, 20, 30, 40))]),  # corners reversed
        ("x[[-5,-5,2000,500]]", [("x", Box(0, 0, 1000, 500))]),  # out of range
        ("x[[5,5,1000000000,9]]", [("x", Box(5, 5, 1000, 9))]),
        ("x[[1200,10,1300,20]]", []),  # nowhere in the picture
        ("x[[-30,10,-20,20]]", []),
        ("x[[500,500]]", []),  # a point
        ("x[[1,2,3]] y[[1,2,3,4,5]]", []),
        ("x[[1,2,3;1,2,3,4;5,6]]", [("x", Box(1, 2, 3, 4))]),  # the one good box of three
        ("x[[a,b,c,d]] y[[]] z[[;]] w[[,,,]]", []),
        ("x[[nan,0,inf,1]] y[[1e3,2,3,4]] z[[\u0661,2,3,4]]", []),
        ("x[[1,2,3,4] y[1,2,3,4]] z[[1,2,3", []),
        ("[[[1,2,3,4]]]", [("", Box(1, 2, 3, 4))]),
        ("no box at all", []),
        ("", []),
    ],
)
def test_boxes_are_read_the_way_models_write_them(text, expected):
    assert found(text) == expected


def test_coordinates_are_thousandths_of_each_side():
    assert found("x[[100,100,500,500]]", Size(640, 480)) == [("x", Box(64, 48, 320, 240))]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("There is a red apple[[1,1,2,2]] and a man's hat[[3,3,4,4]].", ["red apple", "man's hat"]),
        ("The Big Red Dog[[1,1,2,2]] next to the car[[3,3,4,4]]", ["Big Red Dog", "car"]),
        ("A woman[[1,1,2,2]] wearing sunglasses[[3,3,4,4]]", ["woman", "sunglasses"]),
        ("The dog is located at [[1,1,2,2]].", ["dog"]),
        ("dog: [[1,1,2,2]]; cat ([[3,3,4,4]])", ["dog", "cat"]),
        ('1. **small cat** [[1,1,2,2]]\n2. "T-shirt" [[3,3,4,4]]', ["small cat", "T-shirt"]),
        ("lemons[[1,1,2,2]], [[3,3,4,4]] and [[5,5,6,6]]", ["lemons", "lemons", "lemons"]),
        ("It is at [[1,1,2,2]]", [""]),
        ("Yes, [[1,1,2,2]]", [""]),
        ("[[1,1,2,2]] is the dog", [""]),
        ("one two three four five six seven[[1,1,2,2]]", ["three four five six seven"]),
        ("a dog[[1,1]] there[[2,2,3,3]]", [""]),  # the words before an unreadable box are not the next one's
        ("一只狗[[1,1,2,2]]，一只猫[[3,3,4,4]]", ["一只狗", "一只猫"]),
        ("<b>cat</b> dog\u202e\u0007[[1,1,2,2]]", ["dog"]),
        ("w" * 500 + "[[1,1,2,2]]", ["w" * 80]),
        ("The bounding box of it is [[1,1,2,2]]", [""]),
        ("a gift box[[1,1,2,2]] and a box[[3,3,4,4]]", ["gift box", "box"]),
        ("Click the 'Search' button[[1,1,2,2]] or the ‘Save’ icon[[3,3,4,4]]", ["'Search' button", "‘Save’ icon"]),
        ("the 'Search'[[1,1,2,2]] and the 'Search field'[[3,3,4,4]]", ["Search", "Search field"]),
        ("press 'Big red button'[[1,1,2,2]] in the 'Log in' box[[3,3,4,4]]", ["Big red button", "box"]),
        ("the 'very long name of the big red' button[[1,1,2,2]], the dogs' bowl[[3,3,4,4]]", ["button", "dogs' bowl"]),
    ],
)
def test_a_box_is_named_by_the_noun_phrase_before_it(text, labels):
    assert [label for label, _ in found(text)] == labels


def test_spans_point_at_the_words_and_at_the_syntax():
    text = "There is a red apple [[1, 1, 2, 2;3,3,4,4]]!"
    for region in cogvlm.parse(text, SQUARE):
        assert text[slice(*region.label_span)] == "red apple"
        assert text[slice(*region.box_span)] == "[[1, 1, 2, 2;3,3,4,4]]"


def test_at_most_a_hundred_boxes_are_taken():
    assert len(found("x[[1,1,2,2]]" * 300)) == 100
    assert len(found("x[[" + ";".join(["1,1,2,2"] * 300) + "]]")) == 100


fragments = st.lists(
    st.one_of(
        st.sampled_from(["[[", "]]", "[", "]", ",", ";", " a dog", " and ", "0", "999", "-1", "1e9", "\u202e", "\n"]),
        st.text(max_size=8),
        st.integers(-(10**40), 10**40).map(str),
    ),
    max_size=60,
).map("".join)


@given(st.one_of(st.text(), fragments), sizes)
@example("[[1,2,3," + "9" * 400 + "]]", Size(1, 1))
@example("x[[0.,-0,+1,1000]]", Size(3, 5))
@example("\ud800[[1,2,3,4]]", Size(3, 5))
def test_any_text_gives_boxes_inside_the_picture_and_never_an_error(text, size):
    regions = cogvlm.parse(text, size)
    assert len(regions) <= 100
    for region in regions:
        box = region.box
        assert 0 <= box.x0 <= box.x1 <= size.width
        assert 0 <= box.y0 <= box.y1 <= size.height
        assert len(region.label) <= 80
        assert region.label.isprintable()
        assert (region.label_span is None) == (region.label == "")
        start, end = region.box_span
        assert text[start : start + 2] + text[end - 2 : end] == "[[]]"


@given(sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_formatted_box_is_read_back_within_a_thousandth(size, corners):
    a, b, c, d = corners
    box = ordered(a * size.width, b * size.height, c * size.width, d * size.height)
    (again,) = cogvlm.parse(cogvlm.format(box, size), size)
    tolerance = 1.001
    assert abs(again.box.x0 - box.x0) <= tolerance * size.width / 1000
    assert abs(again.box.x1 - box.x1) <= tolerance * size.width / 1000
    assert abs(again.box.y0 - box.y0) <= tolerance * size.height / 1000
    assert abs(again.box.y1 - box.y1) <= tolerance * size.height / 1000


def test_a_box_is_written_with_three_digits():
    assert cogvlm.format(Box(0, 12.4, 320, 480), Size(640, 480)) == "[[000,026,500,999]]"
    assert cogvlm.format(Box(-50, -50, 9999, 9999), Size(640, 480)) == "[[000,000,999,999]]"


@pytest.mark.parametrize(
    "piece", ["[", "[[", "[[1,", "[[1,1,1,1", "]]", "a ", "[[1,1;", "[[]]", "[[1,2,3,4;", "x" * 999 + "[[1,2]]", "[[ "]
)
def test_a_hundred_kilobytes_of_anything_are_read_in_linear_time(piece):
    text = piece * (100_000 // len(piece))
    start = time.monotonic()
    cogvlm.parse(text + "]]", SQUARE)
    assert time.monotonic() - start < 5  # quadratic would be minutes
