"""Turning by position in fewer kernels: to the bit what the library's own functions give, or left to them."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from demo.backends.forwards import Forwards
from demo.backends.hf import HFBackend
from demo.backends.kernels.launching import at_hand
from demo.backends.slots import SlotCache
from demo.backends.turning import NAME, Turn, fuse_turns
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.test_kernels import DEVICE, DTYPE
from tests.backends.test_rolling import asked
from tests.tinymodels import save_llava, save_qwen

PLAIN = ("qwen2_5_vl", "qwen3_vl", "llama", "mistral", "gemma3")
OTHERS = ("glm4v", "cohere")  # every other number is a half there


def function(family):
    return getattr(importlib.import_module(f"transformers.models.{family}.modeling_{family}"), NAME)


class Kernels(TorchDispatchMode):
    """Counts what is computed, views of it aside."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.counts[str(function)] += 1
        return found


@pytest.mark.parametrize("family", PLAIN)
@given(data=st.data())
def test_single_tokens_are_turned_to_the_bit_as_the_library_turns_them(family, data):
    before = function(family)
    rows, queries, keys, half = (data.draw(st.integers(1, most)) for most in (3, 4, 2, 5))
    dtype = data.draw(st.sampled_from((torch.float32, torch.bfloat16, torch.float16)))
    heads = data.draw(st.sampled_from((1, 2)))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    q, k = (
        torch.randn(rows, count, 1, 2 * half, generator=draw).to(dtype).transpose(1, heads) for count in (queries, keys)
    )
    cos, sin = torch.randn(2, rows, 1, 2 * half, generator=draw).to(data.draw(st.sampled_from((dtype, torch.float32))))
    for _ in range(2):  # the next layer is given the same sine
        found, wanted = Turn(before)(q, k, cos, sin, heads), before(q, k, cos, sin, unsqueeze_dim=heads)
        for mine, theirs in zip(found, wanted):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_kernel_of_our_own_turns_them_to_the_bit(heads):
    pytest.importorskip("triton", reason="Triton is for Linux")
    before, kernels = function("qwen2_5_vl"), at_hand([DEVICE])
    calls = []
    watched = replace(kernels, turned=lambda *told: calls.append(told) or kernels.turned(*told))
    turn = Turn(before, watched)
    q, k = (torch.randn(3, count, 1, 8).to(DEVICE, DTYPE).transpose(1, heads) for count in (4, 2))
    cos, sin = torch.randn(2, 3, 1, 8).to(DEVICE, DTYPE)
    for mine, theirs in zip(turn(q, k, cos, sin, heads), before(q, k, cos, sin, unsqueeze_dim=heads)):
        assert mine.shape == theirs.shape
        assert torch.equal(mine, theirs)
    assert len(calls) == 1
    others = [(one.float() for one in (q, k, cos, sin)), (q, k, cos.float(), sin.float()), (q, k, cos[:1], sin[:1])]
    others.append(one[..., :6] for one in (q, k, cos, sin))
    for told in map(tuple, others):  # in 32 bits, of two dtypes, one position for all, a width that is no power of 2
        for mine, theirs in zip(turn(*told, heads), before(*told, unsqueeze_dim=heads)):
            assert torch.equal(mine, theirs)
    assert len(calls) == 1


def test_five_kernels_do_it_from_the_second_layer_on():
    before = function("qwen2_5_vl")
    q, k, (cos, sin) = torch.randn(2, 4, 1, 8), torch.randn(2, 1, 1, 8), torch.randn(2, 2, 1, 8)
    Turn(before)(q, k, cos, sin)
    with Kernels() as mine:
        Turn(before)(q, k, cos, sin)
    with Kernels() as theirs:
        before(q, k, cos, sin)
    assert mine.counts.total() == 5
    assert theirs.counts.total() == 10


@pytest.mark.parametrize(
    ("tokens", "width", "keys_dtype"), [(3, 8, torch.float32), (1, 4, torch.float32), (1, 8, torch.bfloat16)]
)
def test_whatever_is_not_one_token_is_left_to_the_function_before(tokens, width, keys_dtype):
    asked_before = []

    def before(q, k, cos, sin, unsqueeze_dim=1):
        asked_before.append((q, k, cos, sin, unsqueeze_dim))
        return q, k

    q, k = torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8, dtype=keys_dtype)
    cos, sin = torch.randn(2, 1, tokens, width)
    assert Turn(before)(q, k, cos, sin) == (q, k)
    assert asked_before == [(q, k, cos, sin, 1)]


@pytest.mark.parametrize(("families", "count"), [(PLAIN, len(PLAIN)), (OTHERS, 0)], ids=["plain", "others"])
def test_functions_are_known_by_what_they_do(families, count, monkeypatch):
    model = torch.nn.Sequential()
    for family in families:
        home = f"transformers.models.{family}.modeling_{family}"
        monkeypatch.setattr(f"{home}.{NAME}", function(family))  # so that it is put back
        model.append(type("Attention", (torch.nn.Module,), {"__module__": home})())
    assert fuse_turns(model) == count
    assert fuse_turns(model) == 0
    assert [isinstance(function(family), Turn) for family in families] == [bool(count)] * len(families)


def test_another_model_of_the_process_turns_by_the_kernels_that_it_has(monkeypatch):
    home = "transformers.models.llama.modeling_llama"
    before = function("llama")
    monkeypatch.setattr(f"{home}.{NAME}", before)
    model = type("Attention", (torch.nn.Module,), {"__module__": home})()
    found = []
    for kernels in (None, "some", None):
        fuse_turns(model, kernels)
        found.append(function("llama"))
    assert [turn.kernels for turn in found] == [None, "some", None]
    assert {turn.before for turn in found} == {before}


@pytest.mark.parametrize("save", [save_qwen, save_llava])
def test_a_model_of_two_answers_takes_the_very_same_step(save, tmp_path, monkeypatch):
    backend = HFBackend()
    backend.load(
        resolve(ModelChoice(str(save(tmp_path / "model")))), Placement({"": "cpu"}, threads=1), lambda *_: None
    )
    for name in {type(module).__module__ for module in backend._model.modules()}:
        home = importlib.import_module(name)
        if hasattr(home, NAME):
            monkeypatch.setattr(home, NAME, getattr(home, NAME))

    def step():
        cache = SlotCache(2, 256)
        forwards = Forwards(backend._model, cache)
        with torch.inference_mode(), Kernels() as kernels:
            reads = []
            for slot, question in enumerate(("What is this?", "How many?")):
                inputs = forwards.placed(backend._prompter.prepare(asked(question).messages))
                reads.append((forwards.read(inputs, slot), inputs["input_ids"].shape[1]))
            kernels.counts.clear()
            positions = torch.cat([read.position for read, _ in reads], dim=-2)
            return forwards.step(torch.tensor([5, 6]), positions, [length for _, length in reads]), kernels.counts

    wanted, all_kernels = step()
    assert fuse_turns(backend._model) == 1
    found, fewer = step()
    backend.close()
    assert torch.equal(found, wanted)
    assert fewer.total() < all_kernels.total()
