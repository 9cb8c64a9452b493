"""One token's attention over shared keys is that of transformers, whatever its version does by itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from demo.backends import attending
from demo.backends.hf import HFBackend
from demo.backends.kernels.launching import at_hand
from demo.catalog import resolve
from demo.config import ModelChoice
from demo.types import Placement
from tests.backends.test_kernels import DEVICE, DTYPE
from tests.backends.test_rolling import answered, asked
from tests.tinymodels import save_cogvlm, save_llava, save_qwen

WIDTH, COLUMNS = 8, 11


@pytest.fixture(scope="module")
def kernels():
    pytest.importorskip("triton", reason="Triton is for Linux")
    return at_hand([DEVICE])


def given(heads, shared, tokens, *, batch=3, has_mask=True, width=WIDTH):
    torch.manual_seed(heads + tokens)
    query = torch.randn(batch, heads, tokens, width)
    key, value = torch.randn(2, batch, shared, COLUMNS, width)
    mask = torch.rand(batch, 1, tokens, COLUMNS) < 0.7 if has_mask else None
    if has_mask:
        mask[..., 0] = True
    return SimpleNamespace(num_key_value_groups=heads // shared, is_causal=True), query, key, value, mask


@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (6, 1), (28, 4)])
@pytest.mark.parametrize("tokens", [1, 3, COLUMNS])
@pytest.mark.parametrize("has_mask", [True, False])
def test_it_gives_what_transformers_gives(heads, shared, tokens, has_mask):
    asked = given(heads, shared, tokens, has_mask=has_mask)
    found, _ = attending.attend(*asked, scaling=0.3)
    expected, _ = sdpa_attention_forward(*asked, scaling=0.3)
    assert found.shape == (3, tokens, heads, WIDTH)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def asked_of_torch(monkeypatch):
    """The queries, keys, values and mask of each call of torch's function."""
    before, seen = torch.nn.functional.scaled_dot_product_attention, []

    def remember(query, key, value, attn_mask=None, **how):
        seen.append((query, key, value, attn_mask))
        return before(query, key, value, attn_mask=attn_mask, **how)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", remember)
    return seen


@pytest.mark.parametrize("scaling", [None, 0.3])
def test_a_kernel_gives_what_torch_gives(kernels, scaling):
    compute = attending.ByKernel(kernels)
    module, *states, mask = given(6, 2, 1, width=16)
    states = [one.to(DEVICE, DTYPE) for one in states]
    wanted, _ = attending.attend(module, *states, mask.to(DEVICE), scaling=scaling)
    found, _ = attending.attend(module, *states, mask.to(DEVICE), compute=compute, scaling=scaling)
    assert list(compute._is_good.values()) == [True]
    assert found.shape == wanted.shape == (3, 1, 6, 16)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("width", "dtype"), [(16, torch.float32), (8, DTYPE), (24, DTYPE)])
def test_what_a_kernel_does_not_take_is_torchs(kernels, width, dtype):
    module, *states, mask = given(6, 2, 1, width=width)
    states = [one.to(DEVICE, dtype) for one in states]
    wanted, _ = attending.attend(module, *states, mask.to(DEVICE))
    found, _ = attending.attend(module, *states, mask.to(DEVICE), compute=attending.ByKernel(kernels))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("attended", ["raises", "lies"])
def test_a_kernel_that_a_card_refuses_or_that_gives_something_else_is_asked_once(attended, kernels):
    calls = []

    def kernel(*told):
        calls.append(told)
        if attended == "raises":
            raise RuntimeError("out of resources")
        return 2 * kernels.attended(*told)

    compute = attending.ByKernel(replace(kernels, attended=kernel))
    module, *states, mask = given(6, 2, 1, width=16)
    states = [one.to(DEVICE, DTYPE) for one in states]
    wanted, _ = attending.attend(module, *states, mask.to(DEVICE))
    for _ in range(2):
        found, _ = attending.attend(module, *states, mask.to(DEVICE), compute=compute)
        assert torch.equal(found, wanted)
    assert len(calls) == 1


