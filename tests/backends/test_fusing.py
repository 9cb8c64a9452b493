"""Norms in one kernel: the same numbers, only for those that are such norms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from demo.backends.fusing import fuse_norms
from demo.backends.hf import HFBackend
from demo.backends.kernels.launching import at_hand
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.test_kernels import DEVICE, DTYPE
from tests.backends.test_rolling import answered, asked
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

MAKERS = {"cogvlm": save_cogvlm, "llava": save_llava, "qwen2_5_vl": save_qwen}
WIDTH = 24


class LoudRMSNorm(LlamaRMSNorm):
    """Has the name and the weight of one, and computes something else."""

    def forward(self, hidden_states):
        return 2 * super().forward(hidden_states)


class OpenRMSNorm(LlamaRMSNorm):
    """Wants to be told more."""

    def forward(self, hidden_states, gate):
        return super().forward(hidden_states) * gate


class GatedRMSNorm(LlamaRMSNorm):
    """May be told more, and cannot do without."""

    def forward(self, hidden_states, gate=None):
        return super().forward(hidden_states) * gate.to(hidden_states.dtype)


class SometimesGatedRMSNorm(LlamaRMSNorm):
    """May be told more, and can do without."""

    def forward(self, hidden_states, gate=None):
        return super().forward(hidden_states if gate is None else hidden_states * gate)


class PairedRMSNorm(LlamaRMSNorm):
    """Gives what it was given back, too."""

    def forward(self, hidden_states):
        return super().forward(hidden_states), hidden_states


class OutsideRMSNorm(LlamaRMSNorm):
    """Has its epsilon beside the root."""

    def forward(self, hidden_states):
        return self.weight * hidden_states / (hidden_states.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)


class MoodyRMSNorm(LlamaRMSNorm):
    """Two of the class are not alike."""

    def __init__(self, width, more=0.0):
        super().__init__(width)
        self.more = more

    def forward(self, hidden_states):
        return super().forward(hidden_states) * (1 + self.more)


@pytest.mark.parametrize("cls", [LlamaRMSNorm, Qwen2RMSNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_plain_norm_is_exchanged_and_gives_the_same(cls, dtype):
    torch.manual_seed(0)
    norm, given = cls(WIDTH, eps=1e-5).to(dtype), torch.randn(2, 3, WIDTH).to(dtype)
    norm.weight.data.normal_()
    before = norm(given)
    assert fuse_norms(torch.nn.Sequential(norm)) == 1
    found = norm(given)
    assert found.dtype == dtype
    torch.testing.assert_close(found, before)
    assert "forward" in vars(norm)


@pytest.mark.parametrize(
    ("dtype", "rows", "is_used"), [(DTYPE, 3, True), (torch.float32, 3, False), (DTYPE, 6000, False)]
)
def test_a_kernel_of_our_own_norms_few_rows_of_16_bits(dtype, rows, is_used):
    pytest.importorskip("triton", reason="Triton is for Linux")
    kernels, calls = at_hand([DEVICE]), []
    watched = replace(kernels, normed=lambda *told: calls.append(told) or kernels.normed(*told))
    norm, given = LlamaRMSNorm(WIDTH, eps=1e-5).to(DEVICE, dtype), torch.randn(rows, 1, WIDTH).to(DEVICE, dtype)
    norm.weight.data.normal_()
    before = norm(given)
    assert fuse_norms(torch.nn.Sequential(norm), watched) == 1
    torch.testing.assert_close(norm(given), before, rtol=1e-2, atol=1e-3)
    assert bool(calls) is is_used


OTHERS = [GemmaRMSNorm, LoudRMSNorm, OpenRMSNorm, GatedRMSNorm, SometimesGatedRMSNorm, PairedRMSNorm, OutsideRMSNorm]


@pytest.mark.parametrize("cls", OTHERS)
def test_what_computes_something_else_is_left_alone(cls):
    norm = cls(WIDTH)
    assert fuse_norms(torch.nn.Sequential(norm)) == 0
    assert "forward" not in vars(norm)


@pytest.mark.parametrize("norm", [torch.nn.LayerNorm(WIDTH), torch.nn.RMSNorm(WIDTH)], ids=["layer", "no epsilon"])
def test_a_norm_without_an_epsilon_of_its_own_or_of_another_kind_is_none(norm):
    assert fuse_norms(torch.nn.Sequential(norm)) == 0


class Watched(AlignDevicesHook):
    calls = 0

    def pre_forward(self, module, *args, **kwargs):
        self.calls += 1
        return super().pre_forward(module, *args, **kwargs)


def test_a_norm_of_a_model_over_several_devices_keeps_the_hook_that_moves_its_input():
    norm, given, hook = LlamaRMSNorm(WIDTH), torch.randn(3, WIDTH), Watched(execution_device="cpu")
    before = norm(given)
    add_hook_to_module(norm, hook)
    assert fuse_norms(torch.nn.Sequential(norm)) == 1
    assert (norm._old_forward.func.__name__, hook.calls) == ("_norm", 0)
    torch.testing.assert_close(norm(given), before)
    assert hook.calls == 1


def test_a_norm_whose_weight_waits_elsewhere_or_that_was_exchanged_already_is_left_alone():
    waiting, changed = LlamaRMSNorm(WIDTH), LlamaRMSNorm(WIDTH)
    add_hook_to_module(waiting, AlignDevicesHook(execution_device="cpu", offload=True))
    changed.forward = lambda hidden_states: hidden_states
    assert fuse_norms(torch.nn.Sequential(waiting, changed)) == 0


def test_each_norm_is_tried_for_itself():
    norms = torch.nn.Sequential(MoodyRMSNorm(WIDTH), MoodyRMSNorm(WIDTH, more=1.0))
    assert fuse_norms(norms) == 1
    assert ["forward" in vars(norm) for norm in norms] == [True, False]


def test_a_weight_of_another_dtype_than_what_is_normed_gives_what_it_gave():
    norm, given = LlamaRMSNorm(WIDTH), torch.randn(3, WIDTH).bfloat16()
    before = norm(given)
    assert fuse_norms(torch.nn.Sequential(norm)) == 1
    found = norm(given)
    assert found.dtype == before.dtype == torch.float32
    assert torch.equal(found, before)


@pytest.mark.parametrize("family", MAKERS)
def test_models_answer_as_before(family, tmp_path):
    directory = MAKERS[family](tmp_path / "model")
    backend = HFBackend()
    backend.load(resolve(ModelChoice(str(directory))), Placement({"": "cpu"}, threads=1, slots=2), lambda *_: None)
    requests = [asked(f"What is this? {number}", 90 + number) for number in range(3)]
    before = [answered(backend, request)[0] for request in requests]
    names = [name for name, module in backend._model.named_modules() if "rmsnorm" in type(module).__name__.lower()]
    assert fuse_norms(backend._model) == len(names) > 2
    backend._rolling.forget()
    assert [answered(backend, request)[0] for request in requests] == before
    backend.close()
