import pytest

from demo.errors import BrokenCheckpoint
from demo.models.cogvlm import CogAgentConfig, CogVLMConfig
from tests.models.kit import classes, tiny_config

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
    config = classes(published).config.from_pretrained(published)
    assert config.model_type == ("cogagent" if name == "cogagent" else "cogvlm")
    assert not hasattr(config, "auto_map")
    assert "auto_map" not in config.to_dict()
    assert config.num_image_tokens == {"cogvlm": 18, "cogvlm2": 6, "cogagent": 18}[name]
    assert config.num_key_value_heads == {"cogvlm": 4, "cogvlm2": 2, "cogagent": 4}[name]


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


def test_cogagents_large_tower_is_as_published_unless_the_config_says_otherwise():
    tower = CogAgentConfig().cross_vision_config
    assert (tower.image_size, tower.grid, tower.hidden_size, tower.intermediate_size) == (1120, 80, 1024, 2730)
    assert (tower.num_hidden_layers, tower.num_attention_heads) == (24, 16)
    assert CogAgentConfig().num_image_tokens == 258
    smaller = CogAgentConfig(cross_image_size=224, cross_hidden_size=128, cross_compute_hidden_size=64)
    assert (smaller.cross_vision_config.grid, smaller.cross_vision_config.num_attention_heads) == (16, 2)
    assert smaller.cross_head_dim == 2


def test_sizes_of_the_large_tower_in_the_words_of_reference_checkpoints_are_read_and_saved_in_ours(tmp_path):
    words = {"width": 32, "head_width": 8, "layers": 4, "patch_size": 7, "mlp_ratio": 3.0, "pt_hw_seq_len": 5}
    config = tiny_config("cogagent", cross_image_size=84, oracle_cross_vision=words, cross_vision_config=None)
    config.save_pretrained(tmp_path)
    again = CogAgentConfig.from_pretrained(tmp_path)
    assert not hasattr(again, "oracle_cross_vision")
    for tower in (config.cross_vision_config, again.cross_vision_config):
        assert (tower.hidden_size, tower.head_dim, tower.num_hidden_layers) == (32, 8, 4)
        assert (tower.grid, tower.intermediate_size, tower.rotary_grid) == (12, 96, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"cross_compute_hidden_size": 32},  # of six heads
        {"cross_vision_config": {"head_dim": 24}},
        {"cross_vision_config": {"head_dim": 2}},  # too narrow for two directions
        {"cross_vision_config": {"hidden_size": 64}},
        {"cross_vision_config": {"image_size": 112}},
    ],
    ids=str,
)
def test_sizes_of_the_larger_picture_that_contradict_each_other_are_refused(changes):
    with pytest.raises(BrokenCheckpoint, match=r"larger picture"):
        tiny_config("cogagent", **changes)


def test_cogvlms_own_classes_do_not_take_a_cogagent_for_one(tmp_path):
    tiny_config("cogagent").save_pretrained(tmp_path)
    with pytest.raises(BrokenCheckpoint, match="CogAgent"):
        CogVLMConfig.from_pretrained(tmp_path)
