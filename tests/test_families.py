"""What the table of families says of sizes; that its rows work is shown in tests/backends/test_families.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from demo.catalog import _family_of
from demo.errors import ConfigError
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


def test_every_type_that_transformers_can_answer_with_is_taken_or_refused_on_purpose():
    """What a new version of transformers adds shows here: it is either taken, or it joins those that are not."""
    refused = {
        "evolla",
        "mistral4",
        "pi0",
        "udop",
        "vision-encoder-decoder",
    }  # proteins, words only, robots, pages, any
    for model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        config = {"model_type": model_type, **({} if has_no_tower(model_type) else {"vision_config": {}})}
        if model_type in refused:
            with pytest.raises(ConfigError, match="reads no pictures"):
                _family_of(config, "it")
        else:
            assert _family_of(config, "it") == family_of(model_type).name


def has_no_tower(model_type):
    """Whether the configuration of a type has no part of its own for pictures."""
    return "vision_config" not in CONFIG_MAPPING[model_type].sub_configs and not hasattr(
        CONFIG_MAPPING[model_type], "vision_config"
    )


def test_types_are_spelt_as_transformers_spells_them():
    ours = {"cogvlm", "cogvlm2", "cogagent"}
    types = {model_type for family in FAMILIES.values() for model_type in family.types} - ours
    newer = {"minicpmv4_7", "molmo2", "qwen4_exp", "glmga", "glm5_next", "gemma4_unified"}  # not in every version
    assert types - newer <= set(CONFIG_MAPPING)
