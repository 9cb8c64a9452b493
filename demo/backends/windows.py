"""Pictures that are looked at in windows, in a few calls of attention in place of one for each window.

Owns which modules split what they attend to by `cu_seqlens`, which is tried on each and not believed of its name, and
how windows of one length are attended to together. On a card a picture of a megapixel is some hundred windows in each
of 28 layers of a Qwen2.5-VL: thousands of tiny kernels, and a wait for the lengths before each layer's. A module goes
its own way wherever something is not as expected. Knows nothing of models. Shapes: W windows, H heads, N tokens, T of
them in a window, D wide, d a head's width.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from math import isqrt
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from demo.backends.spreading import forward_name

# Pairs of tokens in one call. Windows beyond it keep a card busy alone, and where scores are written down, take memory.
MOST_PAIRS = 2**22
FEWEST_TOKENS = 4  # that a module can be tried with
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-6}  # of the largest number; a card may multiply in TF32
ROUGHLY = 2e-2  # in any other dtype
SMALL = 0.5  # beside what other windows change; past the edges of windows it would be 1 or more

Attention = Callable[..., tuple[torch.Tensor, Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Windows:
    """What tokens are cut into, the windows of one length beside each other."""

    lengths: tuple[int, ...]  # in the order of the tokens
    groups: tuple[tuple[int, int], ...]  # how many windows, how long, of each call
    order: torch.Tensor | None  # (N,): the tokens by groups; None: they lie so
    back: torch.Tensor | None  # (N,): the way back

    @staticmethod
    def of(edges: torch.Tensor) -> Windows:
        """``edges`` (W + 1,) are where windows begin, and where the last one ends."""
        lengths = edges.diff().cpu()  # (W,)
        per_token = lengths.repeat_interleave(lengths)  # (N,)
        order = per_token.argsort(stable=True, descending=True)
        found = tuple(lengths.tolist())
        groups = tuple(_groups(found))
        if bool((order.diff() == 1).all()):
            return Windows(found, groups, None, None)
        return Windows(found, groups, order.to(edges.device), order.argsort().to(edges.device))


def attend_windows(model: torch.nn.Module) -> int:
    """Have a model's modules attend to all windows at once; how many are to be tried, when they are first called."""
    modules = [module for module in model.modules() if _may_split(module)]
    if modules:
        _register()
    known: WeakIdKeyDictionary = WeakIdKeyDictionary()
    for module in modules:
        name = forward_name(module)
        setattr(module, name, Looker(module, getattr(module, name), known))
    return len(modules)


def attend(
    before: Attention,
    module: Any,
    query: torch.Tensor,  # (1, H, N, d)
    key: torch.Tensor,  # (1, K, N, d)
    value: torch.Tensor,  # (1, K, N, d)
    attention_mask: torch.Tensor | None = None,
    *,
    windows: Windows | None = None,
    **how: Any,
) -> tuple[torch.Tensor, Any]:
    """What ``before`` gives for each of the windows, (1, N, H, d); without windows, what it gives."""
    if windows is None:
        return before(module, query, key, value, attention_mask, **how)
    if attention_mask is not None or len(query) > 1:  # neither is known to be of one window, or of all
        splits = [tensor.split(windows.lengths, dim=2) for tensor in (query, key, value)]
        found = [before(module, *split, attention_mask, **how)[0] for split in zip(*splits)]
        return torch.cat(found, dim=1), None
    parts = [_by_groups(tensor, windows) for tensor in (query, key, value)]
    attended = [before(module, *part, None, **how)[0].flatten(0, 1) for part in zip(*parts)]  # (W * T, H, d)
    joined = attended[0] if len(attended) == 1 else torch.cat(attended)  # (N, H, d)
    return (joined if windows.back is None else joined.index_select(0, windows.back))[None], None


