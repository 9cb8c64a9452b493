"""Products of few rows with weights of 16 or 8 bits: what a step reads all of a model's weights for.

Owns these kernels, their block sizes and their launch. torch's own are made for more rows: on an H100 they read the
weights of a Qwen2.5-VL-7B at 2.2 to 2.6 TB/s, where a copy moves 3.0 and these reach 2.5 to 3.0, and torchao unpacks
those of 8 bits before each product. Sums are float32, and rounded once. Knows nothing of modules; may be imported only
where Triton is installed, whose compiler Tillet et al., 2019, describe. Shapes: M rows, N numbers out of K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from demo.backends.kernels.launching import on_card

ROWS = 16  # that a card's matrix units take at least, and the most here; one alone is not given to them
MANY_NUMBERS = 8192  # from here on wider blocks of a weight still are more than a card has processors
LONG_ROW = 8192
MOST_WEIGHTS = 3


@dataclass(frozen=True, slots=True)
class Weight:
    """A linear layer's: numbers (N, K), with a scale for each row where they are of 8 bits."""

    numbers: torch.Tensor
    scale: torch.Tensor | None  # (N,) or (N, 1)
    bias: torch.Tensor | None  # (N,)


def products(hidden: torch.Tensor, weights: Sequence[Weight]) -> list[torch.Tensor]:
    """Up to 16 rows (M, K) times each of up to three weights of one kind, in one kernel: of each (M, N)."""
    rows, width = hidden.shape
    counts = [len(weight.numbers) for weight in weights]
    out = hidden.new_empty(rows * sum(counts))
    padded = [*weights, *[weights[0]] * (MOST_WEIGHTS - len(weights))]
    ends = [*counts, 0, 0][:MOST_WEIGHTS]
    parts = [part for weight in padded for part in (weight.numbers, *_scale_and_bias(weight))]
    has = {"HAS_SCALE": weights[0].scale is not None}
    has |= {f"HAS_BIAS_{place}": weight.bias is not None for place, weight in enumerate(padded)}
    block, how = _blocks(rows, weights[0].numbers, max(counts))
    grid = (sum(triton.cdiv(count, block) for count in counts),)
    kernel = _one_row if rows == 1 else _few_rows
    with on_card(hidden):
        kernel[grid](hidden, out, *parts, *ends, *_told(rows), width, **has, **how)
    return [part.view(rows, -1) for part in out.split([rows * count for count in counts])]


def gated(hidden: torch.Tensor, gate: Weight, up: Weight) -> torch.Tensor:
    """silu(gate(hidden)) * up(hidden), rounded where torch rounds: (M, N) of (M, K). Biases are not looked at."""
    (rows, width), count = hidden.shape, len(gate.numbers)
    out = hidden.new_empty((rows, count))
    parts = (gate.numbers, _scale_and_bias(gate)[0], up.numbers, _scale_and_bias(up)[0])
    block, how = _blocks(rows, gate.numbers, count)
    kernel = _one_row_gated if rows == 1 else _few_rows_gated
    with on_card(hidden):
        kernel[(triton.cdiv(count, block),)](
            hidden, out, *parts, count, *_told(rows), width, HAS_SCALE=gate.scale is not None, **how
        )
    return out


def _blocks(rows: int, weight: torch.Tensor, most: int) -> tuple[int, dict[str, Any]]:
    """How many of the N numbers one program makes, ``most`` of them a weight's, and what its kernel is told.

    These were the best on an H100 of those tried (benchmarks/README.md).
    """
    width, is_int8 = weight.shape[1], weight.element_size() == 1
    if rows == 1:
        block, reach, warps = (2, 2048, 4) if is_int8 else (1, 4096, 8) if width >= LONG_ROW else (1, 2048, 4)
        reach = min(reach, triton.next_power_of_2(width))
        return block, {"IS_EVEN": width % reach == 0, "BLOCK": block, "REACH": reach, "num_warps": warps}
    block, reach, stages = (32, 256, 3) if is_int8 else (32, 128, 4) if most >= MANY_NUMBERS else (16, 256, 4)
    reach = max(16, min(reach, triton.next_power_of_2(width)))
    sizes = {"ROWS": ROWS, "BLOCK": block, "REACH": reach, "num_warps": 4, "num_stages": stages}
    return block, {"IS_EVEN": width % reach == 0, **sizes}


