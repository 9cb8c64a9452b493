"""Chooses the next token of each answer of a batch, by each answer's own settings.

Owns the random numbers, one generator an answer, so that a seed means the same whoever else is answered meanwhile. The
scores are changed by transformers' own processors, exactly as in `generate()`. Shapes: B answers, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import GenerationConfig


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


def choose_all(choosers: Sequence[Chooses], scores: torch.Tensor) -> tuple[torch.Tensor, dict[int, Exception]]:
    """The answers' next tokens, (B, V) -> (B,), and what went wrong in the choosing of one; it is no other's fault."""
    chosen = scores.argmax(dim=-1)
    failed: dict[int, Exception] = {}
    for row, chooser in enumerate(choosers):
        if chooser.is_plain:
            continue
        try:
            chosen[row] = chooser.choose(scores[row : row + 1])[0]
        except Exception as error:  # noqa: BLE001 - it is raised where that answer is waited for
            failed[row] = error
    return chosen, failed
