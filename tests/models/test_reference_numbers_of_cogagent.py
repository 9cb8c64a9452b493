"""The reference numbers that only CogAgent has: of its larger picture, its tower and the attention to it."""

import pytest
import torch

from tests.models.kit import TOLERANCE, load, numbers, pictures, publish


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.fixture(params=["eager", "sdpa"])
def model(tmp_path, request):
    return load(publish("cogagent", tmp_path / "cogagent"), attention=request.param)


@pytest.fixture
def io():
    return numbers("cogagent")


def one_picture(io):
    given = {"input_ids": io["a_input_ids"], "mm_token_type_ids": io["a_token_type_ids"]}
    return given | pictures(io, slice(1))


@torch.inference_mode()
def test_the_larger_picture_becomes_the_published_features(model, io):
    found = {}
    transformer = model.model.cross_vision.vit["model"]
    transformer.register_forward_hook(lambda module, args, output: found.update(vit=output))
    close(model.get_high_res_image_features(io["cross_images"]), io["cross_features"])
    close(found["vit"], io["cross_vit_features"])


@torch.inference_mode()
def test_its_keys_and_values_are_the_published_ones_in_every_layer(model, io):
    cache = model(**one_picture(io)).past_key_values
    for index, layer in enumerate(cache.cross_attention_cache.layers):
        close(layer.keys, io[f"a_ck{index}"])
        close(layer.values, io[f"a_cv{index}"])


@torch.inference_mode()
def test_the_parts_of_a_layer_agree_one_by_one(model, io):
    found = {}
    for part in ("self_attn", "cross_attn", "mlp"):

        def keep(module, args, output, part=part):
            found[part] = output[0] if isinstance(output, tuple) else output

        getattr(model.model.layers[0], part).register_forward_hook(keep)
    model(**one_picture(io))
    for part, output in found.items():
        close(output, io[f"a_l0_{part}_out"])


@torch.inference_mode()
def test_text_with_the_larger_picture_alone_agrees(model, io):
    given = {"input_ids": io["c_input_ids"], "high_res_pixel_values": io["cross_images"][:1]}
    close(model(**given).logits, io["c2_logits_cross_only"])


@torch.inference_mode()
def test_the_two_sizes_are_read_apart_even_where_they_are_of_different_pictures(model, io):
    given = one_picture(io) | {"high_res_pixel_values": io["cross_images"][1:]}
    close(model(**given).logits, io["g_logits_small0_cross1"])


@pytest.mark.parametrize("cache", [None, "static"])
def test_a_left_padded_batch_generates_the_published_ids(model, io, cache):
    given = {"input_ids": io["e_input_ids"], "mm_token_type_ids": io["e_token_type_ids"]}
    given |= pictures(io) | {"attention_mask": io["e_attention_mask"]}
    how = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "cache_implementation": cache}
    assert torch.equal(model.generate(**given, **how)[:, -8:], io["f_generate_ids_padded"])


@torch.inference_mode()
def test_bf16_stays_as_near_with_the_rotary_table_of_the_tower_rounded_as_demos_served_it(tmp_path):
    io = numbers("cogagent", "bf16_io")
    folder = publish("cogagent", tmp_path / "cogagent")
    model = load(folder, dtype=torch.bfloat16, rotary_in_model_dtype=True)
    given = {"input_ids": io["input_ids"], "mm_token_type_ids": io["token_type_ids"]}
    logits = model(**given, **pictures(io)).logits
    rounded = io["logits_bfloat16_lowmem"]
    assert (logits.argmax(-1) == rounded.argmax(-1)).float().mean() > 0.97
    assert (logits - rounded).abs().mean() < 0.01
