"""Square pictures kept on a device at halving sizes, and how a place in one of them is read smoothly.

Owns: the packed texels and bilinear reading at any level. Does not know: sprites, scenes, colours.
Texels are premultiplied RGBA, four bytes packed in one int32, so that a read is one gather.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Channels = tuple[Tensor, Tensor, Tensor, Tensor]  # red, green, blue, alpha; 0..255, premultiplied
SMALLEST = 8


@dataclass(frozen=True)
class Pyramid:
    """Levels of all pictures one after the other: `starts[level]` is where a level's first picture begins."""

    texels: Tensor  # (T,) int32
    starts: Tensor  # (levels,) int32
    side: int

    @property
    def top(self) -> int:
        """The coarsest level."""
        return len(self.starts) - 1

    @classmethod
    def build(cls, rgba: npt.NDArray[np.uint8], device: torch.device) -> Pyramid:
        """`rgba` (N, side, side, 4) with straight alpha; side a power of two."""
        side = rgba.shape[1]
        levels: list[list[Tensor]] = []
        for start in range(0, len(rgba), 64):
            chunk = torch.from_numpy(rgba[start : start + 64]).to(device).float()
            chunk[..., :3] *= chunk[..., 3:] / 255
            for level, texels in enumerate(_halvings(chunk)):
                if level == len(levels):
                    levels.append([])
                levels[level].append(texels)
        flat = [torch.cat(parts) for parts in levels]
        starts = np.cumsum([0] + [len(level) for level in flat[:-1]])
        return cls(torch.cat(flat), torch.tensor(starts, dtype=torch.int32, device=device), side)


def _halvings(pictures: Tensor) -> list[Tensor]:
    """Packed texels of each level, finest first. `pictures` (n, side, side, 4)."""
    packed = []
    while True:
        packed.append(_pack(pictures))
        if pictures.shape[1] <= SMALLEST:
            return packed
        num, side = pictures.shape[:2]
        pictures = pictures.view(num, side // 2, 2, side // 2, 2, 4).mean((2, 4))


def _pack(pictures: Tensor) -> Tensor:
    bytes_ = pictures.round().clamp(0, 255).to(torch.uint8).contiguous()
    return bytes_.view(torch.int32).reshape(-1)


def read(
    pyramid: Pyramid, picture: Tensor, lod: Tensor, x: Tensor, y: Tensor, *, mirror: bool, sharpen: Tensor | None = None
) -> Channels:
    """Trilinear: the two levels around `lod`, mixed. `sharpen` goes past the finer level, away from the coarser.

    picture, lod, sharpen (B, 1, 1); x, y (B, H, W) in 0..1. Outside is empty, or the picture goes on mirrored.
    """
    level = lod.clamp(0, pyramid.top)
    fine = level.floor()
    part = level - fine
    coarse = (fine + 1).clamp(max=pyramid.top)
    if sharpen is not None:
        part = part - sharpen
    near = read_level(pyramid, picture, fine.int(), x, y, mirror=mirror)
    far = read_level(pyramid, picture, coarse.int(), x, y, mirror=mirror)
    red, green, blue, alpha = (a + (b - a) * part for a, b in zip(near, far, strict=True))
    return red, green, blue, alpha


def read_level(pyramid: Pyramid, picture: Tensor, level: Tensor, x: Tensor, y: Tensor, *, mirror: bool) -> Channels:
    """Bilinear at one level (B, 1, 1) int32."""
    if mirror:
        x, y = 1 - (1 - x.remainder(2)).abs(), 1 - (1 - y.remainder(2)).abs()
    side = torch.bitwise_right_shift(torch.full_like(level, pyramid.side), level)
    base = pyramid.starts[level] + picture.int() * side * side
    column, row = x * side - 0.5, y * side - 0.5
    left, top = column.floor(), row.floor()
    right_part, low_part = column - left, row - top
    total: list[Tensor] = []
    for dy, across in ((0, 1 - low_part), (1, low_part)):
        for dx, along in ((0, 1 - right_part), (1, right_part)):
            taken = _texel(pyramid.texels, base, side, left + dx, top + dy, along * across, mirror)
            total = [a + b for a, b in zip(total, taken, strict=True)] if total else taken
    red, green, blue, alpha = total
    return red, green, blue, alpha


def _texel(
    texels: Tensor, base: Tensor, side: Tensor, column: Tensor, row: Tensor, weight: Tensor, mirror: bool
) -> list[Tensor]:
    """Weighted channels of one texel per place."""
    last = (side - 1).float()
    # Clamp as floats: a place far outside would not fit an integer.
    at_column, at_row = torch.minimum(column.clamp(min=0), last), torch.minimum(row.clamp(min=0), last)
    if not mirror:
        weight = weight * ((at_column == column) & (at_row == row))
    packed = texels[base + at_row.int() * side + at_column.int()]
    return [((packed >> shift) & 255) * weight for shift in (0, 8, 16, 24)]
