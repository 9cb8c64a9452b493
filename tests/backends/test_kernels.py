"""Kernels of our own give what torch gives: compiled on a card, interpreted where there is none."""

from __future__ import annotations

import logging
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from demo.backends.kernels import launching

pytest.importorskip("triton", reason="Triton is for Linux")
IS_ON_CARD = torch.cuda.is_available()
DEVICE = "cuda:0" if IS_ON_CARD else "cpu"
DTYPE = torch.bfloat16 if IS_ON_CARD else torch.float16  # Triton's interpreter has no products of bfloat16
CLOSE = 5e-3 if IS_ON_CARD else 1e-3

few = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 1000)


@pytest.fixture(scope="module")
def kernels():
    found = launching.at_hand([DEVICE])
    assert found is not None
    return found


def noise(seed, *shape, dtype=DTYPE):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(DEVICE, dtype)


def whole(seed, *shape):
    return torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8).to(DEVICE)


def apart(found, wanted):
    """As a share of the norm of what is wanted, which is worked out in float64."""
    assert found.shape == wanted.shape
    return float((found.double() - wanted).norm() / wanted.norm())


@few
@given(rows=st.integers(1, 16), width=st.integers(1, 300), counts=st.lists(st.integers(1, 70), min_size=1, max_size=3),
       has_bias=st.lists(st.booleans(), min_size=3, max_size=3), seed=seeds)  # fmt: skip
def test_products_of_few_rows(kernels, rows, width, counts, has_bias, seed):
    hidden = noise(seed, rows, width)
    weights = [
        kernels.weight(noise(seed + place, count, width), None, noise(seed + 7, count) if has else None)
        for place, (count, has) in enumerate(zip(counts, has_bias))
    ]
    found = kernels.products(hidden, weights)
    for one, weight in zip(found, weights, strict=True):
        bias = 0 if weight.bias is None else weight.bias.double()
        assert one.dtype == DTYPE
        assert one.is_contiguous()
        assert apart(one, hidden.double() @ weight.numbers.double().T + bias) < CLOSE


@few
@given(rows=st.integers(1, 16), width=st.integers(1, 300), counts=st.lists(st.integers(1, 70), min_size=1, max_size=3),
       has_bias=st.booleans(), seed=seeds)  # fmt: skip
def test_products_with_weights_of_8_bits(kernels, rows, width, counts, has_bias, seed):
    hidden = noise(seed, rows, width)
    weights = [
        kernels.weight(
            whole(seed + place, count, width),
            noise(seed, count, 1, dtype=torch.float32).abs() / 100 + 1e-3,
            noise(seed, count) if has_bias else None,
        )
        for place, count in enumerate(counts)
    ]
    for one, weight in zip(kernels.products(hidden, weights), weights, strict=True):
        bias = weight.bias.double() if has_bias else 0
        assert apart(one, hidden.double() @ (weight.numbers * weight.scale.double()).T + bias) < CLOSE


@few
@given(rows=st.integers(1, 16), width=st.integers(1, 200), count=st.integers(1, 70), is_int8=st.booleans(), seed=seeds)
def test_a_gate_is_rounded_where_torch_rounds_it(kernels, rows, width, count, is_int8, seed):
    hidden = noise(seed, rows, width)
    numbers = [whole(seed + one, count, width) if is_int8 else noise(seed + one, count, width) for one in (1, 2)]
    scales = [noise(seed + one, count, dtype=torch.float32).abs() / 50 + 1e-3 for one in (1, 2)]
    weights = [kernels.weight(n, s if is_int8 else None, None) for n, s in zip(numbers, scales)]
    gate, up = (n.double() * s.double()[:, None] if is_int8 else n.double() for n, s in zip(numbers, scales))
    gate, up = ((hidden.double() @ one.T).to(DTYPE) for one in (gate, up))
    assert apart(kernels.gated(hidden, *weights), (functional.silu(gate) * up).double()) < CLOSE


@few
@given(rows=st.integers(1, 20), width=st.integers(1, 200), seed=seeds, loud=st.sampled_from([1.0, 1e-3]))
def test_norms(kernels, rows, width, seed, loud):
    hidden, weight = loud * noise(seed, rows, width), noise(seed + 1, width)
    wanted = functional.rms_norm(hidden.double(), (width,), weight.double(), 1e-6)
    assert apart(kernels.normed(hidden, weight, 1e-6), wanted) < CLOSE
    wider = torch.stack((hidden, -hidden), dim=1)[:, 0]  # rows that do not lie behind each other
    assert apart(kernels.normed(wider, weight, 1e-6), wanted) < CLOSE


