"""What happens to a finished picture on its way: light, blur, noise, JPEG.

Owns: these effects on batches, with each picture's own strength. Does not know: what the picture shows.
Units: colours 0..1 going in, 0..255 as uint8 coming out; blur in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.backgrounds import BACKGROUND

BLUR_REACH = 3
# The quantisation tables of the JPEG standard's annex K, for 8 bits.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def degrade(pictures: Tensor, backgrounds: Tensor, noise: Tensor) -> Tensor:
    """(B, 3, S, S) in 0..1 -> uint8. `noise` (B, 3, S, S) is standard normal; S a multiple of 16."""
    pictures = _relit(pictures, backgrounds)
    pictures = _blurred(pictures, backgrounds[:, BACKGROUND["blur"]])
    pictures = (pictures + noise * _cube(backgrounds[:, BACKGROUND["noise"]])).clamp(0, 1)
    pictures = _compressed(pictures, backgrounds[:, BACKGROUND["jpeg"]], backgrounds[:, BACKGROUND["jpeg_chroma"]])
    return (pictures * 255).round().to(torch.uint8)


def _cube(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]


def _relit(pictures: Tensor, backgrounds: Tensor) -> Tensor:
    """Contrast, brightness, and corners darker than the middle."""
    lit = (pictures - 0.5) * _cube(backgrounds[:, BACKGROUND["contrast"]]) + 0.5
    lit = lit + _cube(backgrounds[:, BACKGROUND["brightness"]])
    line = torch.linspace(-1, 1, pictures.shape[-1], device=pictures.device)
    distance = (line[None, :] ** 2 + line[:, None] ** 2) / 2  # (S, S), 1 in the corners
    return (lit * (1 - _cube(backgrounds[:, BACKGROUND["vignette"]]) * distance)).clamp(0, 1)


def _blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian, each picture by its own sigma (B,); none where it is 0."""
    offsets = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=pictures.device)
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # (B, 2 reach + 1)
    for axis in (2, 3):
        pad = (BLUR_REACH, BLUR_REACH, 0, 0) if axis == 3 else (0, 0, BLUR_REACH, BLUR_REACH)
        padded, side = functional.pad(pictures, pad, mode="replicate"), pictures.shape[axis]
        pictures = padded.narrow(axis, 0, side) * _cube(weights[:, 0])
        for i in range(1, len(offsets)):
            pictures = pictures + padded.narrow(axis, i, side) * _cube(weights[:, i])
    return pictures


def _compressed(pictures: Tensor, strength: Tensor, coarse_chroma: Tensor) -> Tensor:
    """What JPEG leaves: 8 x 8 cosine blocks rounded to the standard's steps times `strength`; 0 is none."""
    device = pictures.device
    ycc = _mixed(pictures * 255 - 128, _TO_YCC)
    coarse = functional.interpolate(functional.avg_pool2d(ycc[:, 1:], 2), scale_factor=2, mode="nearest")
    chroma = torch.where(_cube(coarse_chroma) > 0, coarse, ycc[:, 1:])
    cosines = _cosines(device)
    blocks = _transform(torch.cat([ycc[:, :1], chroma], 1), cosines)
    tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], dtype=torch.float32, device=device)  # (3, 8, 8)
    # Row 8 i + r, column 8 j + c of the transformed picture holds frequency (r, c).
    repeats = pictures.shape[-1] // 8
    steps = (tables.repeat(1, repeats, repeats) * _cube(strength)).clamp(min=1)
    restored = _mixed(_transform((blocks / steps).round() * steps, cosines.T), _TO_RGB)
    return torch.where(_cube(strength) > 0, ((restored + 128) / 255).clamp(0, 1), pictures)


def _mixed(pictures: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """(3, 3) on the channels. The offsets cancel because luma is centred too."""
    red, green, blue = pictures.unbind(1)
    return torch.stack([a * red + b * green + c * blue for a, b, c in matrix], 1)


def _cosines(device: torch.device) -> Tensor:
    """(8, 8): row k is the k-th orthonormal cosine."""
    place = torch.arange(8, device=device, dtype=torch.float32)
    waves = torch.cos((place[None, :] + 0.5) * place[:, None] * math.pi / 8) * 0.5
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])


def _transform(pictures: Tensor, cosines: Tensor) -> Tensor:
    """Every 8 x 8 block B becomes cosines @ B @ cosines.T, in place of itself."""
    num, channels, side, _ = pictures.shape
    rows = cosines @ pictures.reshape(num, channels, side // 8, 8, side)
    columns = rows.reshape(num, channels, side, side // 8, 8) @ cosines.T
    return columns.reshape(num, channels, side, side)
