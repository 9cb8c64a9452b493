import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from demo.models.cogvlm import register
from tests.models.kit import FIXTURES, TOLERANCE, byte_tokenizer, classes, load, numbers, pictures, prompt, tiny_model

# What a checkpoint holds and no model uses: rotary tables, and the end of the tower for the larger picture.
UNUSED = re.compile(r"inv_freq|cross_vision\.vit\.model\.(rope|norm|head|blocks\.3)\.")


@torch.inference_mode()
def logits(model, name):
    io = numbers(name)
    given = {"input_ids": io["b_input_ids"], "mm_token_type_ids": io["b_token_type_ids"]}
    return model(**given, **pictures(io)).logits


def agrees(model, name):
    return (logits(model, name) - numbers(name)["b_logits"]).abs().max() < TOLERANCE


def test_a_published_checkpoint_loads_with_no_key_missing_or_left_over(published):
    _, report = classes(published).model.from_pretrained(published, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_sdpa_is_the_default_for_pictures_and_text(published):
    model = classes(published).model.from_pretrained(published)
    assert model.model.vision.transformer.layers[0].attention.config._attn_implementation == "sdpa"
    assert model.model.layers[0].self_attn.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_take_the_dtype_that_is_asked_for(published, dtype):
    model = load(published, dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {dtype}


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, "auto"])
def test_a_device_map_may_be_a_word_or_a_table(published, name, device_map):
    assert agrees(load(published, device_map=device_map), name)


def test_parts_may_be_placed_one_by_one_and_the_tower_kept_on_disk(published, name, tmp_path):
    placed = {"model.embed_tokens": "cpu", "model.vision": "disk", "model.norm": "cpu", "lm_head": "cpu"}
    placed |= {"model.rotary_emb": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.layers.2": "cpu"}
    placed |= {"model.cross_vision": "disk"} if name == "cogagent" else {}
    model = load(published, device_map=placed, offload_folder=tmp_path / "offload")
    towers = [tower for part, tower in model.model.named_children() if part.endswith("vision")]
    waiting = {weight.device.type for tower in towers for weight in tower.parameters()}
    assert waiting == {"meta"}  # truly not in memory between calls
    assert agrees(model, name)


def test_the_towers_and_each_layer_stay_in_one_piece(published, name):
    whole = {"CogVLMDecoderLayer", "CogVLMVisionModel"}
    if name == "cogagent":
        whole |= {"CogAgentDecoderLayer", "CogAgentCrossVisionModel"}
    model = load(published)
    assert model._no_split_modules >= whole
    kinds = {type(module).__name__ for module in model.modules()}
    assert any(kind.endswith("DecoderLayer") for kind in kinds & whole)


def test_the_towers_come_before_the_layers_so_that_sharding_puts_them_on_the_first_device(published):
    parts = [part for part, _ in load(published).model.named_children()]
    assert [part for part in parts if part.endswith("vision")] == parts[1 : parts.index("layers")]


@pytest.mark.parametrize("shard", ["50GB", "300KB"])
def test_saving_keeps_the_published_key_names_and_loads_the_same(published, name, tmp_path, shard):
    load(published).save_pretrained(tmp_path / "saved", max_shard_size=shard)
    files = sorted((tmp_path / "saved").glob("*.safetensors"))
    assert (len(files) > 1) == (shard == "300KB")
    assert (tmp_path / "saved" / "model.safetensors.index.json").exists() == (len(files) > 1)
    saved = {key: value for file in files for key, value in load_file(file).items()}
    stored = load_file(FIXTURES / f"{name}.safetensors")
    original = {key: value for key, value in stored.items() if not UNUSED.search(key)}
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[key], original[key]) for key in saved)
    assert torch.equal(logits(load(tmp_path / "saved"), name), logits(load(published), name))


def test_a_published_directory_in_shards_loads(published, name):
    whole = load_file(published / "model.safetensors")
    (published / "model.safetensors").unlink()
    halves = [dict(list(whole.items())[::2]), dict(list(whole.items())[1::2])]
    index = {}
    for number, half in enumerate(halves, start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file(half, published / file, metadata={"format": "pt"})
        index |= dict.fromkeys(half, file)
    (published / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    assert agrees(load(published), name)


def test_auto_classes_know_what_we_saved_and_registering_twice_is_harmless(published, name, tmp_path):
    register()
    register()
    ours = classes(published)
    load(published).save_pretrained(tmp_path / "ours")
    ours.processor.from_pretrained(published, tokenizer=byte_tokenizer()).save_pretrained(tmp_path / "ours")
    assert type(AutoConfig.from_pretrained(tmp_path / "ours")) is ours.config
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    assert type(model) is ours.model
    assert agrees(model.eval(), name)
    assert type(AutoProcessor.from_pretrained(tmp_path / "ours")) is ours.processor


def test_rounding_a_loaded_model_does_not_touch_its_rotary_angles(published):
    positions = torch.tensor([[300, 301]])
    fresh = load(published).model.rotary_emb(positions, torch.float32)
    rounded = load(published).to(torch.bfloat16).model.rotary_emb(positions, torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(fresh, rounded, strict=True))


@pytest.mark.parametrize("family", ["cogvlm", "cogagent"])
def test_a_tied_head_is_saved_once_and_tied_again(family, tmp_path):
    model = tiny_model(family, tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    again = load(tmp_path)
    given = prompt(model.config, [5, 6])
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(again(**given).logits, model(**given).logits)


def test_naming_the_package_imports_no_torch():
    code = "import sys, demo.models.cogvlm as cogvlm; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("family", ["cogvlm", "cogagent"])
def test_every_bare_weight_is_read_where_hooks_can_fill_it_in(family, tmp_path):
    """Each weight waits on the disk until the very module that holds it is called."""
    model = tiny_model(family)
    given = prompt(model.config, [5, 6])
    model.save_pretrained(tmp_path / "saved")
    parts = {part: "disk" for part, _ in model.model.named_children() if part != "layers"}
    placed = {f"model.{part}": device for part, device in parts.items()} | {"model.layers": "disk", "lm_head": "cpu"}
    waiting = load(tmp_path / "saved", device_map=placed, offload_folder=tmp_path / "offload")
    assert {weight.device.type for weight in waiting.model.parameters()} == {"meta"}
    with torch.inference_mode():
        torch.testing.assert_close(waiting(**given).logits, model(**given).logits, atol=1e-5, rtol=0)
