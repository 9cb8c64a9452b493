"""What the model is trained to do: predict the answers, and, for the dense head, what each patch shows.

A coordinate is aimed at as a small Gaussian over its neighbours instead of one token out of a thousand, so that near
misses cost little. Owns the losses; knows nothing of data or optimisers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.packing import IGNORED
from training.tokenizer import COORDINATES, FIRST_COORDINATE

_SIGMA, _REACH = 4.0, 10  # of the coordinate target, in thousandths of the picture


def picked(hidden: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The ``size`` first labelled positions of each row: (B, T, D), (B, T) -> (B, size, D), (B, size)."""
    order = torch.argsort((labels == IGNORED).to(torch.int8), dim=1, stable=True)[:, :size]
    chosen = torch.gather(hidden, 1, order[..., None].expand(-1, -1, hidden.shape[-1]))
    return chosen, torch.gather(labels, 1, order)


def text_loss(head: Tensor, hidden: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of ``hidden @ head.T`` (M, V) against (M,), coordinates softened.

    The targets are worked out where they are used, entry by entry, so that compiled it never holds (M, V) in fp32.
    """
    logits = (hidden @ head.T).float()
    vocabulary = torch.arange(len(head), device=labels.device)
    first, last = FIRST_COORDINATE, FIRST_COORDINATE + len(COORDINATES) - 1
    label = labels[:, None]
    is_coordinate = (label >= first) & (label <= last)
    apart = vocabulary - label
    near = is_coordinate & (apart.abs() <= _REACH) & (vocabulary >= first) & (vocabulary <= last)
    weight = torch.where(near, torch.exp(-0.5 * (apart / _SIGMA) ** 2), 0.0)
    soft = (logits * weight).sum(-1) / weight.sum(-1).clamp(min=1.0)
    hard = torch.where(apart == 0, logits, 0.0).sum(-1)
    valid = labels != IGNORED
    lost = logits.logsumexp(-1) - torch.where(is_coordinate[:, 0], soft, hard)
    return torch.where(valid, lost, 0.0).sum() / valid.sum().clamp(min=1)


def dense_loss(
    heads: tuple[Tensor, Tensor, Tensor], owner: Tensor, nouns: Tensor, colours: Tensor, boxes: Tensor
) -> Tensor:
    """The dense head's outputs against the scene.

    owner (B, P): index of the thing that each patch shows, -1 for none; nouns, colours (B, K); boxes (B, K, 4) in 0..1.
    """
    noun_logits, colour_logits, offsets = heads
    shown = owner >= 0
    index = owner.clamp(min=0).long()
    noun = torch.where(shown, nouns.gather(1, index), noun_logits.shape[-1] - 1)
    colour = torch.where(shown, colours.gather(1, index), -1)
    colour = torch.where(colour >= 0, colour, colour_logits.shape[-1] - 1)
    loss = F.cross_entropy(noun_logits.float().flatten(0, 1), noun.flatten())
    loss = loss + 0.5 * F.cross_entropy(colour_logits.float().flatten(0, 1), colour.flatten())
    side = round(owner.shape[1] ** 0.5)
    axis = (torch.arange(side, device=owner.device) + 0.5) / side
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    centre = torch.stack((x, y, x, y), -1).view(1, -1, 4)
    wanted = boxes.gather(1, index[..., None].expand(-1, -1, 4)) - centre
    miss = F.smooth_l1_loss(offsets.float(), wanted, beta=0.03, reduction="none").mean(-1)
    return loss + 4.0 * (miss * shown).sum() / shown.sum().clamp(min=1)
