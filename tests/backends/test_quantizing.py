"""Weights in fewer bits, on the CPU: what shrinks, what is left alone, and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers.quantizers.quantizers_utils import should_convert_module

from demo.backends import loading, outline, quantizing
from demo.backends.hf import HFBackend
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.errors import ConfigError
from demo.types import GenerateRequest, Message, Picture, Placement, Sampling, Size
from tests.tinymodels import edit_config, save_cogagent, save_cogvlm, save_llava, save_qwen

PICTURE = Picture(Size(40, 30), bytes(range(256)) * 14 + bytes(16))


def save_wide_cogvlm(directory):
    """Four bits come in rows of 64 numbers."""
    return save_cogvlm(directory, hidden_size=128, intermediate_size=256)


def save_wide_cogagent(directory):
    return save_cogagent(directory, hidden_size=128, intermediate_size=256, cross_compute_hidden_size=64)


def loaded(directory, **how):
    backend = HFBackend()
    placement = Placement({"": "cpu"}, dtype="float32", threads=1, **how)
    backend.facts = backend.load(resolve(ModelChoice(str(directory))), placement, lambda *_: None)
    return backend


def ask(backend):
    request = GenerateRequest("r", "chat", (Message("user", "What is this?", (PICTURE,)),), Sampling(max_new_tokens=8))
    *pieces, finish = backend.stream(request, lambda: False)
    return "".join(pieces), finish.usage.completion_tokens


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        (save_wide_cogvlm, "int8"),
        (save_wide_cogvlm, "int4"),
        (save_wide_cogagent, "int8"),
        (save_wide_cogagent, "int4"),
        (save_llava, "int8"),
        (save_qwen, "int8"),
    ],
)
def test_a_quantized_model_answers_and_only_its_layers_shrink(tmp_path, save, kind):
    pytest.importorskip(quantizing.LIBRARIES[kind])
    whole, small = loaded(save(tmp_path)), loaded(tmp_path, quantization=kind)
    assert ask(small)[1] == 8
    assert small.facts.parameters == whole.facts.parameters
    shrunk = set(outline.quantizable(whole._model))
    for name, weight in whole._model.named_parameters():
        other = small._model.get_parameter(name)
        if name.removesuffix(".weight") not in shrunk or not name.endswith(".weight"):
            assert torch.equal(weight, other), name
    assert any("vision" in name or "visual" in name for name in set(dict(whole._model.named_modules())) - shrunk)


@pytest.mark.parametrize("kind", quantizing.KINDS)
def test_resident_bytes_are_those_of_fewer_bits(tmp_path, kind):
    pytest.importorskip(quantizing.LIBRARIES[kind])
    model = outline.build(save_wide_cogvlm(tmp_path))
    linear = sum(part.linear_floats for part in outline.parts_of(model))
    whole, small = loaded(tmp_path), loaded(tmp_path, quantization=kind)
    saved = whole.facts.resident_bytes["cpu"] - small.facts.resident_bytes["cpu"]
    bits = {"int8": 8.5, "int4": 5}[kind]  # scales included
    assert linear * (4 - bits / 8) < saved < linear * (4 - bits / 8 + 0.1)


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.05), ("int4", 0.5)])
def test_fewer_bits_change_the_logits_and_not_much(tmp_path, kind, most):
    pytest.importorskip(quantizing.LIBRARIES[kind])
    whole, small = loaded(save_wide_cogvlm(tmp_path)), loaded(tmp_path, quantization=kind)
    inputs = whole._prompter.prepare([Message("user", "What is this?", (PICTURE,))])
    with torch.inference_mode():
        one, other = whole._model(**inputs).logits, small._model(**inputs).logits
    assert 0 < (one - other).abs().max() < most * one.abs().max()


def test_what_is_left_alone_are_the_tower_its_projector_and_the_head(tmp_path):
    model = outline.build(save_llava(tmp_path))
    skip = quantizing.left_alone(model, "int8")
    assert skip == ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    linears = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    assert {name for name in linears if should_convert_module(name, skip)} == set(outline.quantizable(model))


def test_a_module_whose_name_begins_those_of_layers_is_named_by_its_linears(tmp_path):
    """transformers leaves alone all that begins with a path, whole names or not."""
    model = outline.build(save_llava(tmp_path))
    model.model.language = torch.nn.Sequential(torch.nn.Linear(8, 8, device="meta"))
    assert "model.language.0" in quantizing.left_alone(model, "int8")


def test_a_few_layers_of_another_shape_keep_their_dtype_in_four_bits(tmp_path):
    model = outline.build(save_wide_cogvlm(tmp_path))
    usual = quantizing.left_alone(model, "int4")
    model.model.layers[0].gate = torch.nn.Linear(128, 8, device="meta")  # such as the router of eight experts
    assert set(quantizing.left_alone(model, "int4")) - set(usual) == {"model.layers.0.gate"}
    assert quantizing.left_alone(model, "int8") == usual


def test_layers_that_do_not_come_in_blocks_are_refused_by_name_and_shape_before_a_load(tmp_path):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(ConfigError, match=r"shape for --quantize int4 \(model.*_proj, \d+ x 32\).*--quantize int8"):
        loaded(save_llava(tmp_path), quantization="int4")


@pytest.mark.parametrize(("kind", "library"), [("int8", "torchao"), ("int4", "bitsandbytes")])
def test_a_library_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch, kind, library):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # as if nothing were installed
    with pytest.raises(ConfigError, match=rf"{library}\)\. Install it: pip install"):
        quantizing.config_for(kind, [])


def test_a_library_that_nobody_asked_for_does_not_complain_where_a_worker_starts():
    pytest.importorskip("torchao")  # transformers imports it wherever it is installed
    told = "from demo.engine.libraries import backend_named; backend_named('hf')"
    root = Path(__file__).resolve().parents[2]
    started = subprocess.run([sys.executable, "-c", told], cwd=root, capture_output=True, text=True, timeout=300)
    assert (started.returncode, started.stderr) == (0, "")


def test_unknown_kinds_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"int3.*Known: int8, int4"):
        quantizing.config_for("int3", [])
    with pytest.raises(ConfigError, match=r"int3.*Known: int8, int4"):
        quantizing.left_alone(outline.build(save_llava(tmp_path)), "int3")


def test_a_checkpoint_that_is_quantized_already_loads_as_it_is_and_is_not_quantized_again(tmp_path):
    pytest.importorskip("bitsandbytes")
    spec = resolve(ModelChoice(str(save_wide_cogvlm(tmp_path / "whole"))))
    placement = Placement({"": "cpu"}, dtype="float32", quantization="int4")
    small = loading.load(spec, tmp_path / "whole", tmp_path / "whole", placement)
    small.model.save_pretrained(tmp_path / "small")
    small.processor.save_pretrained(tmp_path / "small")
    stored = loaded(tmp_path / "small")
    assert ask(stored)[1] == 8
    assert stored.facts.resident_bytes["cpu"] < loaded(tmp_path / "whole").facts.resident_bytes["cpu"] / 2
    with pytest.raises(ConfigError, match=r"quantized already.*bitsandbytes"):
        loaded(tmp_path / "small", quantization="int8")


def test_a_checkpoint_quantized_by_a_library_that_is_not_here_says_so(tmp_path):
    save_llava(tmp_path)
    edit_config(tmp_path, quantization_config={"quant_method": "hqq", "quant_config": {}, "skip_modules": []})
    with pytest.raises(ConfigError, match="library that is not installed"):
        loaded(tmp_path)


def test_quantized_layers_do_not_wait_in_main_memory(tmp_path):
    device_map = {"model.language_model": "cpu", "model": "cuda:0", "lm_head": "cuda:0"}
    placement = Placement(device_map, dtype="float32", offload=True, quantization="int8")
    spec = resolve(ModelChoice(str(save_llava(tmp_path))))
    with pytest.raises(ConfigError, match="--quantize and --offload"):
        loading.load(spec, tmp_path, tmp_path, placement)
