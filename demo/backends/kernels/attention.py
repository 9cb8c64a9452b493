"""One token of each answer attends to its conversation, which many processors of a card read side by side.

Owns the two kernels: one for a part of a conversation's columns, one that puts the parts together, as in Flash-Decoding
(Dao et al., 2023). torch's give a head's whole conversation to one processor: on an H100 a layer of a Qwen2.5-VL-7B
took 54 microseconds for one answer of 2,048 columns, and a card has 132 processors for its 4 heads. Scores and sums
are float32. Knows nothing of modules; may be imported only where Triton is installed. Shapes: B answers, G heads with
keys of their own, each for R heads of the queries, C columns, D head width.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from demo.backends.kernels.launching import on_card

PROGRAMS = 512  # that a card is given at least, where there are as many columns; an H100 has 132 processors
COLUMNS = 32  # that a program reads at a time
LEAST_HEADS = 16  # that a card's matrix units take; fewer are filled up


def attended(
    q: torch.Tensor,  # (B, G, R, D)
    keys: torch.Tensor,  # (B, G, C, D)
    values: torch.Tensor,
    mask: torch.Tensor,  # (B, 1, 1, C), added to the scores
    scale: float,
) -> torch.Tensor:
    """What each answer's heads of queries take from its columns, (B, G * R, D); D is a power of 2, and no less than 16.

    Each answer must see a column.
    """
    batch, groups, heads, width = q.shape
    columns, pairs, filled = keys.shape[2], batch * groups, max(LEAST_HEADS, triton.next_power_of_2(heads))
    most = triton.next_power_of_2(triton.cdiv(columns, COLUMNS))
    parts = min(most, triton.next_power_of_2(triton.cdiv(PROGRAMS, pairs)))
    span = most // parts * COLUMNS
    out = q.new_empty((batch, groups * heads, width))
    is_whole = parts == 1
    sums = out if is_whole else q.new_empty((pairs, parts, filled, width), dtype=torch.float32)
    totals = out if is_whole else q.new_empty((pairs, parts, filled, 2), dtype=torch.float32)
    strides = (*q.stride()[:3], *keys.stride()[:3], *values.stride()[:3], mask.stride(0))
    sizes = {"G": groups, "R": heads, "D": width, "ROWS": filled, "PARTS": parts}
    with on_card(q):
        _attend_part[(pairs, parts)](
            q,
            keys,
            values,
            mask,
            sums,
            totals,
            scale,
            columns,
            *strides,
            **sizes,
            SPAN=span,
            BLOCK=COLUMNS,
            num_warps=4,
        )
        if not is_whole:
            _put_together[(pairs, heads)](sums, totals, out, R=heads, D=width, ROWS=filled, PARTS=parts)
    return out


@triton.jit(do_not_specialize=["columns"])
def _attend_part(
    q, keys, values, mask, sums, totals, scale, columns,
    q_answer, q_group, q_head, key_answer, key_head, key_column, value_answer, value_head, value_column, mask_answer,
    G: tl.constexpr, R: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
    SPAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program for SPAN columns of a head of keys; where there is but one part, it is told as the whole."""
    pair, part = tl.program_id(0), tl.program_id(1)
    answer, group = (pair // G).to(tl.int64), (pair % G).to(tl.int64)
    r, d = tl.arange(0, ROWS), tl.arange(0, D)
    x = tl.load(
        q + answer * q_answer + group * q_group + r[:, None] * q_head + d[None, :], mask=r[:, None] < R, other=0
    )
    best = tl.full((ROWS,), float("-inf"), dtype=tl.float32)
    total, found = tl.zeros((ROWS,), dtype=tl.float32), tl.zeros((ROWS, D), dtype=tl.float32)
    for start in range(0, SPAN, BLOCK):
        c = part * SPAN + start + tl.arange(0, BLOCK)
        is_in = c < columns
        key = keys + answer * key_answer + group * key_head + c[None, :] * key_column + d[:, None]
        value = values + answer * value_answer + group * value_head + c[:, None] * value_column + d[None, :]
        scores = tl.dot(x, tl.load(key, mask=is_in[None, :], other=0)) * scale
        scores += tl.load(mask + answer * mask_answer + c, mask=is_in, other=float("-inf")).to(tl.float32)[None, :]
        now = tl.maximum(best, tl.max(scores, axis=1))
        top = tl.where(now == float("-inf"), 0.0, now)  # so far it sees nothing: nothing less nothing is no number
        shares, kept = tl.exp(scores - top[:, None]), tl.exp(best - top)
        total = total * kept + tl.sum(shares, axis=1)
        seen = tl.load(value, mask=is_in[:, None], other=0)
        found = found * kept[:, None] + tl.dot(shares.to(seen.dtype), seen)
        best = now
    if PARTS == 1:
        place = sums + (pair * R + r[:, None]) * D + d[None, :]
        tl.store(place, (found / total[:, None]).to(sums.dtype.element_ty), mask=r[:, None] < R)
    else:
        row = (pair * PARTS + part) * ROWS + r
        tl.store(sums + row[:, None] * D + d[None, :], found)
        tl.store(totals + 2 * row, best)
        tl.store(totals + 2 * row + 1, total)


@triton.jit
def _put_together(
    sums, totals, out, R: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr
):  # fmt: skip
    """One program for each head of each answer."""
    pair, head = tl.program_id(0), tl.program_id(1)
    part, d = tl.arange(0, PARTS), tl.arange(0, D)
    row = (pair * PARTS + part) * ROWS + head
    best, total = tl.load(totals + 2 * row), tl.load(totals + 2 * row + 1)
    weight = tl.exp(best - tl.max(best, axis=0))
    found = tl.sum(tl.load(sums + row[:, None] * D + d[None, :]) * weight[:, None], axis=0)
    whole = found / tl.sum(total * weight, axis=0)
    tl.store(out + (pair * R + head) * D + d, whole.to(out.dtype.element_ty))
