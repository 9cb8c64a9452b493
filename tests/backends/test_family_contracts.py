"""What every family keeps to beyond talking: plans, placements, saving, and refusals of what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers.models.smolvlm import processing_smolvlm

from demo.backends import loading, outline, spreading
from demo.backends.hf import HFBackend
from demo.catalog import spec_of_directory
from demo.engine.shape import Limits, shape_of
from demo.errors import ConfigError
from demo.families import FAMILIES
from demo.types import Message, Placement
from tests import tinytalkers
from tests.backends.family_kit import CPU, MAKERS, loaded, picture, saved
from tests.backends.pretend import pretended_cards
from tests.tinymodels import save_qwen

TOLERANCE = 1e-4
FIRST, SECOND, MAIN = "cpu:0", "cpu:1", "cpu"
QUESTION = Message("user", "What?", (picture(),))


def test_a_plan_from_the_configuration_alone_is_what_is_resident_after_the_load(tiny):
    parts = outline.parts_of(outline.build(directory_of(tiny)))
    planned = sum(part.floats * 4 + part.other_bytes for part in parts)
    resident = sum(tensor.nbytes for tensor in unique_tensors(tiny.backend._model))
    assert planned == resident


def test_the_shapes_that_a_conversation_is_planned_by_are_found(tiny):
    described = outline.describe(outline.build(directory_of(tiny)))
    text = tiny.backend._model.config.get_text_config(decoder=True)
    shape = shape_of(described["config"], Limits(tiny.spec.max_pictures, tiny.spec.max_side))
    cached = getattr(text, "num_key_value_heads", None) or shape.heads
    head_dim = getattr(text, "head_dim", None) or shape.hidden // shape.heads
    assert (shape.layers, shape.hidden) == (text.num_hidden_layers, text.hidden_size)
    assert shape.kv_width == cached * head_dim
    assert shape.intermediate
    assert shape.vocabulary == tiny.backend._model.get_input_embeddings().weight.shape[0]


def test_a_picture_takes_no_more_tokens_than_planned(tiny):
    described = outline.describe(outline.build(directory_of(tiny)))
    shape = shape_of(described["config"], Limits(1, tiny.spec.max_side, FAMILIES[tiny.spec.family].tiles))
    if not shape.picture_tokens or tiny.spec.family == "generic":
        pytest.skip("neither its configuration nor its row tells")
    processor = tiny.backend._prompter._processor
    place = getattr(processor, "image_token_id", None)
    ids = tiny.ids(Message("user", "What?", (picture(),)))
    assert ids.count(place) <= shape.picture_tokens


def test_saved_again_it_answers_as_before(tiny, tmp_path):
    before, after = directory_of(tiny), tmp_path / "again"
    shutil.copytree(before, after, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    tiny.backend._model.save_pretrained(after)
    again = loaded(spec_of_directory(after))
    assert again.spec.family == tiny.spec.family
    assert again.ask(QUESTION)[0] == tiny.ask(QUESTION)[0]
    again.backend.close()


def directory_of(tiny):
    return Path(tiny.spec.source)


def unique_tensors(model):
    return {
        (tensor.data_ptr(), tensor.nbytes): tensor
        for tensor in (*model.parameters(), *model.buffers())
        if tensor.numel()
    }.values()


# --- placements


def by_turns(parts):
    return {part.path: (FIRST, SECOND)[index % 2] for index, part in enumerate(parts)}


def tower_apart(parts):
    return {part.path: SECOND if part.kind == "vision" else FIRST for part in parts}


def layers_offloaded(parts):
    return {part.path: MAIN if part.kind == "layer" else FIRST for part in parts}


def together(device_map, parts):
    """As plans have it: weights that are one are on one device."""
    return device_map | {part.path: device_map[part.tied_to] for part in parts if part.tied_to}


@pytest.mark.parametrize("name", MAKERS)
def test_every_placement_answers_as_one_device(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # pretended cards hold for this thread only
    spec = saved(name, tmp_path)
    whole = loaded(spec, Placement({"": "cpu"}, dtype="float32", threads=1))
    inputs = whole.backend._prompter.prepare([QUESTION])
    expected = first_scores(whole.backend._model, inputs)
    whole.backend.close()
    parts = outline.parts_of(outline.build(directory_of(whole)))
    for spread in (by_turns, tower_apart, layers_offloaded):
        device_map = together(spread(parts), parts)
        placement = Placement(device_map, dtype="float32", offload=MAIN in device_map.values())
        with pretended_cards():
            model = loading.load(spec, directory_of(whole), directory_of(whole), placement).model
            scores = first_scores(model, inputs.to(spreading.input_device(model)))
        assert (scores - expected).abs().max() < TOLERANCE, spread.__name__


@torch.no_grad()
def first_scores(model, inputs):
    """The scores (T, V) of a few tokens, each chosen by the ones before."""
    told = model.generate(**inputs, max_new_tokens=3, do_sample=False, output_logits=True, return_dict_in_generate=True)
    return torch.cat([step.cpu() for step in told.logits])


# --- what is missing


def test_a_lost_chat_template_is_a_refusal_and_no_guess(tmp_path):
    directory = save_qwen(tmp_path)
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        HFBackend().load(spec_of_directory(directory), CPU, lambda *_: None)


def test_a_library_that_a_processor_needs_is_named(tmp_path, monkeypatch):
    directory = tinytalkers.save_smolvlm(tmp_path / "model")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"Install num2words|without torchvision") as raised:
        HFBackend().load(spec_of_directory(directory), CPU, lambda *_: None)
    if "torchvision" in str(raised.value):
        pytest.skip("this transformers asks for torchvision first")
    assert "a library that is not installed" in raised.value.what
