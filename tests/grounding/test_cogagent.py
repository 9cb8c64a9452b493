"""CogAgent's dialect: what CogVLM's has, and points and actions beside it."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.grounding import cogagent, cogvlm
from demo.grounding.highlight import plain
from demo.types import Box, Size

SQUARE = Size(1000, 1000)
sizes = st.builds(Size, st.integers(1, 9000), st.integers(1, 9000))


def found(text, size=SQUARE):
    return [(region.label, region.box) for region in cogagent.parse(text, size)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[button] Search -> CLICK at the box [[1,2,3,4]]", [("Search", Box(1, 2, 3, 4))]),
        ("[button]Search\u2192CLICK at the box[[1,2,3,4]]", [("Search", Box(1, 2, 3, 4))]),
        ("[li] Price (lowest first) -> CLICK at the box [[1,2,3,4]]", [("Price (lowest first)", Box(1, 2, 3, 4))]),
        ("[combobox] To -> TYPE: a [b] -> c at the box [[1,2,3,4]]", [("To", Box(1, 2, 3, 4))]),
        ("[combobox] -> TYPE: abc at the box [[1,2,3,4]]", [("combobox", Box(1, 2, 3, 4))]),
        ("[a] A -> CLICK at the box [[1,2,3,4]] and [[5,6,7,8]]", [("A", Box(1, 2, 3, 4)), ("A", Box(5, 6, 7, 8))]),
        ("[a] A -> CLICK\n at the box [[1,2,3,4]]", [("CLICK", Box(1, 2, 3, 4))]),  # an action is one line
        ("[a A -> CLICK at the box [[1,2,3,4]]", [("CLICK", Box(1, 2, 3, 4))]),
        ("[a] A CLICK at the box [[1,2,3,4]]", [("CLICK", Box(1, 2, 3, 4))]),
        ("Click on the Search button at the box [[1,2,3,4]].", [("Search button", Box(1, 2, 3, 4))]),
        ("at the position [[1,2]]", [("", Box(1, 2, 1, 2))]),
        ("a gift box [[1,2,3,4]]", [("gift box", Box(1, 2, 3, 4))]),
        ("tap [[780,862]]", [("tap", Box(780, 862, 780, 862))]),
        (
            "two icons[[10,20;30,40;1,2,3,4;5]]",
            [("two icons", Box(10, 20, 10, 20)), ("two icons", Box(30, 40, 30, 40))],
        ),
        ("x[[1200,10]] y[[1,2,3]] z[[a,b]]", []),
        ("a dog[[097,514,283,996]]", [("dog", Box(97, 514, 283, 996))]),
    ],
)
def test_boxes_points_and_actions_are_read(text, expected):
    assert found(text)[: len(expected)] == expected
    assert bool(found(text)) == bool(expected)


def test_points_are_thousandths_of_each_side():
    assert found("tap [[500,250]]", Size(640, 480)) == [("tap", Box(320, 120, 320, 120))]


def test_the_plan_stays_readable_and_the_element_is_what_is_coloured():
    text = (
        "Plan: 1. Type 'CogVLM' into the Google search bar. 2. Review the search results that appear.\n\n"
        "Next Action: Move the cursor to the Google search bar, and type 'CogVLM' into it.\n"
        "Grounded Operation:[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]"
    )
    (region,) = cogagent.parse(text, SQUARE)
    assert text[slice(*region.label_span)] == region.label == "Search"
    assert text[slice(*region.box_span)] == "[[212,498,787,564]]"
    assert plain(text, [region]) == text.removesuffix(" [[212,498,787,564]]")


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            ["[[", "]]", "[", "]", ",", ";", " a dog", "[button] Go -> CLICK", " at the box ", "->", "\u2192"]
        ),
        st.sampled_from(["\n", "tap ", "[[1,2,3,4]]", "[[5,6]]", "\u202e"]),
        st.text(max_size=8),
        st.integers(-(10**40), 10**40).map(str),
    ),
    max_size=60,
).map("".join)


@given(st.one_of(st.text(), pieces), sizes)
@example("[[1,2," + "9" * 400 + "]]", Size(1, 1))
@example("]->[[1,2]]", Size(3, 5))
@example("[k]->\ud800 at the box [[1,2]]", Size(3, 5))
def test_any_text_gives_boxes_inside_the_picture_and_never_an_error(text, size):
    regions = cogagent.parse(text, size)
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
        assert region.label_span is None or region.label_span[1] <= start


@given(pieces, sizes)
def test_whatever_cogvlms_dialect_finds_is_found_here_too(text, size):
    boxes = [region.box for region in cogagent.parse(text, size)]
    theirs = iter(boxes)
    wanted = [region.box for region in cogvlm.parse(text, size)]
    assert len(boxes) == 100 or all(box in theirs for box in wanted)  # in the same order


@given(sizes, st.floats(0, 1), st.floats(0, 1))
def test_a_point_is_read_back_within_a_thousandth(size, x, y):
    written = f"[[{min(999, round(1000 * x)):03d},{min(999, round(1000 * y)):03d}]]"
    ((_, box),) = found(f"tap {written}", size)
    assert box.area == 0
    assert abs(box.x0 - x * size.width) <= 1.001 * size.width / 1000
    assert abs(box.y0 - y * size.height) <= 1.001 * size.height / 1000


@pytest.mark.parametrize(
    "piece", ["[", "]", "->", "[k]->", "[k] -> [[1,2]]", " at the box ", "[[1,2]]", "] a -> ", "[[1;"]
)
def test_a_hundred_kilobytes_of_anything_are_read_in_linear_time(piece):
    text = piece * (100_000 // len(piece))
    start = time.monotonic()
    cogagent.parse(text + "[[1,2]]", SQUARE)
    assert time.monotonic() - start < 5  # quadratic would be minutes
