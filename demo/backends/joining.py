"""Several prompts as one batch, which a card reads in little more time than one.

Owns which prompts can be one batch and how many are planned for, and what fills the shorter ones up: tokens behind
their last, which a model whose tokens look back only does not see. That it does not is tried, not believed
(`rehearsing`). Knows nothing of slots. Shapes: n prompts, T tokens of the longest, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from demo.backends.memory import devices_of
from demo.backends.rows import Row
from demo.catalog import ModelSpec
from demo.types import Placement


@dataclass(frozen=True, slots=True)
class Together:
    """How much may be read at once, in tokens with what fills up, and in pictures: what memory is planned for.

    A prompt without pictures counts as one, for each has its scores at every other's last token, (n, n, V).
    """

    tokens: int
    pictures: int

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether so much memory is planned for."""
        num_tokens = len(rows) * max(row.num_tokens for row in rows)
        return num_tokens <= self.tokens and sum(max(1, len(row.pictures)) for row in rows) <= self.pictures

    def most(self, row: Row) -> int:
        """How many such prompts."""
        return min(self.tokens // max(1, row.num_tokens), self.pictures // max(1, len(row.pictures)))


ALONE = Together(0, 0)


def planned(spec: ModelSpec, placement: Placement) -> Together:
    """What may be read at once: on cards, which have little to do while one prompt is read, what is planned for."""
    is_on_cards = all(device.startswith("cuda") for device in devices_of(placement))
    return Together(placement.context or 0, spec.max_pictures) if is_on_cards else ALONE


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two prompts have the same inputs, of shapes that can stand beside or behind each other."""
    if one.keys() != other.keys():
        return False
    return all(_fits(one, other, name) for name in one)


def _fits(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    first, second = one[name], other[name]
    if not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)) or not first.dim() * second.dim():
        return False
    if _is_text(one, first) or _is_text(other, second):
        return _is_text(one, first) and _is_text(other, second)
    return first.shape[1:] == second.shape[1:]


def _is_text(prompt: Mapping[str, Any], value: torch.Tensor) -> bool:
    """Whether a tensor has one number for each token, (1, T)."""
    shape: torch.Size = prompt["input_ids"].shape
    return value.shape == shape


def joined(prompts: Sequence[Mapping[str, torch.Tensor]], filler: int | None = None) -> dict[str, torch.Tensor]:
    """One batch of prompts that are `alike`; the shorter are filled up with ``filler``, or with their last token.

    The mask says of what fills up that it is there, too: without gaps it is no mask, which attention is quickest with.
    """
    longest = max(prompt["input_ids"].shape[1] for prompt in prompts)
    batch = {}
    for name, first in prompts[0].items():
        rows = [prompt[name] for prompt in prompts]
        if _is_text(prompts[0], first):
            rows = [_filled(row, longest, name, filler) for row in rows]
        batch[name] = torch.cat(rows)
    return batch


def _filled(row: torch.Tensor, longest: int, name: str, filler: int | None) -> torch.Tensor:
    """(1, T): ids by a token, the mask by ones, whatever else is said of tokens by zeros, which words have."""
    last = row[:, -1:] if filler is None else torch.full_like(row[:, -1:], filler)
    rest = {"input_ids": last, "attention_mask": torch.ones_like(last)}.get(name, torch.zeros_like(last))
    return torch.cat((row, rest.expand(1, longest - row.shape[1])), dim=1)


def positions_of_all(positions: Sequence[torch.Tensor]) -> torch.Tensor:
    """(…, n, T) of each prompt's (…, 1, t); what fills up counts on from the last."""
    longest = max(one.shape[-1] for one in positions)
    rows = []
    for one in positions:
        further = torch.arange(1, longest - one.shape[-1] + 1, device=one.device, dtype=one.dtype)
        rows.append(torch.cat((one, one[..., -1:] + further), dim=-1))
    return torch.cat(rows, dim=-2)
