"""Matrix products of a width that cards are slow with, computed a little wider.

Owns which linear layers lie on either side of such a width, which is tried on each module and not believed of its name,
and the wider copies of their weights. A copy is made for one product and gone after it, as it takes a card little time
beside the product: what is resident stays as planned. The tower of a Qwen2.5-VL is 3,420 numbers wide between its
layers, 6,840 bytes. Rows that are no multiple of 16 bytes keep an H200 from its own kernels, and took a quarter of the
time that it needs to read a picture's prompt. Knows nothing of models. Shapes: N tokens, D wide, W the width between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeGuard

import torch
from torch.nn import Linear, functional

from demo.backends.spreading import forward_name

ROW_BYTES = 16  # of which a row is to be a multiple
MANY = 4096  # tokens; where there are fewer, a card waits for its kernels to be begun, and those are more
CLOSE = 2e-2  # of the largest number, in 16 bits

Forward = Callable[[torch.Tensor], torch.Tensor]


def align_widths(model: torch.nn.Module, *, many: int = MANY) -> int:
    """Have modules compute many tokens with a width that suits cards; how many that are."""
    aligned = 0
    for module in model.modules():
        for width, linears in _around(module):
            befores = [getattr(linear, forward_name(linear)) for linear in linears]
            wider = [_wider(*pair, width, many) for pair in zip(linears, befores)]
            is_alike = _is_alike(module, linears, wider, many)
            _set(linears, wider if is_alike else befores)
            aligned += is_alike
    return aligned


def _around(module: torch.nn.Module) -> Iterator[tuple[int, list[Linear]]]:
    """Widths between a module's own linear layers that do not suit, each with the layers before and after it."""
    linears = [child for child in module.children() if _is_plain(child)]
    inner = {one.out_features for one in linears} & {one.in_features for one in linears}
    for width in sorted(inner):
        around = [one for one in linears if width in (one.in_features, one.out_features)]
        is_between = all(one.in_features != one.out_features for one in around)
        if is_between and width * around[0].weight.element_size() % ROW_BYTES:
            yield width, around


def _is_plain(module: Any) -> TypeGuard[Linear]:
    """Exactly torch's layer, with weights of 16 bits at hand, which nobody else has exchanged."""
    if type(module) is not Linear or module.weight.is_meta or module.weight.element_size() != 2:
        return False
    return getattr(getattr(module, forward_name(module)), "__func__", None) is Linear.forward


def _set(linears: Sequence[Linear], forwards: Sequence[Forward]) -> None:
    for linear, forward in zip(linears, forwards):
        setattr(linear, forward_name(linear), forward)


def _wider(linear: Linear, before: Forward, width: int, many: int) -> Forward:
    per_row = ROW_BYTES // linear.weight.element_size()
    more = -width % per_row
    return (
        partial(_give, linear, before, more, many)
        if linear.out_features == width
        else partial(_take, linear, before, more)
    )


def _give(linear: Linear, before: Forward, more: int, many: int, hidden: torch.Tensor) -> torch.Tensor:
    """(…, D) to (…, W + more), the numbers beyond W zeros; where tokens are few to (…, W)."""
    if hidden.numel() < many * linear.in_features:
        return before(hidden)
    bias = None if linear.bias is None else functional.pad(linear.bias, (0, more))
    return functional.linear(hidden, functional.pad(linear.weight, (0, 0, 0, more)), bias)


def _take(linear: Linear, before: Forward, more: int, hidden: torch.Tensor) -> torch.Tensor:
    """(…, W + more) or (…, W) to (…, D); what is beyond W counts nothing."""
    if hidden.shape[-1] == linear.in_features:
        return before(hidden)
    return functional.linear(hidden, functional.pad(linear.weight, (0, more)), linear.bias)


@torch.no_grad()
def _is_alike(module: Any, linears: Sequence[Linear], wider: Sequence[Forward], many: int) -> bool:
    """Whether the module gives the same of noise both ways; some do more with the width than number by number."""
    like = linears[0].weight
    width = linears[0].in_features
    noise = torch.randn(many, width, generator=torch.Generator().manual_seed(0)).to(like)
    try:
        expected = module(noise)
        _set(linears, wider)
        found = module(noise)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever it is, the module wants something else, and stays as it is
        return False
    if not isinstance(expected, torch.Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return False
    limit = CLOSE * expected.abs().max()
    return bool(((found - expected).abs().max() <= limit) & limit.isfinite())
