"""A step's norms, turns by position and writing of keys and values, each in one kernel.

Owns these kernels and their launch. torch takes five for a turn and two for a writing, and an H100 needs 3 to 5
microseconds for each norm and each writing, where these take 1.4 to 2.1. The tokens of prompts and the patches of
pictures are turned by the same kernel, where torch writes and reads all of them ten times. Knows nothing of modules;
may be imported only where Triton is installed. Shapes: M rows, K numbers, B answers, N tokens, H heads of the queries,
G of the keys, S slots, C columns, D and V head widths.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from demo.backends.kernels.launching import on_card

FEW_TOKENS = 64  # up to so many are a step's, and a program turns one head of one of them
MOST_HEADS = 16  # that a program turns where there are more


def normed(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The root mean square norm of (M, K)."""
    (rows, width), hidden = hidden.shape, hidden.contiguous()
    out = torch.empty_like(hidden)
    with on_card(hidden):
        _norm[(rows,)](hidden, weight, out, epsilon, width, triton.next_power_of_2(width), num_warps=8)
    return out


def turned(
    q: torch.Tensor,  # (N, H, D)
    k: torch.Tensor,  # (N, G, D)
    cos: torch.Tensor,  # (N, D)
    sin: torch.Tensor,
    *,
    is_rounded: bool,
) -> torch.Tensor:
    """Queries and keys (N, H + G, D) turned by their position; D is even, and its numbers lie side by side.

    Products are rounded to the dtype, as torch does it, or are float32, as models have it for pictures.
    """
    (tokens, heads, width), groups = q.shape, k.shape[1]
    at_once = 1 if tokens <= FEW_TOKENS else min(MOST_HEADS, triton.next_power_of_2(heads))
    out = q.new_empty((tokens, heads + groups, width))
    grid = (tokens, triton.cdiv(heads, at_once) + triton.cdiv(groups, at_once))
    strides = (*q.stride()[:2], *k.stride()[:2], cos.stride(0), sin.stride(0))
    sizes = (heads, groups, width, triton.next_power_of_2(width // 2), at_once)
    with on_card(q):
        _turn[grid](q, k, cos, sin, out, *strides, *sizes, is_rounded, enable_fp_fusion=False)
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
    q, k, cos, sin, out, q_token, q_head, k_token, k_head, cos_token, sin_token,
    H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, REACH: tl.constexpr, HEADS: tl.constexpr,
    IS_ROUNDED: tl.constexpr,
):  # fmt: skip
    """One program for some heads of a token, of the queries or of the keys."""
    token, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    head, d = tl.arange(0, HEADS), tl.arange(0, REACH)
    if part < tl.cdiv(H, HEADS):
        head += part * HEADS
        x, is_head = q + token * q_token + head[:, None] * q_head, head < H
    else:
        head += (part - tl.cdiv(H, HEADS)) * HEADS
        x, is_head = k + token * k_token + head[:, None] * k_head, head < G
        head += H
    is_half = d < D // 2
    is_in = is_head[:, None] & is_half[None, :]
    first = tl.load(x + d[None, :], mask=is_in, other=0).to(tl.float32)
    second = tl.load(x + d[None, :] + D // 2, mask=is_in, other=0).to(tl.float32)
    c, s = cos + token * cos_token + d, sin + token * sin_token + d
    first_cos, second_cos = _numbers(c, is_half), _numbers(c + D // 2, is_half)
    first_sin, second_sin = _numbers(s, is_half), _numbers(s + D // 2, is_half)
    own, others = first * first_cos, -second * first_sin
    own_of_second, others_of_second = second * second_cos, first * second_sin
    kind = out.dtype.element_ty
    if IS_ROUNDED:
        own, others = own.to(kind).to(tl.float32), others.to(kind).to(tl.float32)
        own_of_second = own_of_second.to(kind).to(tl.float32)
        others_of_second = others_of_second.to(kind).to(tl.float32)
    found = out + (token * (H + G) + head[:, None]) * D + d[None, :]
    tl.store(found, (own + others).to(kind), mask=is_in)
    tl.store(found + D // 2, (own_of_second + others_of_second).to(kind), mask=is_in)


@triton.jit
def _numbers(at, is_in):
    """A row of float32, to be multiplied with each of several."""
    return tl.load(at, mask=is_in, other=0).to(tl.float32)[None, :]


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
