"""One token's attention over shared keys is that of transformers, whatever its version does by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from demo.backends import attending

WIDTH, COLUMNS = 8, 11


def given(heads, shared, tokens, *, batch=3, has_mask=True):
    torch.manual_seed(heads + tokens)
    query = torch.randn(batch, heads, tokens, WIDTH)
    key, value = torch.randn(2, batch, shared, COLUMNS, WIDTH)
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


def test_keys_are_not_copied_for_each_head(monkeypatch):
    seen = []

    def remember(module, query, key, value, mask, **how):
        seen.append((tuple(query.shape), key))
        return sdpa_attention_forward(module, query, key, value, mask, **how)

    monkeypatch.setattr(attending.sdpa_attention, "sdpa_attention_forward", remember)
    asked = given(28, 4, 1)
    attending.attend(*asked)
    assert seen[0][0] == (3, 4, 7, WIDTH)
    assert seen[0][1] is asked[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shared", [4, 28])
def test_a_steps_mask_is_made_for_scores_once(monkeypatch, dtype, shared):
    seen = []

    def remember(module, query, key, value, mask, **how):
        seen.append(mask)
        return sdpa_attention_forward(module, query, key, value, mask, **how)

    module, *states, mask = given(28, shared, 1)
    states = [one.to(dtype) for one in states]
    expected, _ = sdpa_attention_forward(module, *states, mask)
    monkeypatch.setattr(attending.sdpa_attention, "sdpa_attention_forward", remember)
    for _ in range(2):
        found, _ = attending.attend(module, *states, mask)
        assert torch.equal(found, expected)
    assert seen[0] is seen[1]
    assert seen[0].dtype == dtype
    assert torch.equal(seen[0] == 0, mask)
    assert torch.equal(seen[0] == -torch.inf, ~mask)


def test_a_mask_is_made_anew_for_another_dtype():
    module, *states, mask = given(4, 4, 1)
    attending.attend(module, *states, mask)
    found, _ = attending.attend(module, *(one.half() for one in states), mask)
    assert found.dtype == torch.float16


def test_masks_of_prompts_stay_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setattr(
        attending.sdpa_attention, "sdpa_attention_forward", lambda *asked, **_: (seen.append(asked), None)
    )
    asked = given(4, 4, 3)
    attending.attend(*asked)
    assert seen[0][-1] is asked[-1]


def test_masks_of_each_head_are_left_to_transformers():
    module, query, key, value, mask = given(4, 2, 1)
    wide = mask.expand(-1, 4, -1, -1)
    found, _ = attending.attend(module, query, key, value, wide)
    expected, _ = sdpa_attention_forward(module, query, key, value, wide)
    torch.testing.assert_close(found, expected)


def test_a_bias_of_each_head_is_left_to_transformers():
    asked = given(4, 2, 1)
    bias = torch.randn(1, 4, 1, COLUMNS)
    found, _ = attending.attend(*asked, position_bias=bias)
    expected, _ = sdpa_attention_forward(*asked, position_bias=bias)
    torch.testing.assert_close(found, expected)
