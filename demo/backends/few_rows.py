"""Linear layers and gated MLPs of a step, which has one row for each answer, by kernels made for that.

Owns which modules of a decoder are computed so and how they are exchanged, for up to 16 rows; more are left to torch.
What the kernels give is tried for each shape on a model's own weights, and a module that computes something else than
its parts let on is left alone. Layers that are given the same hidden states one after the other, as those of queries,
keys and values are, are computed in one kernel. Weights stay where they are, in 16 bits, or in 8 as torchao keeps them.
Knows nothing of models. Shapes: M rows, N numbers out of K.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeGuard

import torch
from torch.nn import Linear, Module, functional

from demo.backends.kernels.launching import Kernels
from demo.backends.outline import quantizable
from demo.backends.spreading import forward_name

MOST_ROWS = 16
TRIED_ROWS = (1, 3)  # one row has kernels of its own
CLOSE = 2e-2  # of the norm of what is computed
LOUD = 3.0  # the gate's numbers in a trial: near 0 many activations are alike
TOGETHER = ("q_proj", "k_proj", "v_proj")
GATED = ("gate_proj", "up_proj", "down_proj")

Forward = Callable[[torch.Tensor], torch.Tensor]

log = logging.getLogger(__name__)


@torch.inference_mode()
def quicken(model: Any, kernels: Kernels, *, only_int8: bool = False) -> int:
    """Have few rows computed by ``kernels`` in the decoder's layers and the head; by how many modules that is done."""
    plain = filter(_is_plain, _of_steps(model))
    linears = {id(linear): linear for linear in plain if hasattr(linear.weight, "qdata") or not only_int8}
    gated = [module for module in model.modules() if _is_gated(module, linears)]
    tried: dict[object, bool] = {}
    quick = 0
    for group in _groups(model, linears):
        together = Together(group, kernels)
        kind: tuple[object, ...] = tuple(_kind(linear) for linear in group)
        if kind not in tried:
            tried[kind] = together.is_alike()
        if tried[kind]:
            together.take_over()
            quick += len(group)
    for module in gated:
        mlp = Gated(module, kernels)
        kind = (type(module), *(_kind(getattr(module, name)) for name in GATED))
        if kind not in tried:
            tried[kind] = mlp.is_alike()
        if tried[kind]:
            mlp.take_over()
            quick += 1
    log.info("%d modules compute few rows by kernels of our own", quick)
    return quick


class Together:
    """Linear layers that are mostly given the same; the first computes for all, and the others find it done."""

    def __init__(self, linears: Sequence[Linear], kernels: Kernels) -> None:
        self._linears = linears
        self._weights = [kernels.weight(*_stored(linear.weight), linear.bias) for linear in linears]
        self._products = kernels.products
        self._befores: list[Forward] = [getattr(linear, forward_name(linear)) for linear in linears]
        self._given: torch.Tensor | None = None
        self._waiting: dict[int, torch.Tensor] = {}

    def take_over(self) -> None:
        for place, linear in enumerate(self._linears):
            setattr(linear, forward_name(linear), partial(self.compute, place))

    def compute(self, place: int, hidden: torch.Tensor) -> torch.Tensor:
        """What layer number ``place`` gives."""
        if not _is_few(hidden, self._linears[place]):
            return self._befores[place](hidden)
        if place == 0:
            self._given, self._waiting = hidden, dict(enumerate(self._computed(hidden, self._weights)))
        elif hidden is not self._given or place not in self._waiting:
            return self._computed(hidden, [self._weights[place]])[0]
        own = self._waiting.pop(place)
        if not self._waiting:
            self._given = None
        return own

    def is_alike(self) -> bool:
        """Whether the kernels give what the layers give now, which have not been taken over yet."""
        for rows in TRIED_ROWS:
            hidden = _noise(rows, self._linears[0])
            wanted = [before(hidden) for before in self._befores]
            if not _agree(partial(self._computed, hidden, self._weights), wanted):
                return False
        return True

    def _computed(self, hidden: torch.Tensor, weights: Sequence[Any]) -> list[torch.Tensor]:
        found = self._products(_rows(hidden), weights)
        return [one.view(*hidden.shape[:-1], -1) for one in found]


