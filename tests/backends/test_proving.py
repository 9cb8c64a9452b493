"""The checks after a load find what is not as it was planned."""

from __future__ import annotations

import logging

import pytest
import torch

from demo.backends import proving
from demo.errors import BrokenCheckpoint, DemoError, DoesNotFit
from demo.types import Placement
from tests.models.kit import tiny_model

ALL_FOUND = {"missing_keys": [], "unexpected_keys": []}
CPU = Placement({"": "cpu"})
WEIGHTS_BYTES = 4 * sum(weight.numel() for weight in tiny_model().parameters())


def prove(model, placement=CPU, found=ALL_FOUND, dtype=torch.float32):
    proving.prove(model, found, "tiny", placement, dtype)


def test_a_model_as_planned_passes_and_its_bytes_are_told(caplog):
    caplog.set_level(logging.INFO)
    prove(tiny_model(), Placement({"": "cpu"}, planned={"cpu": WEIGHTS_BYTES}))
    assert f"cpu holds {WEIGHTS_BYTES} bytes of weights, {WEIGHTS_BYTES} were planned" in caplog.text


def test_facts_count_parameters_and_bytes_once():
    model = tiny_model(tie_word_embeddings=True)
    facts = proving.facts(model)
    assert facts.parameters == sum(weight.numel() for weight in model.parameters())
    assert facts.resident_bytes == {"cpu": 4 * facts.parameters}


def test_a_weight_that_was_missing_is_named():
    with pytest.raises(BrokenCheckpoint, match=r"lm_head\.weight"):
        prove(tiny_model(), found={**ALL_FOUND, "missing_keys": {"lm_head.weight"}})


def test_a_weight_without_numbers_is_named():
    model = tiny_model()
    model.model.layers[1].mlp.vision_mlp.up_proj.to("meta")
    with pytest.raises(BrokenCheckpoint, match=r"layers\.1\.mlp\.vision_mlp\.up_proj\.weight"):
        prove(model)


def test_tied_weights_that_came_apart_are_refused():
    model = tiny_model(tie_word_embeddings=True)
    prove(model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with pytest.raises(DemoError, match="came apart"):
        prove(model)


def test_another_dtype_than_asked_is_refused_but_a_few_weights_may_keep_theirs():
    model = tiny_model()
    model.model.norm.half()
    prove(model)
    with pytest.raises(BrokenCheckpoint, match=r"not loaded in torch\.bfloat16 \(torch\.float32\)"):
        prove(model, dtype=torch.bfloat16)
    prove(model, dtype="auto")


def test_weights_on_a_device_that_was_not_asked_for_are_refused():
    with pytest.raises(DoesNotFit, match=r"nobody asked.*\(cpu\)"):
        prove(tiny_model(), Placement({"": "cuda:0"}))


def test_a_card_that_holds_far_more_than_planned_is_refused():
    with pytest.raises(DoesNotFit, match="cuda:0: 3000000000 bytes, 2000000000 planned"):
        proving._compare({"cuda:0": 3_000_000_000}, {"cuda:0": 2_000_000_000})
    proving._compare({"cuda:0": 2_010_000_000, "cuda:1": 5}, {"cuda:0": 2_000_000_000})
