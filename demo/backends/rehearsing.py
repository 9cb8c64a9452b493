"""Proves at load whether a model can answer several at a time, and go on from what a slot holds already.

Owns the proof: two prompts that begin alike are answered by the model's own `generate()`, then side by side in slots
with the same tokens, and the scores are compared. What a model cannot do is found here and not by a user. Shapes: N
tokens of an answer, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from demo.backends.rolling import Rolling, Row

# How far the scores may be apart, as a share of their norm: another order of additions moves them by far less, a wrong
# mask or position by far more.
CLOSE: Mapping[torch.dtype, float] = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Truth:
    """What `generate()` made of a prompt: the tokens (N,) that it chose, and their scores (N, V)."""

    make_row: Callable[[], Row]  # the same prompt, as a row that ends after as many tokens
    tokens: torch.Tensor
    scores: torch.Tensor


@dataclass(frozen=True, slots=True)
class Ability:
    """What slots may be used for."""

    in_batch: bool
    reuses: bool = False


class Led:
    """Chooses what `generate()` chose, and keeps the scores that it is shown."""

    is_plain = False

    def __init__(self, tokens: torch.Tensor) -> None:
        self._tokens = iter(tokens)
        self.scores: list[torch.Tensor] = []

    def choose(self, scores: torch.Tensor) -> torch.Tensor:
        self.scores.append(scores[0].clone())
        chosen: torch.Tensor = next(self._tokens).to(scores.device)
        return chosen[None]


def rehearse(make: Callable[[bool], Rolling], truths: Sequence[Truth], dtype: torch.dtype) -> Ability:
    """What the model can do. ``make`` gives a batch with empty slots that reuses what they hold, or does not.

    Reuse must not move the scores further than a batch does by itself: a model whose pictures look at the question that
    follows them comes near the truth with another question's pictures, too.
    """
    rolling = make(True)
    reused = _apart(rolling, truths)
    has_reused = rolling.num_reused > 0
    if has_reused and reused <= CLOSE[dtype] / 5:
        return Ability(True, reuses=True)
    in_batch = _apart(make(False), truths)
    log.info("scores in slots are %.2g of their norm from generate()'s, %.2g with reuse", in_batch, reused)
    if in_batch > CLOSE[dtype]:
        return Ability(False)
    return Ability(True, reuses=has_reused and reused <= 3 * in_batch)


def _apart(rolling: Rolling, truths: Sequence[Truth]) -> float:
    """The largest distance of an answer's scores from the truth, as a share of the truth's norm."""
    led = [Led(truth.tokens) for truth in truths]
    rows = [replace(truth.make_row(), make_chooser=partial(_given, one)) for truth, one in zip(truths, led)]
    try:
        for row in rows:
            rolling.submit(row)
        for row in rows:
            list(row.outlet)
    except Exception as error:  # noqa: BLE001 - whatever it is, the model cannot do it, and is served without
        log.info("the model does not answer in slots: %r", error)
        return float("inf")
    return max(_distance(torch.stack(one.scores), truth.scores) for one, truth in zip(led, truths))


def _given(chooser: Led, _prompt: torch.Tensor) -> Led:
    return chooser


def _distance(found: torch.Tensor, true: torch.Tensor) -> float:
    kept = true.isfinite()  # a vocabulary may be padded with -inf
    return float((found[kept] - true[kept]).norm() / true[kept].norm().clamp_min(1e-9))