class Gated:
    """An MLP whose gate, activation and product of both are one kernel."""

    def __init__(self, module: Any, kernels: Kernels) -> None:
        self._module = module
        self._before: Forward = getattr(module, forward_name(module))
        self._weights = [kernels.weight(*_stored(part.weight), None) for part in (module.gate_proj, module.up_proj)]
        self._gate = kernels.gated

    def take_over(self) -> None:
        setattr(self._module, forward_name(self._module), self.compute)

    def compute(self, hidden: torch.Tensor) -> torch.Tensor:
        if not _is_few(hidden, self._module.gate_proj):
            return self._before(hidden)
        inner = self._gate(_rows(hidden), *self._weights)
        out: torch.Tensor = self._module.down_proj(inner.view(*hidden.shape[:-1], -1))
        return out

    def is_alike(self) -> bool:
        """Whether the module does what its parts let on; the kernel knows one activation and no biases."""
        for rows in TRIED_ROWS:
            hidden = _noise(rows, self._module.gate_proj)
            hidden = hidden * (LOUD / self._module.gate_proj(hidden).std())
            try:
                wanted = [self._before(hidden)]
            except Exception:  # noqa: BLE001 - whatever it is, the module wants something else
                return False
            if not _agree(lambda: [self.compute(hidden)], wanted):  # noqa: B023 - it is called here
                return False
        return True


def _stored(weight: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A weight's numbers and its scales; they lie there for good, also where a model leaves its card for a while."""
    return (weight.qdata, weight.scale) if hasattr(weight, "qdata") else (weight, None)


def _rows(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.reshape(-1, hidden.shape[-1]).contiguous()


def _is_few(hidden: torch.Tensor, linear: Linear) -> bool:
    return 0 < hidden.numel() <= MOST_ROWS * linear.in_features and hidden.dtype == linear.weight.dtype


# --- which modules


def _of_steps(model: Any) -> Iterator[Module]:
    """The linear layers that every step goes through."""
    names = set(quantizable(model))
    yield from (module for path, module in model.named_modules() if path in names)
    if (head := model.get_output_embeddings()) is not None:
        yield head


def _is_plain(module: Any) -> TypeGuard[Linear]:
    """Exactly torch's layer, which nobody else has exchanged, with weights at hand that the kernels read."""
    if (
        type(module) is not Linear
        or module.weight.is_meta
        or module.weight.dtype not in (torch.bfloat16, torch.float16)
    ):
        return False
    if getattr(getattr(module, forward_name(module)), "__func__", None) is not Linear.forward:
        return False
    weight: Any = module.weight
    if not hasattr(weight, "qdata"):
        return type(weight.data) is torch.Tensor and weight.is_contiguous()
    asked = (getattr(weight, name, None) for name in ("act_quant_kwargs", "act_quant_scale", "act_pre_scale"))
    zero = getattr(weight, "zero_point", None)
    is_symmetric = zero is None or not bool(zero.any())
    has_row_scales = getattr(weight, "scale", None) is not None and weight.scale.numel() == len(weight.qdata)
    is_int8 = weight.qdata.dtype == torch.int8 and weight.qdata.dim() == 2 and weight.qdata.is_contiguous()
    return is_int8 and has_row_scales and is_symmetric and not any(one is not None for one in asked)


def _groups(model: Any, linears: Mapping[int, Linear]) -> Iterator[list[Linear]]:
    """All of ``linears``, which are known by their identity, each in one group; most of them alone."""
    left = dict(linears)
    for module in model.modules():
        group = [getattr(module, name, None) for name in TOGETHER]
        if all(id(one) in left for one in group) and len({_width(one) for one in group}) == 1:
            yield [left.pop(id(one)) for one in group]
    yield from ([linear] for linear in left.values())


def _width(linear: Any) -> tuple[object, ...]:
    return linear.in_features, linear.weight.dtype, linear.weight.device, hasattr(linear.weight, "qdata")


def _kind(linear: Any) -> tuple[object, ...]:
    """What decides which kernel is compiled, on which card."""
    return linear.out_features, linear.bias is not None, *_width(linear)


def _is_gated(module: Module, linears: Mapping[int, Linear]) -> bool:
    parts: list[Any] = [getattr(module, name, None) for name in GATED]
    if (
        not all(id(part) in linears for part in parts)
        or _kind(parts[0]) != _kind(parts[1])
        or parts[0].bias is not None
    ):
        return False
    compute: Any = getattr(module, forward_name(module))
    is_own = getattr(compute, "__func__", None) is type(module).forward
    return is_own and len(inspect.signature(compute).parameters) == 1


# --- trials


def _noise(rows: int, linear: Linear) -> torch.Tensor:
    """(M, K)"""
    noise = torch.randn(rows, linear.in_features, generator=torch.Generator().manual_seed(0))
    return noise.to(linear.weight.device, linear.weight.dtype)


def _agree(compute: Callable[[], list[torch.Tensor]], wanted: list[torch.Tensor]) -> bool:
    try:
        found = compute()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a card without room for a block, say: torch's kernels stay
        log.info("few rows are left to torch's own kernels: %r", error)
        return False
    apart = [functional.mse_loss(mine.float(), theirs.float()).sqrt() for mine, theirs in zip(found, wanted)]
    return all(bool(far <= CLOSE * theirs.float().square().mean().sqrt()) for far, theirs in zip(apart, wanted))
