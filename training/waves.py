"""Bends drawings: a thing's proportions differ from one hand to another more than any turn or stretch can show.

Owns: one sine along each axis of a sprite's square, how strong it is, and where an outline lies once bent. Does not
know: scenes, boxes, pixels. Units: amplitudes and lengths are fractions of the square's side. A wave is six numbers:
how far x is moved, how many times it swings over y and from which phase, then the same for y over x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]

BENT = 0.5  # share of the scenes whose things are bent
STRONGEST = 0.045
_ROUNDS = 3  # of the fixed point; each leaves less than half of what was wrong


def sample_waves(rng: np.random.Generator, num: int) -> FloatArray:
    """(num, 6): none at all in half of the scenes, and at most a swing and a half over a drawing."""
    waves = np.zeros((num, 6), np.float32)
    if num and rng.random() < BENT:
        waves[:, 0::3] = np.clip(0.02 * rng.standard_normal((num, 2)), -STRONGEST, STRONGEST)
        waves[:, 1::3] = rng.uniform(0.4, 1.5, (num, 2))
        waves[:, 2::3] = rng.random((num, 2))
    return waves


def bent_outline(points: FloatArray, waves: FloatArray) -> FloatArray:
    """Where points (K, P, 2) of drawings, -1..1 of their squares, are seen once each is bent by its wave (K, 6)."""
    drawn = points / 2 + 0.5
    seen = drawn
    for _ in range(_ROUNDS):
        seen = drawn - np.stack(_moves(np.sin, seen[..., 0], seen[..., 1], waves.T[:, :, None]), -1)
    return (2 * seen - 1).astype(np.float32)


def bent(x: Tensor, y: Tensor, waves: Tensor) -> tuple[Tensor, Tensor]:
    """Which place of a drawing is seen at x, y, 0..1 of its square, (B, H, W), bent by its wave (B, 6)."""
    moved_x, moved_y = _moves(torch.sin, x, y, waves.T[:, :, None, None])
    return x + moved_x, y + moved_y


def _moves(sine: Callable[[Any], Any], x: Any, y: Any, wave: Any) -> tuple[Any, Any]:
    """How far x and y are moved; arrays of numpy or of torch, the wave's six numbers first."""
    x_by, x_times, x_from, y_by, y_times, y_from = wave
    turns = 2 * math.pi
    return x_by * sine(turns * (x_times * y + x_from)), y_by * sine(turns * (y_times * x + y_from))
