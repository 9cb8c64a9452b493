"""What the table of families says of sizes; that its rows work is shown in tests/backends/test_families.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING

from demo.families import FAMILIES, family_of
from demo.types import Size


@pytest.mark.parametrize(
    ("size", "most", "within"),
    [
        (Size(40, 30), 1568, Size(40, 30)),
        (Size(4000, 3000), 1568, Size(1568, 1176)),
        (Size(3000, 4000), 1568, Size(1176, 1568)),
        (Size(4000, 1), 1568, Size(1568, 1)),
        (Size(4000, 3000), None, Size(4000, 3000)),
    ],
)
def test_a_size_is_brought_within_a_longest_side(size, most, within):
    assert size.within(most) == within


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_what_qwen2_5_vl_sees_is_a_grid_of_its_patches_about_the_pictures_shape(width, height):
    size = Size(width, height)
    seen = FAMILIES["qwen2_5_vl"].seen(size)
    assert seen.width % 28 == seen.height % 28 == 0
    assert min(seen.width, seen.height) >= 28
    if 0.05 < width / height < 20 and min(width, height) > 200:
        assert abs(seen.width / seen.height / (width / height) - 1) < 0.3


def test_families_whose_numbers_are_relative_see_nothing_in_particular():
    assert {name for name, family in FAMILIES.items() if family.seen(Size(9, 9))} == {"qwen2_5_vl"}


def test_a_type_that_is_in_no_row_chats_and_captions():
    assert family_of("of-tomorrow").roles == family_of(None).roles == ("chat", "captioning")


def test_types_are_spelt_as_transformers_spells_them():
    ours = {"cogvlm", "cogvlm2", "cogagent"}
    types = {model_type for family in FAMILIES.values() for model_type in family.types} - ours
    newer = {"minicpmv4_7", "molmo2"}  # not in every version that is supported
    assert types - newer <= set(CONFIG_MAPPING)
