"""Turning by position in fewer kernels: to the bit what the library's own functions give, or left to them."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from demo.backends.forwards import Forwards
from demo.backends.hf import HFBackend
from demo.backends.kernels.launching import at_hand
from demo.backends.slots import SlotCache
from demo.backends.turning import NAME, OF_PICTURES, Turn, TurnOfPictures, fuse_turns
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.test_kernels import DEVICE, DTYPE
from tests.backends.test_rolling import asked
from tests.tinymodels import save_llava, save_qwen

PLAIN = ("qwen2_5_vl", "qwen3_vl", "llama", "mistral", "gemma3")
OTHERS = ("glm4v", "cohere")  # every other number is a half there
LOOKING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl")


def function(family, name=NAME):
    return getattr(importlib.import_module(f"transformers.models.{family}.modeling_{family}"), name)


def put_back_turns(monkeypatch, model):
    """After the test, for what is exchanged of a library's module is so for the process."""
    for home in {sys.modules[type(module).__module__] for module in model.modules()}:
        for name in (NAME, OF_PICTURES):
            if hasattr(home, name):
                monkeypatch.setattr(home, name, getattr(home, name))


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


@pytest.fixture
def watched():
    """The kernels, and what turns of them were called with."""
    pytest.importorskip("triton", reason="Triton is for Linux")
    kernels, calls = at_hand([DEVICE]), []

    def turned(*told, **how):
        calls.append((told, how))
        return kernels.turned(*told, **how)

    return replace(kernels, turned=turned), calls


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_kernel_of_our_own_turns_them_to_the_bit(watched, heads, tokens):
    before, (kernels, calls) = function("qwen2_5_vl"), watched
    turn = Turn(before, kernels)
    q, k = (torch.randn(3, tokens, count, 8).to(DEVICE, DTYPE) for count in (4, 2))
    q, k = (q, k) if heads == 2 else (q.transpose(1, 2), k.transpose(1, 2))
    cos, sin = torch.randn(2, 3, tokens, 8).to(DEVICE, DTYPE)
    for mine, theirs in zip(turn(q, k, cos, sin, heads), before(q, k, cos, sin, unsqueeze_dim=heads), strict=True):
        assert mine.shape == theirs.shape
        assert torch.equal(mine, theirs)
    assert len(calls) == 1


@pytest.mark.parametrize("family", LOOKING)
def test_pictures_are_turned_by_it_to_the_bit(watched, family):
    before, (kernels, calls) = function(family, OF_PICTURES), watched
    q, k, _ = torch.randn(7, 3, 4, 10).to(DEVICE, DTYPE).unbind(1)
    cos, sin = torch.randn(2, 7, 10).to(DEVICE)
    found = TurnOfPictures(before, kernels)(q, k, cos, sin)
    for mine, theirs in zip(found, before(q, k, cos, sin), strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", [DTYPE, torch.float32])
@pytest.mark.parametrize("width", [8, 4], ids=["whole", "half a head"])
def test_only_pictures_of_16_bits_and_whole_heads_are_turned_by_it(watched, dtype, width):
    kernels, calls = watched
    asked_before = []
    q, k = torch.randn(2, 3, 2, 8).to(DEVICE, dtype)
    cos, sin = torch.randn(2, 3, width).to(DEVICE)
    TurnOfPictures(lambda *told: asked_before.append(told) or told[:2], kernels)(q, k, cos, sin)
    assert (len(calls), len(asked_before)) == ((1, 0) if (dtype, width) == (DTYPE, 8) else (0, 1))
    TurnOfPictures(lambda *told: asked_before.append(told) or told[:2])(q, k, cos, sin)
    assert asked_before[-1] == (q, k, cos, sin)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("heads", [1, 2])
def test_tokens_of_other_dtypes_or_with_cosines_in_common_are_not_turned_by_it(watched, heads, tokens):
    before, (kernels, calls) = function("qwen2_5_vl"), watched
    q, k = (torch.randn(2, tokens, count, 8).to(DEVICE, DTYPE).transpose(heads, 2) for count in (4, 1))
    cos, sin = torch.randn(2, 2, tokens, 8).to(DEVICE, DTYPE)
    in_32_bits = tuple(one.float() for one in (q, k, cos, sin))
    for told in (in_32_bits, (q, k, cos.float(), sin.float()), (q, k, cos[:1], sin[:1])):
        for mine, theirs in zip(Turn(before, kernels)(*told, heads), before(*told, unsqueeze_dim=heads), strict=True):
            assert torch.equal(mine, theirs)
    assert not calls


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


@pytest.mark.parametrize(
    ("name", "kind", "families", "are_plain"),
    [
        (NAME, Turn, PLAIN, True),
        (NAME, Turn, OTHERS, False),
        (OF_PICTURES, TurnOfPictures, LOOKING, True),
    ],
)
def test_functions_are_known_by_what_they_do(name, kind, families, are_plain, monkeypatch):
    model = torch.nn.Sequential()
    for family in families:
        home = f"transformers.models.{family}.modeling_{family}"
        for one in (NAME, OF_PICTURES):
            monkeypatch.setattr(f"{home}.{one}", getattr(importlib.import_module(home), one, None), raising=False)
        model.append(type("Attention", (torch.nn.Module,), {"__module__": home})())
    fuse_turns(model)
    assert fuse_turns(model) == 0
    homes = [type(module).__module__ for module in model]
    assert [isinstance(getattr(sys.modules[home], name), kind) for home in homes] == [are_plain] * len(homes)


@pytest.mark.parametrize("is_pairwise", [True, False])
def test_of_pictures_only_what_turns_halves_in_float32_is_exchanged(is_pairwise, monkeypatch):
    library = function("qwen2_5_vl", OF_PICTURES)

    def pairwise(q, k, cos, sin):
        return tuple(part.unflatten(-1, (-1, 2)).mT.flatten(-2) for part in library(q, k, cos, sin))

    def in_its_dtype(q, k, cos, sin):
        return library(q, k, cos.to(q.dtype), sin.to(q.dtype))

    home = ModuleType("some_models")
    monkeypatch.setitem(sys.modules, home.__name__, home)
    setattr(home, OF_PICTURES, pairwise if is_pairwise else in_its_dtype)
    assert fuse_turns(type("Attention", (torch.nn.Module,), {"__module__": home.__name__})()) == 0


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
    put_back_turns(monkeypatch, backend._model)

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
    assert fuse_turns(backend._model)
    found, fewer = step()
    backend.close()
    assert torch.equal(found, wanted)
    assert fewer.total() < all_kernels.total()
