"""The fixed shapes of recorded steps: every step has one, and they are few."""

from hypothesis import given
from hypothesis import strategies as st

from demo.steps import LEAST_COLUMNS, all_shapes, shape_for

ROOMS = st.fixed_dictionaries({"slots": st.integers(1, 64), "context": st.integers(1, 40_000)})


@given(ROOMS, st.data())
def test_every_step_fits_its_shape_which_is_one_of_all(room, data):
    count = data.draw(st.integers(1, room["slots"]))
    columns = data.draw(st.integers(1, room["context"]))
    shape = shape_for(count, columns, **room)
    rows, width = shape
    assert count <= rows <= room["slots"]
    assert columns <= width <= room["context"]
    assert rows < 2 * count
    assert width < max(2 * columns, LEAST_COLUMNS + 1)
    assert shape in all_shapes(**room)


@given(ROOMS)
def test_shapes_are_few_and_the_smallest_come_first(room):
    shapes = all_shapes(**room)
    assert len(shapes) == len(set(shapes)) <= 7 * 9
    sizes = [rows * columns for rows, columns in shapes]
    assert sizes == sorted(sizes)


def test_what_is_recorded_for_sixteen_answers_of_eight_thousand_tokens():
    shapes = all_shapes(slots=16, context=8192)
    assert len(shapes) == 5 * 6
    assert shapes[0] == (1, 256)
    assert shapes[-1] == (16, 8192)
