"""What a batch of answers keeps of each: how it is asked for, and how far it has come.

Knows nothing of the loop that makes answers (`rolling`) and of what slots hold (`remembering`). Shapes: T tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from demo.backends.choosing import Chooses
from demo.backends.streaming import Outlet
from demo.types import Picture


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One answer as it is asked for."""

    inputs: Any  # the prompt as the processor made it, a mapping of tensors with one row
    make_chooser: Callable[[torch.Tensor], Chooses]  # from the prompt (1, T), on the generating thread
    room: int  # the most tokens that it may have
    outlet: Outlet
    pictures: tuple[bytes, ...] = ()  # a fingerprint of each, in their order
    seen_until: int | None = 0  # the tokens up to the end of the last picture; None: it is not known
    is_patient: bool = False  # others may go before it

    @property
    def num_tokens(self) -> int:
        """Of the prompt."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def tokens(self) -> list[int]:
        """The prompt's."""
        tokens: list[int] = self.inputs["input_ids"][0].tolist()
        return tokens


@dataclass(slots=True, eq=False)
class Running:
    """One answer that is being made. Its slot holds ``tokens``; ``next_token`` is chosen, and yet to be read."""

    row: Row
    tokens: list[int]
    chooser: Chooses
    first_position: torch.Tensor  # (…, 1, 1), of the answer's first token
    next_token: int = -1

    @property
    def num_read(self) -> int:
        """How many of the answer's own tokens its slot holds."""
        return len(self.tokens) - self.row.num_tokens

    @property
    def is_at_last(self) -> bool:
        """Whether the token after those that it was given is the last that it may have."""
        return self.row.outlet.num_tokens + 1 >= self.row.room


@dataclass(frozen=True, slots=True)
class Ahead:
    """A step that was begun before it was known which answers it is for: their next tokens have been read by it."""

    running: tuple[Running, ...]
    scores: torch.Tensor  # (B, V), of the tokens after those

    def of(self, still: Sequence[Running]) -> tuple[list[Running], torch.Tensor]:
        """Those that are running still, in the order of these, and their scores."""
        rows = [self.running.index(one) for one in still if one in self.running]
        is_all = rows == list(range(len(self.running)))
        return [self.running[row] for row in rows], self.scores if is_all else self.scores[rows]


def fingerprint(picture: Picture) -> bytes:
    """The same for pictures that are the same, pixel for pixel."""
    size = f"{picture.size.width}x{picture.size.height} ".encode()
    return hashlib.blake2b(size + picture.rgb, digest_size=16).digest()