def _told(rows: int) -> tuple[int, ...]:
    """What a kernel is told of the number of rows: nothing, where it is made for one."""
    return () if rows == 1 else (rows,)


def _scale_and_bias(weight: Weight) -> tuple[torch.Tensor, torch.Tensor]:
    """What a kernel is not to read is some tensor or other."""
    scale = weight.numbers if weight.scale is None else weight.scale
    return scale, weight.numbers if weight.bias is None else weight.bias


# --- kernels: each program makes BLOCK of the N numbers, and goes through the K numbers of a row REACH by REACH


@triton.jit
def _one_row(
    x, out, w0, s0, b0, w1, s1, b1, w2, s2, b2, n0, n1, n2, K: tl.constexpr,
    HAS_SCALE: tl.constexpr, HAS_BIAS_0: tl.constexpr, HAS_BIAS_1: tl.constexpr, HAS_BIAS_2: tl.constexpr,
    IS_EVEN: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    """(1, K) by up to three weights; those that are none have no rows."""
    block = tl.program_id(0)
    first, second = tl.cdiv(n0, BLOCK), tl.cdiv(n1, BLOCK)
    if block < first:
        _row_by(x, out, w0, s0, b0, block, n0, K, HAS_SCALE, HAS_BIAS_0, IS_EVEN, BLOCK, REACH)
    elif block < first + second:
        _row_by(x, out + n0, w1, s1, b1, block - first, n1, K, HAS_SCALE, HAS_BIAS_1, IS_EVEN, BLOCK, REACH)
    else:
        last = block - first - second
        _row_by(x, out + n0 + n1, w2, s2, b2, last, n2, K, HAS_SCALE, HAS_BIAS_2, IS_EVEN, BLOCK, REACH)


@triton.jit
def _row_by(
    x, out, w, scale, bias, block, count, K: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    IS_EVEN: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    n = block * BLOCK + tl.arange(0, BLOCK)
    is_out = n < count
    y = _sums(x, w, n, is_out, K, IS_EVEN, BLOCK, REACH)
    if HAS_SCALE:
        y *= tl.load(scale + n, mask=is_out, other=0).to(tl.float32)
    if HAS_BIAS:
        y += tl.load(bias + n, mask=is_out, other=0).to(tl.float32)
    tl.store(out + n, y.to(out.dtype.element_ty), mask=is_out)


@triton.jit
def _sums(
    x, w, n, is_out, K: tl.constexpr, IS_EVEN: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr
):  # fmt: skip
    """One row by the rows ``n`` of a weight, in float32 and without the matrix units: (BLOCK,)."""
    k = tl.arange(0, REACH)
    row = w + n[:, None].to(tl.int64) * K + k[None, :]
    sums = tl.zeros((BLOCK, REACH), dtype=tl.float32)
    for start in range(0, K, REACH):
        if IS_EVEN:
            a = tl.load(x + start + k)
            b = tl.load(row + start, mask=is_out[:, None], other=0)
        else:
            is_in = start + k < K
            a = tl.load(x + start + k, mask=is_in, other=0)
            b = tl.load(row + start, mask=is_out[:, None] & is_in[None, :], other=0)
        sums += a.to(tl.float32)[None, :] * b.to(tl.float32)
    return tl.sum(sums, axis=1)


@triton.jit(do_not_specialize=["rows"])
def _few_rows(
    x, out, w0, s0, b0, w1, s1, b1, w2, s2, b2, n0, n1, n2, rows, K: tl.constexpr,
    HAS_SCALE: tl.constexpr, HAS_BIAS_0: tl.constexpr, HAS_BIAS_1: tl.constexpr, HAS_BIAS_2: tl.constexpr,
    IS_EVEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    """(M, K) by up to three weights; those that are none have no rows."""
    block = tl.program_id(0)
    first, second = tl.cdiv(n0, BLOCK), tl.cdiv(n1, BLOCK)
    if block < first:
        _rows_by(x, out, w0, s0, b0, block, rows, n0, K, HAS_SCALE, HAS_BIAS_0, IS_EVEN, ROWS, BLOCK, REACH)
    elif block < first + second:
        at = out + rows * n0
        _rows_by(x, at, w1, s1, b1, block - first, rows, n1, K, HAS_SCALE, HAS_BIAS_1, IS_EVEN, ROWS, BLOCK, REACH)
    else:
        at, last = out + rows * (n0 + n1), block - first - second
        _rows_by(x, at, w2, s2, b2, last, rows, n2, K, HAS_SCALE, HAS_BIAS_2, IS_EVEN, ROWS, BLOCK, REACH)


@triton.jit
def _rows_by(
    x, out, w, scale, bias, block, rows, count, K: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    IS_EVEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    n, m = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, ROWS)
    is_out = n < count
    y = _dots(x, w, m, n, m < rows, is_out, K, IS_EVEN, ROWS, BLOCK, REACH)
    if HAS_SCALE:
        y *= tl.load(scale + n, mask=is_out, other=0).to(tl.float32)[None, :]
    if HAS_BIAS:
        y += tl.load(bias + n, mask=is_out, other=0).to(tl.float32)[None, :]
    is_told = (m < rows)[:, None] & is_out[None, :]
    tl.store(out + m[:, None] * count + n[None, :], y.to(out.dtype.element_ty), mask=is_told)


@triton.jit
def _dots(
    x, w, m, n, is_row, is_out, K: tl.constexpr, IS_EVEN: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    """The rows ``m`` by the rows ``n`` of a weight, in the matrix units: (ROWS, BLOCK)."""
    k = tl.arange(0, REACH)
    xs = x + m[:, None] * K + k[None, :]
    ws = w + n[None, :].to(tl.int64) * K + k[:, None]
    sums = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in range(0, K, REACH):
        if IS_EVEN:
            a = tl.load(xs + start, mask=is_row[:, None], other=0)
            b = tl.load(ws + start, mask=is_out[None, :], other=0)
        else:
            is_in = start + k < K
            a = tl.load(xs + start, mask=is_row[:, None] & is_in[None, :], other=0)
            b = tl.load(ws + start, mask=is_in[:, None] & is_out[None, :], other=0)
        sums += tl.dot(a, b.to(a.dtype))
    return sums


@triton.jit
def _one_row_gated(
    x, out, gate, gate_scale, up, up_scale, count, K: tl.constexpr,
    HAS_SCALE: tl.constexpr, IS_EVEN: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_out = n < count
    y = _sums(x, gate, n, is_out, K, IS_EVEN, BLOCK, REACH)
    z = _sums(x, up, n, is_out, K, IS_EVEN, BLOCK, REACH)
    if HAS_SCALE:
        y *= tl.load(gate_scale + n, mask=is_out, other=0).to(tl.float32)
        z *= tl.load(up_scale + n, mask=is_out, other=0).to(tl.float32)
    tl.store(out + n, _gate(y, z, out.dtype.element_ty), mask=is_out)


@triton.jit(do_not_specialize=["rows"])
def _few_rows_gated(
    x, out, gate, gate_scale, up, up_scale, count, rows, K: tl.constexpr,
    HAS_SCALE: tl.constexpr, IS_EVEN: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    n, m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, ROWS)
    is_out = n < count
    y = _dots(x, gate, m, n, m < rows, is_out, K, IS_EVEN, ROWS, BLOCK, REACH)
    z = _dots(x, up, m, n, m < rows, is_out, K, IS_EVEN, ROWS, BLOCK, REACH)
    if HAS_SCALE:
        y *= tl.load(gate_scale + n, mask=is_out, other=0).to(tl.float32)[None, :]
        z *= tl.load(up_scale + n, mask=is_out, other=0).to(tl.float32)[None, :]
    is_told = (m < rows)[:, None] & is_out[None, :]
    tl.store(out + m[:, None] * count + n[None, :], _gate(y, z, out.dtype.element_ty), mask=is_told)


@triton.jit
def _gate(y, z, dtype: tl.constexpr):
    y = y.to(dtype).to(tl.float32)
    y = (y / (1 + tl.exp(-y))).to(dtype).to(tl.float32)
    return (y * z.to(dtype).to(tl.float32)).to(dtype)
