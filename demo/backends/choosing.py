"""Chooses the next token of each answer of a batch, by each answer's own settings.

Owns the random numbers, one generator an answer, so that a seed means the same whoever else is answered meanwhile, and
the way of what was chosen to main memory. The scores are changed by transformers' own processors, exactly as in
`generate()`. Shapes: B answers, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import GenerationConfig

from demo.errors import BrokenCheckpoint


class Chooses(Protocol):
    """What chooses one answer's tokens."""

    @property
    def is_plain(self) -> bool:
        """It takes the likeliest token as it is."""
        ...

    def choose(self, scores: torch.Tensor) -> torch.Tensor:
        """(1, V) -> (1,)"""
        ...


class Chooser:
    """Chooses as `generate()` does with the same settings."""

    def __init__(self, model: Any, settings: GenerationConfig, prompt: torch.Tensor, seed: int | None) -> None:
        """``prompt`` (1, T) are the tokens before the answer, on the device of the scores."""
        settings = copy.copy(settings)
        model._prepare_special_tokens(settings, True, device=prompt.device)
        self._processors = model._get_logits_processor(
            settings,
            input_ids_seq_length=prompt.shape[1],
            encoder_input_ids=prompt,
            device=prompt.device,
            model_kwargs={},
        )
        self._tokens = prompt
        self._random: torch.Generator | None = None
        if settings.do_sample:
            self._random = torch.Generator(prompt.device)
            if seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(seed)

    @property
    def is_plain(self) -> bool:
        return self._random is None and not self._processors

    def choose(self, scores: torch.Tensor) -> torch.Tensor:
        if self._processors:
            scores = self._processors(self._tokens, scores)
        if self._random is None:
            chosen = scores.argmax(dim=-1)
        else:
            # what is not a number would be a fault that no card's process survives; its answer is ended elsewhere
            chosen = torch.multinomial(scores.nan_to_num().softmax(dim=-1), 1, generator=self._random).squeeze(1)
        if self._processors:
            self._tokens = torch.cat((self._tokens, chosen[:, None]), dim=1)
        return chosen


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token of each answer of a batch, on its way to main memory; a card may be given more to do meanwhile."""

    tokens: torch.Tensor  # (B,), where the scores are
    failed: dict[int, Exception]  # what went wrong in the choosing of one; it is no other's fault
    _told: torch.Tensor  # (2, B): the tokens, and whether the scores are numbers
    _has_come: torch.cuda.Event | None

    def told(self) -> list[int | Exception]:
        """What each answer goes on with, or ends by; waits for it."""
        if self._has_come is not None:
            self._has_come.synchronize()
        tokens, sound = self._told.tolist()
        return [
            (self.failed.get(row, token) if is_sound else _not_numbers())
            for row, (token, is_sound) in enumerate(zip(tokens, sound))
        ]


def choose_all(choosers: Sequence[Chooses], scores: torch.Tensor) -> Choice:
    """The next tokens of answers whose scores are (B, V)."""
    chosen = scores.argmax(dim=-1)
    failed: dict[int, Exception] = {}
    for row, chooser in enumerate(choosers):
        if chooser.is_plain:
            continue
        try:
            chosen[row] = chooser.choose(scores[row : row + 1])[0]
        except Exception as error:  # noqa: BLE001 - it is raised where that answer is waited for
            failed[row] = error
    sound = scores.amax(dim=-1).isfinite()  # NaN is the largest of any; a vocabulary may be padded with -inf
    # without waiting only where something says when it has come
    told = torch.stack((chosen, sound)).to("cpu", non_blocking=chosen.is_cuda)
    has_come = torch.cuda.current_stream(chosen.device).record_event() if chosen.is_cuda else None
    return Choice(chosen, failed, told, has_come)


def _not_numbers() -> BrokenCheckpoint:
    remedy = "Ask again; if that does not help, the weights are damaged, or need --dtype bfloat16 or float32."
    return BrokenCheckpoint("The model computed scores that are not numbers", remedy=remedy)
