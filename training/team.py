"""Several cards training one model: who I am, and the mean of everybody's gradients.

Every process holds the whole model, starts from the same weights and draws its own part of each batch. Started by
``torchrun``; a process of its own is a team of one. Owns the communication; knows nothing of the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True, slots=True)
class Team:
    """This process is number ``rank`` of ``size``."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def join() -> Team:
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        if size > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return Team(rank, size, device)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """In place, all in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients)])

    def first_says(self, number: int) -> int:
        """The first process's number, for all."""
        if self.size == 1:
            return number
        said = torch.tensor([number], device=self.device)
        dist.broadcast(said, 0)
        return int(said.item())

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()