def test_a_model_attends_by_the_kernel_once_it_is_told(kernels, attention_as_before):
    attending.ALL_ATTENTION_FUNCTIONS.register("sdpa", sdpa_attention_forward)
    attending.attend_in_fewer_kernels(kernels)
    function = attending.ALL_ATTENTION_FUNCTIONS["sdpa"]
    attending.attend_in_fewer_kernels()
    assert attending.ALL_ATTENTION_FUNCTIONS["sdpa"] is attending.attend
    module, *states, mask = given(6, 2, 1, width=16)
    states = [one.to(DEVICE, DTYPE) for one in states]
    function(module, *states, mask.to(DEVICE))
    assert list(function.keywords["compute"]._is_good.values()) == [True]


def test_keys_are_not_copied_for_each_head(asked_of_torch):
    module, query, key, value, mask = given(28, 4, 1)
    attending.attend(module, query, key, value, mask)
    [(packed, keys, values, _)] = asked_of_torch
    assert packed.shape == (3, 4, 7, WIDTH)
    assert keys is key
    assert values is value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shared", [4, 28])
def test_a_steps_mask_is_made_for_scores_once(asked_of_torch, dtype, shared):
    module, *states, mask = given(28, shared, 1)
    states = [one.to(dtype) for one in states]
    expected, _ = sdpa_attention_forward(module, *states, mask)
    for _ in range(2):
        found, _ = attending.attend(module, *states, mask)
        torch.testing.assert_close(found, expected)
    added = asked_of_torch[1][3]
    assert asked_of_torch[2][3] is added
    assert added.dtype == dtype
    assert torch.equal(added == 0, mask)
    assert torch.equal(added == -torch.inf, ~mask)


def test_a_mask_is_made_anew_for_another_dtype():
    module, *states, mask = given(4, 4, 1)
    attending.attend(module, *states, mask)
    found, _ = attending.attend(module, *(one.half() for one in states), mask)
    assert found.dtype == torch.float16


def test_masks_of_prompts_stay_as_they_are(asked_of_torch):
    module, query, key, value, mask = given(4, 4, 3)
    attending.attend(module, query, key, value, mask)
    assert asked_of_torch[0][3] is mask


def test_masks_of_each_head_are_left_to_transformers():
    module, query, key, value, mask = given(4, 2, 1)
    wide = mask.expand(-1, 4, -1, -1)
    found, _ = attending.attend(module, query, key, value, wide)
    expected, _ = sdpa_attention_forward(module, query, key, value, wide)
    torch.testing.assert_close(found, expected)


def test_scores_that_are_capped_are_left_to_transformers(monkeypatch):
    seen = []
    monkeypatch.setattr(
        attending.sdpa_attention, "sdpa_attention_forward", lambda *asked, **how: (seen.append((asked, how)), None)
    )
    asked = given(4, 2, 1)
    attending.attend(*asked, softcap=30.0)
    assert seen == [(asked, {"softcap": 30.0})]


@pytest.mark.parametrize("make", [save_cogvlm, save_llava, save_qwen])
def test_all_layers_of_a_models_steps_are_given_one_mask_of_scores(make, tmp_path, asked_of_torch):
    backend = HFBackend()
    placement = Placement({"": "cpu"}, dtype="float32", threads=1, slots=2)
    backend.load(resolve(ModelChoice(str(make(tmp_path / "model")))), placement, lambda *_: None)
    try:
        asked_of_torch.clear()
        answered(backend, asked("What is this?", max_new_tokens=5))
    finally:
        backend.close()
    masks = [mask for *_, mask in asked_of_torch if mask is not None and mask.shape[-2] == 1]
    num_layers = backend._model.config.get_text_config().num_hidden_layers
    assert len(masks) == 4 * num_layers > 4
    assert {mask.dtype for mask in masks} == {torch.float32}
    assert len({id(mask) for mask in masks}) == 4


def test_a_bias_of_each_head_is_left_to_transformers():
    asked = given(4, 2, 1)
    bias = torch.randn(1, 4, 1, COLUMNS)
    found, _ = attending.attend(*asked, position_bias=bias)
    expected, _ = sdpa_attention_forward(*asked, position_bias=bias)
    torch.testing.assert_close(found, expected)
