"""Boxes: ordering, clipping, overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.grounding.geometry import clip, iou, normalized, ordered, scale
from demo.types import Box, Size

numbers = st.floats(-1e6, 1e6, allow_nan=False)
boxes = st.builds(ordered, numbers, numbers, numbers, numbers)
sizes = st.builds(Size, st.integers(1, 10_000), st.integers(1, 10_000))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Box(0, 0, 10, 10), Box(0, 0, 10, 10), 1.0),
        (Box(0, 0, 10, 10), Box(5, 0, 15, 10), 1 / 3),
        (Box(0, 0, 10, 10), Box(10, 0, 20, 10), 0.0),
        (Box(0, 0, 10, 10), Box(2, 2, 4, 4), 0.04),
        (Box(3, 3, 3, 3), Box(3, 3, 3, 3), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_fraction(a, b):
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1


@given(boxes, sizes)
def test_a_clipped_box_lies_in_the_picture_and_stays_so(box, size):
    inside = clip(box, size)
    assert 0 <= inside.x0 <= inside.x1 <= size.width
    assert 0 <= inside.y0 <= inside.y1 <= size.height
    assert clip(inside, size) == inside


def test_corners_in_any_order_make_the_same_box():
    assert ordered(9, 8, 1, 2) == ordered(1, 8, 9, 2) == Box(1, 2, 9, 8)


def test_a_box_in_fractions_is_scaled_back_by_the_size():
    box = Box(10, 20, 30, 40)
    assert normalized(box, Size(100, 200)) == Box(0.1, 0.1, 0.3, 0.2)
    assert scale(normalized(box, Size(128, 64)), 128, 64) == box