class Looker:
    """Stands for the `forward` of one module; the first call that has tokens enough shows whether it may."""

    def __init__(self, module: Any, own: Callable[..., Any], known: WeakIdKeyDictionary) -> None:
        """``known`` are the windows of edges that are still in use, for all layers of a model are given the same."""
        self._module = module
        self._own = own
        self._known = known
        self._is_tried = False

    def __call__(self, *given: Any, **how: Any) -> Any:
        edges, hidden = how.get("cu_seqlens"), given[0] if given else how.get("hidden_states")
        if not isinstance(edges, torch.Tensor) or not isinstance(hidden, torch.Tensor) or not self._is_served():
            return self._own(*given, **how)
        if edges.dim() != 1:  # a row of them for each picture of a batch, maybe
            return self._own(*given, **how)
        windows = self._windows(edges)
        num_tokens = hidden.shape[-2]
        if sum(windows.lengths) != num_tokens or num_tokens < FEWEST_TOKENS:
            return self._own(*given, **how)
        if not self._is_tried:
            if not self._is_alike(hidden, given, how):
                log.debug("%s attends to windows one by one", type(self._module).__name__)
                setattr(self._module, forward_name(self._module), self._own)
                return self._own(*given, **how)
            self._is_tried = True  # not before: where memory ran out nothing was found
        return self._together(windows, *given, **how)

    def _is_served(self) -> bool:
        """Whether what attends for the module is told of windows; others would look past their edges."""
        return self._module.config._attn_implementation == "sdpa" and _is_ours(ALL_ATTENTION_FUNCTIONS["sdpa"])

    def _windows(self, edges: torch.Tensor) -> Windows:
        found: Windows | None = self._known.get(edges)
        if found is None:
            found = self._known[edges] = Windows.of(edges)
        return found

    def _together(self, windows: Windows, *given: Any, **how: Any) -> Any:
        """The module is told of one window of all tokens, for which it makes one call, and that call of the windows."""
        how["cu_seqlens"] = torch.tensor([0, sum(windows.lengths)], dtype=how["cu_seqlens"].dtype)  # no wait on a CPU
        return self._own(*given, windows=windows, **how)

    @torch.no_grad()
    def _is_alike(self, hidden: torch.Tensor, given: Sequence[Any], how: dict[str, Any]) -> bool:
        """Whether both ways give the same of noise; the first picture may be all grey, and the same in any windows.

        It has to be much more alike than other windows make it: beside a large bias a limit alone would not show them.
        """
        noise = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0)).to(hidden)
        edges, wider = (_trial_edges(hidden.shape[-2], times).to(how["cu_seqlens"]) for times in (1, 2))
        given, how = ((noise, *given[1:]), how) if given else ((), {**how, "hidden_states": noise})
        try:
            expected, other = (_first(self._own(*given, **{**how, "cu_seqlens": one})) for one in (edges, wider))
            found = _first(self._together(Windows.of(edges), *given, **{**how, "cu_seqlens": edges}))
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the module wants something else, and stays as it is
            return False
        if expected is None or found is None or other is None:
            return False
        if len({(each.shape, each.dtype) for each in (expected, found, other)}) > 1:
            return False
        limit, apart = CLOSE.get(expected.dtype, ROUGHLY) * expected.abs().max(), found - expected
        is_less = apart.norm(dtype=torch.float32) <= SMALL * (other - expected).norm(dtype=torch.float32)
        return bool((apart.abs().max() <= limit) & limit.isfinite() & is_less)


def _may_split(module: Any) -> bool:
    """A module that is told of edges, passes on what else it is told, and has none inside that is."""
    if not _takes_edges(module) or any(map(_takes_edges, list(module.modules())[1:])):
        return False
    compute = getattr(module, forward_name(module))
    if getattr(compute, "__func__", None) is not type(module).forward:
        return False  # somebody else has exchanged it
    kinds = {taken.kind for taken in inspect.signature(compute).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds and hasattr(module, "config")


def _takes_edges(module: torch.nn.Module) -> bool:
    return "cu_seqlens" in inspect.signature(type(module).forward).parameters


def told_of_windows(attention: Attention) -> Attention:
    """What to register as `sdpa` for what is there now, which a model of this process may have had told of windows."""
    return partial(attend, attention) if _is_ours(ALL_ATTENTION_FUNCTIONS["sdpa"]) else attention


def _register() -> None:
    """Have `sdpa` know windows, for all models of this process; nothing changes for those that have none."""
    current = ALL_ATTENTION_FUNCTIONS["sdpa"]
    if not _is_ours(current):
        ALL_ATTENTION_FUNCTIONS.register("sdpa", partial(attend, current))


def _is_ours(attention: Any) -> bool:
    return isinstance(attention, partial) and attention.func is attend


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Windows of one length are one call, the longest first, but for as many pairs as one call may have."""
    for length in sorted(set(lengths) - {0}, reverse=True):
        count, most = lengths.count(length), max(1, MOST_PAIRS // length**2)
        for start in range(0, count, most):
            yield min(most, count - start), length


def _by_groups(tensor: torch.Tensor, windows: Windows) -> Iterator[torch.Tensor]:
    """Of (1, H, N, d) one (W, H, T, d) for each group."""
    tokens = tensor[0].transpose(0, 1)  # (N, H, d), as it lies in memory
    if windows.order is not None:
        tokens = tokens.index_select(0, windows.order)
    parts = tokens.split([count * length for count, length in windows.groups])
    for part, group in zip(parts, windows.groups):
        yield part.unflatten(0, group).transpose(1, 2)


def _trial_edges(num_tokens: int, times: int) -> torch.Tensor:
    """Windows of several lengths, those of one length not beside each other; all of them so many times as long."""
    side = isqrt(num_tokens)
    lengths = cycle(((side - 1) * times, side * times))
    edges = [0]
    while edges[-1] < num_tokens:
        edges.append(min(edges[-1] + next(lengths), num_tokens))
    return torch.tensor(edges)


def _first(found: Any) -> torch.Tensor | None:
    """What was attended to; some give their weights, too."""
    first = found[0] if isinstance(found, tuple) and found else found
    return first if isinstance(first, torch.Tensor) else None
