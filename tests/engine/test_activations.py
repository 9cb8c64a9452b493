"""The predicted peaks against the tensors that real models, of small sizes and few layers, hold at once."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    DynamicCache,
    EncoderDecoderCache,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from demo.backends.kernels.launching import at_hand
from demo.backends.turning import fuse_turns
from demo.engine.activations import ITEM_BYTES
from demo.engine.footprint import ModelFootprint
from demo.engine.shape import Limits, Shape, shape_of
from demo.models.caches import cache_name
from demo.models.cogvlm import CogVLMModel, classes_of
from tests.backends.test_turning import put_back_turns
from tests.live import Live

CONTEXT = 512
WORDS, PICTURE_ID = 800, 790
ONE_PICTURE = Limits(pictures=1, side=392)
UNDER, OVER = 0.98, 1.12  # of what was measured; older versions of transformers keep less of what the tower gave


def cogvlm(family="cogvlm", **more):
    vision = {"hidden_size": 224, "num_hidden_layers": 2, "num_heads": 2, "intermediate_size": 960, "image_size": 196}
    sizes = {"hidden_size": 384, "intermediate_size": 1032, "num_hidden_layers": 2, "num_attention_heads": 6}
    ours = classes_of(family)
    config = ours.config(
        **{"vocab_size": WORDS, "max_position_embeddings": CONTEXT, "vision_config": vision, **sizes, **more}
    )
    ids = torch.randint(3, WORDS, (1, CONTEXT))
    types = torch.zeros_like(ids)
    types[:, 1 : 1 + config.num_image_tokens] = 1
    return (
        config,
        ours.model,
        {
            "input_ids": ids,
            "mm_token_type_ids": types,
            "pixel_values": torch.randn(1, 3, 196, 196),
        },
    )


def cogvlm2():
    return cogvlm(num_multi_query_heads=2)


def cogagent(**more):
    """Like the published one, it sees many more patches of the larger picture than a prompt has tokens."""
    cross = {"cross_image_size": 448, "cross_hidden_size": 128, "cross_compute_hidden_size": 96}
    config, model, inputs = cogvlm("cogagent", **cross, cross_vision_config={"num_hidden_layers": 3}, **more)
    return config, model, {**inputs, "high_res_pixel_values": torch.randn(1, 3, 448, 448)}


def llava():
    vision = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 384, "intermediate_size": 1032, "num_hidden_layers": 2, "num_attention_heads": 6}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, image_size=224, patch_size=14),
        text_config=LlamaConfig(**text, vocab_size=WORDS, max_position_embeddings=CONTEXT),
        image_token_index=PICTURE_ID,
    )
    ids = torch.randint(3, PICTURE_ID, (1, CONTEXT))
    ids[:, 1:257] = PICTURE_ID
    return config, LlavaForConditionalGeneration, {"input_ids": ids, "pixel_values": torch.randn(1, 3, 224, 224)}


def qwen():
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 1e6}
    text = {"hidden_size": 384, "intermediate_size": 2030, "num_hidden_layers": 2, "num_attention_heads": 6}
    vision = {"hidden_size": 160, "intermediate_size": 428, "depth": 2, "num_heads": 4, "out_hidden_size": 384}
    special = {"image_token_id": PICTURE_ID, "video_token_id": 791, "vision_start_token_id": 792}
    text |= {"num_key_value_heads": 1, "vocab_size": WORDS, "rope_parameters": rope}
    text |= {"max_position_embeddings": CONTEXT, "bos_token_id": 1, "eos_token_id": 2}
    config = Qwen2_5_VLConfig(text_config=text, vision_config={**vision, "fullatt_block_indexes": [1]}, **special)
    ids = torch.randint(3, PICTURE_ID, (1, CONTEXT))
    ids[:, 1], ids[:, 2:198] = 792, PICTURE_ID
    inputs = {"input_ids": ids, "mm_token_type_ids": (ids == PICTURE_ID).long()}
    pictures = {"pixel_values": torch.randn(28 * 28, 3 * 2 * 14 * 14), "image_grid_thw": torch.tensor([[1, 28, 28]])}
    return config, Qwen2_5_VLForConditionalGeneration, {**inputs, **pictures}


def shape(config):
    plain, text = json.loads(config.to_json_string(use_diff=False)), config.get_text_config()
    if text is not config:
        plain["text_config"] = json.loads(text.to_json_string(use_diff=False))
    return shape_of(plain, ONE_PICTURE)


@pytest.fixture(params=[cogvlm, cogvlm2, cogagent, llava, qwen], ids=lambda make: make.__name__)
def family(request):
    torch.manual_seed(0)
    config, cls, inputs = request.param()
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return config, cls, inputs


def build(family, dtype, attn):
    config, cls, inputs = family
    model = cls._from_config(config, dtype=dtype, attn_implementation=attn).eval()
    return model, {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}


@pytest.mark.parametrize(("dtype", "attn"), [("bfloat16", "sdpa"), ("float32", "sdpa"), ("bfloat16", "eager")])
@torch.no_grad()
def test_the_peaks_are_those_of_the_tensors_that_are_alive(family, dtype, attn):
    model, inputs = build(family, getattr(torch, dtype), attn)
    footprint = ModelFootprint("m", 0, dtype, shape=shape(family[0]))

    large = {name: inputs[name] for name in ("high_res_pixel_values",) if name in inputs}
    pictures = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
    with Live(model, {**pictures, **large}) as live:
        held = model.get_high_res_image_features(**large) if large else None
        model.get_image_features(**pictures)
    del held
    assert UNDER <= footprint.vision_activation_bytes(dtype, attn) / live.peak_bytes <= OVER

    words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    # pictures send each of CogVLM's tokens through one expert of two: a prompt of words alone takes more
    prompt = {**words, **large} if footprint.shape.has_experts else inputs
    with Live(model, prompt) as live:
        model.generate(**prompt, max_new_tokens=1, do_sample=False)
    added = footprint.kv_cache_bytes(dtype, slots=1) + footprint.activation_bytes(dtype, attn)
    assert UNDER <= added / live.peak_bytes <= OVER
    with Live(model, inputs) as live:
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert added / live.peak_bytes >= UNDER


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the kernel is for cards, and is not interpreted")
@torch.no_grad()
def test_a_kernel_of_our_own_turns_pictures_in_less_memory(monkeypatch):
    pytest.importorskip("triton", reason="Triton is for Linux")
    torch.manual_seed(0)
    config, *_ = plain = qwen()
    model, inputs = build(plain, torch.float16, "sdpa")
    put_back_turns(monkeypatch, model)
    footprint = ModelFootprint("m", 0, "float16", shape=shape(config))
    pictures = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
    found = at_hand(["cpu"])

    def turned(*told, **how):
        both = found.turned(*told, **how)
        gc.collect()  # Triton's interpreter leaves what it was given behind, in circles
        return both

    peaks = []
    for kernels in (None, replace(found, turned=turned)):
        fuse_turns(model, kernels)
        with Live(model, pictures) as live:
            model.get_image_features(**pictures)
        planned = footprint.vision_activation_bytes("float16", kernels=kernels is not None)
        assert UNDER <= planned / live.peak_bytes <= OVER
        peaks.append(live.peak_bytes)
    assert peaks[1] < peaks[0]
    wide = footprint.vision_activation_bytes("float32")
    assert footprint.vision_activation_bytes("float32", kernels=True) == wide


@pytest.mark.parametrize("make", [llava, qwen])
@pytest.mark.parametrize(("dtype", "attn"), [("bfloat16", "sdpa"), ("float32", "sdpa"), ("bfloat16", "eager")])
@torch.no_grad()
def test_layers_away_from_the_tower_cost_nothing_for_pictures(make, dtype, attn):
    torch.manual_seed(0)
    config, cls, inputs = make()
    model, _ = build((config, cls, inputs), getattr(torch, dtype), attn)
    footprint = ModelFootprint("m", 0, dtype, shape=shape(config))
    embedded = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"])}
    cache = DynamicCache(config=config.get_text_config())
    with Live(model, embedded) as live:
        model.model.language_model(**embedded, **{cache_name(): cache})
    prefill = footprint.prefill_activation_bytes(dtype, attn, beside_tower=False)
    added = footprint.kv_cache_bytes(dtype, slots=1) + prefill
    assert UNDER <= added / live.peak_bytes <= OVER
    assert prefill < footprint.prefill_activation_bytes(dtype, attn)


@pytest.mark.parametrize(("dtype", "attn"), [("bfloat16", "sdpa"), ("float32", "sdpa"), ("bfloat16", "eager")])
@torch.no_grad()
def test_a_few_words_about_cogagents_larger_picture_cost_what_its_keys_and_values_do(dtype, attn):
    """As on a card that has layers of it and no tower."""
    torch.manual_seed(0)
    config, cls, inputs = cogagent(max_position_embeddings=40)
    model, inputs = build((config, cls, inputs), getattr(torch, dtype), attn)
    footprint = ModelFootprint("m", 0, dtype, shape=shape(config))
    seen = model.get_high_res_image_features(inputs["high_res_pixel_values"])
    words = {"input_ids": inputs["input_ids"][:, :40]}
    cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
    with Live(model, {**words, "seen": seen}) as live:
        CogVLMModel.forward(model.model, **words, encoder_hidden_states=seen, past_key_values=cache)
    prefill = footprint.prefill_activation_bytes(dtype, attn, beside_tower=False)
    added = footprint.kv_cache_bytes(dtype, slots=1) + prefill
    assert UNDER <= added / live.peak_bytes <= OVER


@torch.no_grad()
def test_choosing_a_token_takes_no_more_than_the_scores_were_counted_for():
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=400_000, **small)
    model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    inputs = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    with Live(model, inputs) as live:
        model.generate(**inputs, max_new_tokens=2, do_sample=True, temperature=0.7, top_p=0.9, top_k=0)
    predicted = ModelFootprint("m", 0, "bfloat16", shape=Shape(vocabulary=400_000)).logits_bytes()
    assert UNDER <= predicted / live.peak_bytes <= 1.1


def test_scores_of_all_positions_are_counted_where_the_model_computes_them():
    one = ModelFootprint("m", 0, "bfloat16", shape=Shape(vocabulary=1000, context=500))
    every = replace(one, shape=replace(one.shape, keeps_one_logit=False))
    assert every.logits_bytes() - one.logits_bytes() >= 499 * 1000 * 4


def test_a_model_of_words_has_no_tower():
    assert ModelFootprint("m", 0, "bfloat16", shape=Shape(hidden=8)).vision_activation_bytes("bfloat16") == 0


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_no_peak_shrinks_with_a_longer_context(attn, dtype):
    config, _, _ = qwen()
    short = shape(config)
    peaks = [
        ModelFootprint("m", 0, dtype, shape=replace(short, context=context)).activation_bytes(dtype, attn)
        for context in (256, 512, 1024, 4096)
    ]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[-1]
