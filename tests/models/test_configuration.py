import pytest

from demo.errors import BrokenCheckpoint
from demo.models.cogvlm import CogVLMConfig
from tests.models.kit import tiny_config

TOWER = {"hidden_size": 8, "num_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("given", "theta", "downsampling", "bias"),
    [
        ({}, 10000.0, False, False),
        ({"num_multi_query_heads": 8}, 500000.0, True, True),
        ({"num_multi_query_heads": 32}, 500000.0, True, True),  # as many as heads: named is what counts
    ],
)
def test_the_second_model_is_told_by_its_key_value_heads(given, theta, downsampling, bias):
    config = CogVLMConfig(**given)
    assert (config.rope_theta, config.downsampling, config.vision_qkv_bias) == (theta, downsampling, bias)


@pytest.mark.parametrize("heads", [None, 2])
def test_every_inferred_value_can_be_given_and_survives_saving(tmp_path, heads):
    given = {
        "rope_theta": 10000.0 if heads else 500000.0,
        "downsampling": heads is None,
        "vision_qkv_bias": heads is None,
        "rotary_in_model_dtype": True,
        "pad_token_id": 7,
    }
    tiny_config(num_multi_query_heads=heads, **given).save_pretrained(tmp_path)
    again = CogVLMConfig.from_pretrained(tmp_path)
    assert {key: getattr(again, key) for key in given} == given
    assert again.num_multi_query_heads == heads
    assert again.vision_config.to_dict() == tiny_config().vision_config.to_dict()


def test_published_configs_load_without_a_model_type_and_drop_the_remote_code(published, name):
    config = CogVLMConfig.from_pretrained(published)
    assert config.model_type == "cogvlm"
    assert not hasattr(config, "auto_map")
    assert "auto_map" not in config.to_dict()
    assert config.num_image_tokens == {"cogvlm": 18, "cogvlm2": 6}[name]
    assert config.num_key_value_heads == {"cogvlm": 4, "cogvlm2": 2}[name]


@pytest.mark.parametrize(
    ("size", "downsampling", "tokens"),
    [(490, False, 1227), (224, False, 258), (1344, True, 2306), (224, True, 66), (70, True, 6)],  # 5 x 5 drops a row
)
def test_a_picture_takes_the_published_number_of_tokens(size, downsampling, tokens):
    config = CogVLMConfig(downsampling=downsampling, vision_config=TOWER | {"image_size": size})
    assert config.num_image_tokens == tokens


def test_the_second_model_pads_with_the_id_its_code_holds():
    assert CogVLMConfig(num_multi_query_heads=8, vocab_size=128256).pad_token_id == 128002
    assert CogVLMConfig().pad_token_id == 0


@pytest.mark.parametrize(
    "given",
    [
        {"hidden_size": 100, "num_attention_heads": 7},
        {"num_attention_heads": 32, "num_multi_query_heads": 5},
        {"vision_config": {"image_size": 490, "num_positions": 257}},
    ],
)
def test_sizes_that_contradict_each_other_are_refused_by_name(given):
    with pytest.raises(BrokenCheckpoint, match=r"config"):
        CogVLMConfig(**given)