@few
@given(tokens=st.sampled_from((1, 3, 64, 65)), heads=st.integers(1, 20), groups=st.integers(1, 18),
       half=st.integers(1, 40), is_rounded=st.booleans(), seed=seeds)  # fmt: skip
def test_turns_to_the_bit(kernels, tokens, heads, groups, half, is_rounded, seed):
    q = noise(seed, tokens, heads, 3 * half)[..., : 2 * half]  # parts of a wider tensor, as they come out of a product
    k = noise(seed + 1, groups, tokens, 2 * half).transpose(0, 1)
    cos, sin = noise(seed + 2, 2, tokens, 2 * half, dtype=DTYPE if is_rounded else torch.float32)
    found = kernels.turned(q, k, cos, sin, is_rounded=is_rounded)
    both = torch.cat((q, k), dim=1)
    both = both if is_rounded else both.float()
    halves = torch.cat((-both[..., half:], both[..., :half]), dim=-1)
    assert torch.equal(found, (both * cos[:, None] + halves * sin[:, None]).to(DTYPE))


@few
@given(batch=st.integers(1, 3), groups=st.integers(1, 3), widths=st.tuples(*[st.integers(1, 40)] * 2), seed=seeds,
       data=st.data())  # fmt: skip
def test_writes_what_it_is_given_and_nothing_else(kernels, batch, groups, widths, seed, data):
    columns = 9
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, columns - 1), min_size=batch, max_size=batch)))
    k = noise(seed, batch, widths[0], groups).transpose(1, 2)
    v = noise(seed + 1, groups, batch, widths[1]).transpose(0, 1)
    kept = [noise(seed + 2 + place, 4, groups, columns, width) for place, width in enumerate(widths)]
    wanted = [block.clone() for block in kept]
    for block, new in zip(wanted, (k, v)):
        block[torch.arange(batch), :, lengths] = new
    kernels.write(*kept, k, v, lengths.to(DEVICE))
    assert all(torch.equal(*pair) for pair in zip(kept, wanted))


SHAPES = [(1, 1, 2, 5), (2, 2, 3, 100), (1, 2, 7, 33), (3, 1, 17, 64), (1, 1, 4, 500)]


@pytest.mark.parametrize(("batch", "groups", "heads", "columns"), SHAPES)
@pytest.mark.parametrize("programs", [1, 12, 512])
def test_attention_of_one_token(kernels, monkeypatch, programs, batch, groups, heads, columns):
    """All parts of a conversation in one program, in a few and in many, some of them masked from end to end."""
    monkeypatch.setattr("demo.backends.kernels.attention.PROGRAMS", programs)
    width = 16
    q = noise(1, batch, groups, heads, width)
    keys, values = noise(2, 2, batch + 1, groups, columns + 7, width)[:, :batch, :, :columns]  # in a block with more
    seen = (torch.arange(batch) * 37 + columns // 3) % columns
    mask = torch.zeros(batch, 1, 1, columns).masked_fill(torch.arange(columns) > seen[:, None, None, None], -torch.inf)
    mask = mask.to(DEVICE, DTYPE)
    found = kernels.attended(q, keys, values, mask, 0.3)
    wanted = functional.scaled_dot_product_attention(*(one.double() for one in (q, keys, values, mask)), scale=0.3)
    assert apart(found, wanted.reshape(batch, groups * heads, width)) < CLOSE


def test_scores_of_any_size_are_attended_by(kernels):
    q = torch.full((1, 1, 2, 16), 60.0, device=DEVICE, dtype=DTYPE)
    keys = torch.tensor([-60.0, 60.0, 60.0], device=DEVICE, dtype=DTYPE)[:, None].expand(1, 1, 3, 16).contiguous()
    values = torch.arange(3.0, device=DEVICE, dtype=DTYPE)[:, None].expand(1, 1, 3, 16).contiguous()
    found = kernels.attended(q, keys, values, torch.zeros(1, 1, 1, 3, device=DEVICE, dtype=DTYPE), 1.0)
    assert found.unique().tolist() == [1.5]


def test_without_triton_there_are_none(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "triton", None)
    with caplog.at_level(logging.INFO, "demo"):
        assert launching.at_hand([DEVICE]) is None
    assert "Triton is not installed" in caplog.text


def test_where_it_cannot_compile_there_are_none_and_the_log_says_so(caplog):
    assert launching.at_hand([DEVICE, "meta"]) is None
    assert "which take longer" in caplog.text


def test_products_take_no_more_rows_than_fit():
    """The kernels' block of rows is what few rows are taken for elsewhere."""
    from demo.backends.few_rows import MOST_ROWS
    from demo.backends.kernels.products import ROWS

    assert MOST_ROWS <= ROWS
    assert math.log2(ROWS).is_integer()
