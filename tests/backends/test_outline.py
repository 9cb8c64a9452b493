"""How a model is cut into parts: against models that are really there, and over many families of transformers."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.utils.modeling import check_device_map
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from demo.backends import outline
from demo.catalog import spec_of_directory
from demo.models.cogvlm import classes_of
from tests import tinymodels

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = (
    "aria",
    "blip-2",
    "florence2",
    "gemma3",
    "glm4v",
    "internvl",
    "kosmos-2",
    "llava_next",
    "mistral3",
    "mllama",
    "paligemma",
    "qwen2_vl",
    "qwen3_vl",
)


def save_tied(directory):
    return tinymodels.save_cogvlm(directory, tie_word_embeddings=True)


def save_second(directory):
    return tinymodels.save_cogvlm(directory, num_multi_query_heads=2)


SAVERS = [
    tinymodels.save_cogvlm,
    save_second,
    save_tied,
    tinymodels.save_cogagent,
    tinymodels.save_llava,
    tinymodels.save_qwen,
    tinymodels.save_paligemma,
]


@pytest.fixture(params=SAVERS, ids=lambda save: save.__name__)
def directory(request, tmp_path):
    return request.param(tmp_path)


def load(directory, dtype=torch.bfloat16):
    spec = spec_of_directory(directory)
    cls = classes_of(spec.family).model if spec.is_cogvlm else AutoModelForImageTextToText
    return cls.from_pretrained(directory, dtype=dtype).eval()


def tensors(model):
    """Every tensor once, under its first name."""
    found = {id(tensor): (name, tensor) for name, tensor in reversed([*outline._tensors(model)])}
    return list(found.values())


def inside(name, part):
    return name == part.path or name.startswith(f"{part.path}.")


def test_the_parts_are_as_large_as_the_model_when_it_is_loaded(directory):
    parts = outline.parts_of(outline.build(directory))
    for dtype in (torch.bfloat16, torch.float32):
        loaded = load(directory, dtype)
        for part in parts:
            sizes = [tensor.numel() * tensor.element_size() for name, tensor in tensors(loaded) if inside(name, part)]
            assert part.floats * dtype.itemsize + part.other_bytes == sum(sizes), part


def test_every_tensor_is_in_exactly_one_part(directory):
    model = load(directory)
    parts = outline.parts_of(outline.build(directory))
    for name, _ in outline._tensors(model):
        assert len([part for part in parts if inside(name, part)]) == 1, name


def test_the_parts_make_a_device_map_that_loading_accepts(directory):
    model = outline.build(directory)
    check_device_map(model, dict.fromkeys((part.path for part in outline.parts_of(model)), "cpu"))


def test_towers_and_embeddings_are_whole_and_layers_are_apart(directory):
    model = outline.build(directory)
    kinds = [part.kind for part in outline.parts_of(model)]
    assert kinds.count("embedding") == 1
    assert kinds.count("vision") == (2 if model.config.model_type == "cogagent" else 1)
    assert kinds.count("layer") == model.config.get_text_config().num_hidden_layers
    assert kinds[-1] == "head"
    assert kinds.index("vision") < kinds.index("layer")


def test_tied_weights_are_counted_where_they_are_owned(tmp_path):
    parts = {part.path: part for part in outline.parts_of(outline.build(save_tied(tmp_path)))}
    assert parts["lm_head"].tied_to == "model.embed_tokens"
    assert parts["lm_head"].floats == 0
    assert parts["model.embed_tokens"].floats == 272 * 32
    assert {part.tied_to for part in parts.values()} == {None, "model.embed_tokens"}


def test_only_linears_of_layers_shrink(directory):
    model = outline.build(directory)
    paths = outline.quantizable(model)
    assert paths
    for part in outline.parts_of(model):
        within = [model.get_submodule(path) for path in paths if inside(path, part)]
        assert part.kind == "layer" or not within
        assert part.linear_floats == sum(linear.weight.numel() for linear in within)
        assert part.linear_rows == sum(linear.out_features for linear in within)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_other_families_are_cut_likewise(family):
    logging.disable(logging.WARNING)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(CONFIG_MAPPING[family](), dtype=torch.bfloat16)
    finally:
        logging.disable(logging.NOTSET)
    parts = outline.parts_of(model)
    assert [name for name, _ in outline._tensors(model) if sum(inside(name, part) for part in parts) != 1] == []
    assert sum(part.floats for part in parts) == sum(t.numel() for _, t in unique(model))
    check_device_map(model, dict.fromkeys((part.path for part in parts), "cpu"))
    towers = [part for part in parts if part.kind == "vision"]
    assert towers
    layers = [part for part in parts if part.kind == "layer"]
    assert len(layers) >= model.config.get_text_config().num_hidden_layers
    assert not any(inside(layer.path, tower) for layer in layers for tower in towers)


def unique(model):
    """The tensors that take the planned dtype, tied ones once."""
    tied = model.all_tied_weights_keys
    kept = set(model.state_dict())
    return [
        (name, tensor)
        for name, tensor in tensors(model)
        if name not in tied and (tensor.dtype == outline.PLANNED or (name in kept and tensor.is_floating_point()))
    ]


def test_the_command_prints_one_object(tmp_path):
    directory = tinymodels.save_llava(tmp_path)
    command = [sys.executable, "-m", "demo.backends.outline", str(directory)]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert found["keeps_one_logit"] is True
    assert found["config"]["text_config"]["num_attention_heads"] == 4
    paths = [module["path"] for module in found["modules"]]
    assert paths[-1] == "lm_head"
    assert "model.language_model.layers.1" in paths


def test_a_model_of_remote_code_is_refused_without_running_it(tmp_path):
    config = {"model_type": "theirs", "vision_config": {}, "auto_map": {"AutoConfig": "trap.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "trap.py").write_text("raise SystemExit('remote code was run')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        outline.build(tmp_path)
