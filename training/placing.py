"""Where the things of a scene stand: turned, sized, and set down with little overlap.

Owns: each thing's affine map and its tight box. Does not know: colours, backgrounds, how pixels are made.
Units: places are fractions of the picture, 0..1, origin top left; a sprite's own square is -1..1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from training.bank import Bank
from training.waves import bent_outline

FloatArray = npt.NDArray[np.float32]

SMALLEST = 0.13  # longest side that is still easy to recognise in 224 pixels


def place(
    rng: np.random.Generator, bank: Bank, sprites: npt.NDArray[np.int64], aspect: float, waves: FloatArray
) -> tuple[FloatArray, list[tuple[float, float, float, float]], list[int]]:
    """(kept, 2, 3) sprite square -1..1 -> picture, boxes, and which sprites found room, in drawing order.

    `waves` (K, 6) bend the drawings.
    """
    turn = _sample_turns(rng, bank, sprites, aspect)  # (K, 2, 2)
    hull = np.matmul(bent_outline(bank.hull[sprites], waves), turn.transpose(0, 2, 1))  # (K, 48, 2)
    low, high = hull.min(1), hull.max(1)
    scale = _sample_sizes(rng, high - low)
    spots = _find_room(rng, (high - low) * scale[:, None])
    keep = [int(i) for i in rng.permutation(len(sprites)) if i in spots]
    forward, boxes = np.empty((len(keep), 2, 3), np.float32), []
    for row, i in enumerate(keep):
        x, y, shrink = spots[i]
        size = scale[i] * shrink
        forward[row, :, :2] = turn[i] * size
        forward[row, 0, 2], forward[row, 1, 2] = x - low[i, 0] * size, y - low[i, 1] * size
        boxes.append(_clipped(hull[i] * size + forward[row, :, 2]))
    return forward, boxes, keep


def _sample_turns(rng: np.random.Generator, bank: Bank, sprites: npt.NDArray[np.int64], aspect: float) -> FloatArray:
    """(K, 2, 2): flip, stretch, shear, rotate, squash the picture. Nearly half of the scenes stay upright."""
    num = len(sprites)
    draw = rng.standard_normal((num, 3))
    if rng.random() < 0.45:
        draw[:] = 0
    angle = np.radians(np.clip(12 * draw[:, 0], -30, 30))
    shear, stretch = 0.08 * np.clip(draw[:, 1], -2, 2), np.exp(0.1 * np.clip(draw[:, 2], -2, 2))
    flip = np.where((rng.random(num) < 0.35) & ~bank.has_text[bank.noun[sprites]], -1.0, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    wide, high = 1 / math.sqrt(aspect), math.sqrt(aspect)
    turn = np.empty((num, 2, 2), np.float32)
    turn[:, 0, 0] = wide * cos * stretch * flip
    turn[:, 0, 1] = wide * (cos * shear - sin) / stretch
    turn[:, 1, 0] = high * sin * stretch * flip
    turn[:, 1, 1] = high * (sin * shear + cos) / stretch
    return turn


def _sample_sizes(rng: np.random.Generator, extents: FloatArray) -> FloatArray:
    """(K,) scales: longest sides 0.13-0.66 of the picture, smaller where there are many; one size for all at times."""
    num = len(extents)
    largest = min(0.66, 0.1 + 0.8 / math.sqrt(num))
    smallest = 0.2 if num < 3 else 0.15 if num < 6 else SMALLEST
    spread = rng.random(num) if rng.random() < 0.7 else rng.random() + 0.06 * (rng.random(num) - 0.5)
    longest = smallest * (largest / smallest) ** np.clip(spread, 0, 1)
    scale = longest / extents.max(1)
    # A picture squashed by two makes things thin: keep the area of what has to be recognised.
    area = np.sqrt(extents.prod(1)) * scale
    return scale * np.clip(0.105 / area, 1, 0.66 / longest)


def _find_room(rng: np.random.Generator, sizes: FloatArray) -> dict[int, tuple[float, float, float]]:
    """Thing -> left, top, shrink factor. Large things first; one that finds no room is left out."""
    limit = 0.25 if rng.random() < 0.1 else rng.random() * 0.08
    cut = 0.1 if rng.random() < 0.08 else 0.0
    tight = rng.random() < 0.15  # things stand close together
    placed: list[tuple[float, float, float, float]] = []
    spots = {}
    for i in np.argsort(-sizes.prod(1)):
        least = SMALLEST / float(sizes[i].max())
        for shrink in (1.0, max(0.85, least), max(0.7, least)):
            wide, high = float(sizes[i, 0]) * shrink, float(sizes[i, 1]) * shrink
            spot = _free_spot(rng, placed, wide, high, limit, cut, tight)
            if spot is not None:
                placed.append((*spot, spot[0] + wide, spot[1] + high))
                spots[int(i)] = (*spot, shrink)
                break
    return spots


def _free_spot(
    rng: np.random.Generator,
    placed: list[tuple[float, float, float, float]],
    wide: float,
    high: float,
    limit: float,
    cut: float,
    tight: bool,
    tries: int = 20,
) -> tuple[float, float] | None:
    """Left and top of a place where no overlap is above `limit` of the smaller of the two boxes."""
    draw = rng.random((tries, 2))
    if tight:
        draw = 0.25 + 0.5 * draw
    room_x, room_y = 1 - wide + 2 * cut * wide, 1 - high + 2 * cut * high
    for x, y in draw.tolist():
        left, top = x * room_x - cut * wide, y * room_y - cut * high
        if all(_overlap(left, top, left + wide, top + high, other) <= limit for other in placed):
            return left, top
    return None


def _overlap(x0: float, y0: float, x1: float, y1: float, other: tuple[float, float, float, float]) -> float:
    """Shared area over the smaller area."""
    wide, high = min(x1, other[2]) - max(x0, other[0]), min(y1, other[3]) - max(y0, other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / min((x1 - x0) * (y1 - y0), (other[2] - other[0]) * (other[3] - other[1]))


def _clipped(points: FloatArray) -> tuple[float, float, float, float]:
    """Tight box of a convex outline's part inside the picture."""
    x0, y0 = points.min(0).tolist()
    x1, y1 = points.max(0).tolist()
    if x0 < 0 or y0 < 0 or x1 > 1 or y1 > 1:
        outline = points.tolist()
        for axis, sign, bound in ((0, 1, 0.0), (0, -1, -1.0), (1, 1, 0.0), (1, -1, -1.0)):
            outline = _cut_outline(outline, axis, sign, bound)
        xs, ys = [p[0] for p in outline], [p[1] for p in outline]
        x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
    return max(0.0, x0), max(0.0, y0), min(1.0, x1), min(1.0, y1)


def _cut_outline(outline: list[list[float]], axis: int, sign: int, bound: float) -> list[list[float]]:
    """The part of a closed outline where sign * coordinate >= bound."""
    kept = []
    for here, there in zip(outline, outline[1:] + outline[:1], strict=True):
        inside, next_inside = sign * here[axis] >= bound, sign * there[axis] >= bound
        if inside:
            kept.append(here)
        if inside != next_inside:
            part = (sign * bound - here[axis]) / (there[axis] - here[axis])
            kept.append([here[0] + part * (there[0] - here[0]), here[1] + part * (there[1] - here[1])])
    return kept
