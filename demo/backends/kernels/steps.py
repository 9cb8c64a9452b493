"""A step's norms, turns by position and writing of keys and values, each in one kernel.

Owns these kernels and their launch. torch takes five for a turn and two for a writing, and an H100 needs 3 to 5
microseconds for each norm and each writing, where these take 1.4 to 2.1. Knows nothing of modules; may be imported only
where Triton is installed. Shapes: M rows, K numbers, B answers, H heads of the queries, G of the keys, S slots, C
columns, D and V head widths.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from demo.backends.kernels.launching import on_card


def normed(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The root mean square norm of (M, K)."""
    (rows, width), hidden = hidden.shape, hidden.contiguous()
    out = torch.empty_like(hidden)
    with on_card(hidden):
        _norm[(rows,)](hidden, weight, out, epsilon, width, triton.next_power_of_2(width), num_warps=8)
    return out


def turned(
    q: torch.Tensor,  # (B, H, D)
    k: torch.Tensor,  # (B, G, D)
    cos: torch.Tensor,  # (B, D)
    sin: torch.Tensor,
) -> torch.Tensor:
    """Queries and keys (B, H + G, D) turned by their position; D is a power of 2, and its numbers lie side by side."""
    (batch, heads, width), groups = q.shape, k.shape[1]
    out = q.new_empty((batch, heads + groups, width))
    with on_card(q):
        _turn[(batch, heads + groups)](
            q, k, cos, sin, out, *q.stride()[:2], *k.stride()[:2], cos.stride(0), sin.stride(0), heads, groups, width
        )
    return out


def write(
    keys: torch.Tensor,  # (S, G, C, D)
    values: torch.Tensor,
    k: torch.Tensor,  # (B, G, D)
    v: torch.Tensor,  # as wide as the values, which may be less than the keys
    lengths: torch.Tensor,  # (B,)
) -> None:
    """Put each answer's keys and values behind what its slot holds; slot and answer have the same number."""
    k, v = (one if one.stride(-1) == 1 else one.contiguous() for one in (k, v))
    strides = (*keys.stride()[:3], *values.stride()[:3], *k.stride()[:2], *v.stride()[:2])
    widths = (k.shape[2], v.shape[2])
    with on_card(keys):
        _write[k.shape[:2]](keys, values, k, v, lengths, *strides, *widths, REACH=triton.next_power_of_2(max(widths)))


@triton.jit
def _norm(x, weight, out, epsilon, K: tl.constexpr, REACH: tl.constexpr):
    row, k = tl.program_id(0).to(tl.int64), tl.arange(0, REACH)
    is_in = k < K
    numbers = tl.load(x + row * K + k, mask=is_in, other=0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(numbers * numbers, axis=0) / K + epsilon)
    found = numbers * scale * tl.load(weight + k, mask=is_in, other=0).to(tl.float32)
    tl.store(out + row * K + k, found.to(out.dtype.element_ty), mask=is_in)


@triton.jit
def _turn(
    q, k, cos, sin, out, q_answer, q_head, k_answer, k_head, cos_answer, sin_answer,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """One program for each head of each answer. Both products are rounded, and their sum, as torch does it."""
    answer, head, d = tl.program_id(0), tl.program_id(1), tl.arange(0, D)
    other = tl.where(d < D // 2, d + D // 2, d - D // 2)
    if head < H:
        x = tl.load(q + answer * q_answer + head * q_head + d)
        y = tl.load(q + answer * q_answer + head * q_head + other)
    else:
        x = tl.load(k + answer * k_answer + (head - H) * k_head + d)
        y = tl.load(k + answer * k_answer + (head - H) * k_head + other)
    c = tl.load(cos + answer * cos_answer + d).to(tl.float32)
    s = tl.load(sin + answer * sin_answer + d).to(tl.float32)
    kind = out.dtype.element_ty
    own = (x.to(tl.float32) * c).to(kind).to(tl.float32)
    others = (y.to(tl.float32) * tl.where(d < D // 2, -s, s)).to(kind).to(tl.float32)
    tl.store(out + (answer * (H + G) + head) * D + d, (own + others).to(kind))


@triton.jit
def _write(
    keys, values, k, v, lengths, key_slot, key_head, key_column, value_slot, value_head, value_column,
    k_answer, k_head, v_answer, v_head, D: tl.constexpr, V: tl.constexpr, REACH: tl.constexpr,
):  # fmt: skip
    """One program for each head of each answer."""
    answer, head, d = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, REACH)
    column = tl.load(lengths + answer)
    key = keys + answer * key_slot + head * key_head + column * key_column + d
    value = values + answer * value_slot + head * value_head + column * value_column + d
    tl.store(key, tl.load(k + answer * k_answer + head * k_head + d, mask=d < D), mask=d < D)
    tl.store(value, tl.load(v + answer * v_answer + head * v_head + d, mask=d < V), mask=d < V)
