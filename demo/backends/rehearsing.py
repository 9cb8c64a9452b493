"""Proves at load whether a model can answer several at a time, and go on from what a slot holds already.

Owns the proof: two prompts that begin alike are answered by the model's own `generate()`, then side by side in slots
with the same tokens, and the scores are compared; once more with both prompts read at once. What a model cannot do is
found here and not by a user. How far apart scores may be depends on what rounding does to the model (`rounding`).
Shapes: N tokens of an answer, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from demo.backends.forwards import Forwards
from demo.backends.joining import ALONE, Together, alike
from demo.backends.rolling import Rolling
from demo.backends.rounding import distance
from demo.backends.rows import Row

# How far the scores may be apart, as a share of their norm: another order of additions moves them by far less, a wrong
# mask or position by far more.
CLOSE: Mapping[torch.dtype, float] = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}
# A model with more noise than that is allowed twice what rounding does to it, but no more than half of what scores are
# apart that have nothing in common.
NOISE, MOST = 2, 0.7
ROUNDING = 3  # one order of additions moves them so much further than another, in a model with much noise

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Truth:
    """What `generate()` made of a prompt: the tokens (N,) that it chose, and their scores (N, V)."""

    make_row: Callable[[], Row]  # the same prompt, as a row that ends after as many tokens
    tokens: torch.Tensor
    scores: torch.Tensor


@dataclass(frozen=True, slots=True)
class Ability:
    """What slots may be used for; ``apart`` is how far they move the scores, which is what rounding does to them."""

    in_batch: bool
    reuses: bool = False
    apart: float = field(default=0.0, compare=False)


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


def rehearse(
    make: Callable[..., Rolling], truths: Sequence[Truth], dtype: torch.dtype, noise: Callable[[], float]
) -> Ability:
    """What the model can do. ``make`` gives a batch with empty slots, and is told its ``least_shared``; ``noise`` tells
    how far rounding moves the scores, and is asked where they are further apart than most models'.

    Reuse must not move the scores further than a batch does by itself: a model whose pictures look at the question that
    follows them comes near the truth with another question's pictures, too.
    """
    rolling = make(least_shared=1)
    reused = _apart(rolling, truths)
    has_reused = rolling.num_reused > 0
    if has_reused and reused <= CLOSE[dtype] / 5:
        return Ability(True, reuses=True, apart=reused)
    in_batch = _apart(make(least_shared=None), truths)
    log.info("scores in slots are %.2g of their norm from generate()'s, %.2g with reuse", in_batch, reused)
    if in_batch > CLOSE[dtype]:
        moved = noise()
        log.info("rounding alone moves them by %.2g", moved)
        if in_batch > min(MOST, NOISE * moved):
            return Ability(False)
    return Ability(True, reuses=has_reused and reused <= ROUNDING * in_batch, apart=in_batch)


def read_at_once(rolling: Rolling, forwards: Forwards, truths: Sequence[Truth], ability: Ability) -> Together:
    """What ``rolling`` may read at once: what it does, if prompts come out of that as each does alone.

    A model that looks ahead in a prompt sees what fills up the shorter of two: then its scores depend on that.
    """
    rows = [truth.make_row() for truth in truths]
    prompts = [row.inputs for row in rows]
    if not rolling.together.holds(rows) or not forwards.can_join or not alike(*prompts):
        return ALONE
    apart = _apart(rolling, truths)
    allowed = max(CLOSE[forwards.dtype], min(MOST, ROUNDING * ability.apart))
    if rolling.num_joined < len(truths) or apart > allowed:
        log.info("prompts are read alone: together, scores are %.2g of their norm from generate()'s", apart)
        return ALONE
    try:
        sees_fillers = rolling.on_thread(partial(_sees_fillers, forwards, prompts))
    except Exception as error:  # noqa: BLE001 - whatever it is, prompts are read alone, and well
        log.info("prompts are read alone: %r", error)
        return ALONE
    return ALONE if sees_fillers else rolling.together


@torch.inference_mode()
def _sees_fillers(forwards: Forwards, prompts: Sequence[Mapping[str, torch.Tensor]]) -> bool:
    placed = [forwards.placed(prompt) for prompt in prompts]
    last, *before = reversed(prompts[0]["input_ids"][0].tolist())
    other = next((token for token in before if token != last), last)
    scores = [torch.cat([read.scores for read in forwards.read_together(placed, 0, filler=f)]) for f in (last, other)]
    return not torch.equal(*scores)


def _apart(rolling: Rolling, truths: Sequence[Truth]) -> float:
    """The largest distance of an answer's scores from the truth, as a share of the truth's norm."""
    led = [Led(truth.tokens) for truth in truths]
    rows = [replace(truth.make_row(), make_chooser=partial(_given, one)) for truth, one in zip(truths, led)]
    try:
        rolling.submit(*rows)
        for row in rows:
            list(row.outlet)
    except Exception as error:  # noqa: BLE001 - whatever it is, the model cannot do it, and is served without
        log.info("the model does not answer in slots: %r", error)
        return float("inf")
    return max(distance(torch.stack(one.scores), truth.scores) for one, truth in zip(led, truths))


def _given(chooser: Led, _prompt: torch.Tensor) -> Led:
    return chooser
