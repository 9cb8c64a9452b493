"""Widths that do not suit cards: the same numbers from wider products, only where that is so."""

from __future__ import annotations

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP

from demo.backends.aligning import align_widths
from demo.backends.hf import HFBackend
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.test_rolling import answered, asked
from tests.tinymodels import save_qwen

MANY = 8  # tokens


def mlp(width, dtype=torch.bfloat16):
    """As in the tower of a Qwen2.5-VL, with biases."""
    torch.manual_seed(0)
    config = Qwen2_5_VLVisionConfig(hidden_size=24, intermediate_size=width, hidden_act="silu")
    return Qwen2_5_VLMLP(config, bias=True).to(dtype).requires_grad_(False)


def widths_of(module, linear):
    """Of what a linear layer gives, in every call."""
    found = []
    linear.register_forward_hook(lambda _, given, gives: found.append(gives.shape[-1]))
    return found


@pytest.mark.parametrize(("width", "wider"), [(12, 16), (60, 64), (57, 64)])
def test_many_tokens_are_computed_with_a_width_that_suits(width, wider):
    module = mlp(width)
    given = torch.randn(2, MANY, 24).bfloat16()
    before = module(given)
    assert align_widths(module, many=MANY) == 1
    widths = widths_of(module, module.gate_proj)
    torch.testing.assert_close(module(given), before, rtol=0, atol=2e-2 * before.abs().max().item())
    assert widths == [wider]
    assert module.gate_proj.weight.shape == (width, 24)  # no weight is resident that was not before


def test_few_tokens_are_computed_as_before():
    module = mlp(12)
    given = torch.randn(1, MANY - 1, 24).bfloat16()
    before = module(given)
    align_widths(module, many=MANY)
    widths = widths_of(module, module.gate_proj)
    assert torch.equal(module(given), before)
    assert widths == [12]


@pytest.mark.parametrize(("width", "dtype"), [(64, torch.bfloat16), (12, torch.float32)])
def test_widths_that_suit_and_numbers_of_32_bits_are_left_alone(width, dtype):
    assert align_widths(mlp(width, dtype), many=MANY) == 0


def test_a_module_whose_parts_have_hooks_is_aligned_behind_them():
    module = mlp(12)
    for part in (module, *module.children()):
        add_hook_to_module(part, AlignDevicesHook("cpu"))
    given = torch.randn(1, MANY, 24).bfloat16()
    before = module(given)
    assert align_widths(module, many=MANY) == 1
    torch.testing.assert_close(module(given), before, rtol=0, atol=2e-2 * before.abs().max().item())


class Heads(nn.Module):
    """Cuts the width between into heads, which a wider one would cut elsewhere."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(24, 12), nn.Linear(12, 24)

    def forward(self, hidden):
        return self.out(self.into(hidden).unflatten(-1, (-1, 4)).flip(-2).flatten(-2))


class Shares(Heads):
    """Counts how wide it is."""

    def forward(self, hidden):
        return self.out(self.into(hidden).softmax(dim=-1))


class TwoGiven(Heads):
    def forward(self, hidden, other):
        return self.out(self.into(hidden) + other)


class Quiet(nn.Linear):
    """Another kind of linear layer."""


class Exchanged(Heads):
    def __init__(self):
        super().__init__()
        self.into = Quiet(24, 12)


@pytest.mark.parametrize("cls", [Heads, Shares, TwoGiven, Exchanged])
def test_what_does_more_with_the_width_stays_as_it_is(cls):
    torch.manual_seed(0)
    module = cls().bfloat16().requires_grad_(False)
    given = [torch.randn(MANY, 24).bfloat16()] + [torch.randn(MANY, 12).bfloat16()] * (cls is TwoGiven)
    before = module(*given)
    assert align_widths(module, many=MANY) == 0
    assert torch.equal(module(*given), before)


def test_a_model_answers_as_before(tmp_path):
    backend = HFBackend()
    spec = resolve(ModelChoice(str(save_qwen(tmp_path / "model", inner=36))))
    backend.load(spec, Placement({"": "cpu"}, dtype="bfloat16", threads=1, slots=2), lambda *_: None)
    request = asked("What is it?", max_new_tokens=12)
    before = answered(backend, request)[0]
    assert align_widths(backend._model, many=1) == 2
    tower = backend._model.model.visual
    widths = widths_of(tower, tower.blocks[0].mlp.up_proj)
    backend._rolling.forget()
    assert answered(backend, request)[0] == before
    assert widths == [40]
    backend.close()
