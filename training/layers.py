"""The numbers that draw one thing: where its sprite lies, how it is painted and varied.

Owns: the layout of a layer's parameters and how they are sampled. Does not know: which things a scene holds, torch.
Units: places are fractions of the picture, colours 0..1, pyramid levels of a sprite for a picture one pixel large.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from training.bank import Bank
from training.colours import LUMINANCE, PAINTS, hue_direction
from training.columns import Columns
from training.sprites import SIDE

FloatArray = npt.NDArray[np.float32]

# `inverse` maps a place in the picture to a place in the sprite's square, both 0..1, (2, 3) row by row.
# `wave` bends the drawing inside that square (`waves`).
# `lod` is the pyramid level for a picture one pixel large. `halo` is a shadow or outline drawn under the thing.
LAYER = Columns(
    present=1, sprite=1, inverse=6, wave=6, lod=1, sharpen=1, matrix=12, levels=1, gamma=1,
    painted=1, hue=3, saturation=1, light_gain=1, light_bias=1, light_low=1, light_high=1,
    halo=1, halo_offset=2, halo_lod=1, halo_gain=1, halo_bias=1, halo_light=1,
)  # fmt: skip

COARSEST = math.log2(224) + 2.2  # level past which blur leaves too few texels of a thing to know it by
OTHER_HUES = 0.12  # of the things that are nowhere said to have a colour
_HUE_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)
_PAINT_TABLE = np.array([(*p.hue, *p.saturation, *p.mean, *p.limits) for p in PAINTS.values()], np.float32)


def fill_geometry(rows: FloatArray, forward: FloatArray, sprites: npt.NDArray[np.int64]) -> None:
    a, b, c, d = forward[:, 0, 0], forward[:, 0, 1], forward[:, 1, 0], forward[:, 1, 1]
    x, y = forward[:, 0, 2], forward[:, 1, 2]
    det = a * d - b * c
    # The sprite's square is -1..1 in `forward` and 0..1 in `inverse`: halve, then move by one half.
    inverse = np.stack([d, -b, b * y - d * x, -c, a, c * x - a * y], 1) / (2 * det[:, None])
    inverse[:, 2::3] += 0.5
    rows[:, LAYER["present"]] = 1
    rows[:, LAYER["sprite"]] = sprites
    rows[:, LAYER["inverse"]] = inverse
    # Box filtering and bilinear reading blur a little each: a third of a level finer than the exact one.
    rows[:, LAYER["lod"]] = 0.5 * np.log2(SIDE**2 / np.abs(4 * det)) - 0.3


def fill_colours(
    rng: np.random.Generator,
    rows: FloatArray,
    bank: Bank,
    sprites: npt.NDArray[np.int64],
    colours: npt.NDArray[np.int64],
    *,
    augment: bool,
) -> None:
    """Colour matrix and effects: none for a third of the scenes, so that a drawing as it is stays in the domain."""
    rows[:, LAYER["matrix"]] = _IDENTITY
    rows[:, LAYER["gamma"]] = 1
    rows[:, LAYER["halo_gain"]] = 1
    _fill_paint(rng, rows, bank, sprites, colours)
    if augment and rng.random() < 0.67:
        has_colour = (bank.natural[bank.noun[sprites]] != -1) & (colours < 0)
        _fill_matrix(rng, rows, has_colour)
        _fill_effects(rng, rows, has_colour)


_IDENTITY = np.eye(3, 4, dtype=np.float32).ravel()


def _fill_paint(
    rng: np.random.Generator,
    rows: FloatArray,
    bank: Bank,
    sprites: npt.NDArray[np.int64],
    colours: npt.NDArray[np.int64],
) -> None:
    """Painting keeps the drawing's light and dark, moved and stretched into the range where the colour has its name."""
    painted = colours >= 0
    if not painted.any():
        return
    table = _PAINT_TABLE[colours]  # (K, 8)
    draw = rng.random((len(colours), 3))
    hue, saturation, target = (table[:, 2 * i] + draw[:, i] * (table[:, 2 * i + 1] - table[:, 2 * i]) for i in range(3))
    mean, deviation = bank.luminance[sprites].T
    reach = np.minimum(table[:, 7] - target, target - table[:, 6]) * 0.75
    gain = np.clip(reach / np.maximum(deviation, 0.02), 0.4, 1.5)
    rows[:, LAYER["painted"]] = painted
    rows[:, LAYER["hue"]] = hue_direction(hue)
    rows[:, LAYER["saturation"]] = saturation
    rows[:, LAYER["light_gain"]] = gain
    rows[:, LAYER["light_bias"]] = target - gain * mean
    rows[:, LAYER["light_low"]], rows[:, LAYER["light_high"]] = table[:, 6], table[:, 7]


def _fill_matrix(rng: np.random.Generator, rows: FloatArray, has_colour: npt.NDArray[np.bool_]) -> None:
    """Hue, saturation, brightness and each channel's contrast; gentle for things whose colour can be asked for.

    Of the others some have hues of another hand altogether.
    """
    num = len(rows)
    normal, uniform = rng.standard_normal(num), rng.random((num, 3))
    angle = np.radians(np.where(has_colour, 8, 18) * np.clip(normal, -2, 2))
    other = (rng.random(num) < OTHER_HUES) & ~has_colour & (rows[:, LAYER["painted"]] == 0)
    angle = np.where(other, rng.uniform(-np.pi, np.pi, num), angle)
    saturation = np.where(has_colour, 0.7 + 0.6 * uniform[:, 0], 0.45 + 1.05 * uniform[:, 0])
    fade = (rng.random(num) < 0.05) & ~has_colour
    saturation = np.where(fade, 0.3, saturation)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    turn = cos * np.eye(3) + (1 - cos) / 3 + sin * _HUE_TURN  # (K, 3, 3)
    core = saturation[:, None, None] * turn + (1 - saturation)[:, None, None] * LUMINANCE
    brightness = 0.72 + 0.5 * uniform[:, 1]
    contrast = 1 + 0.12 * np.clip(rng.standard_normal((num, 3)), -2, 2)
    gain = brightness[:, None] * contrast
    matrix = np.concatenate([core * gain[:, :, None], (0.5 * brightness[:, None] * (1 - contrast))[:, :, None]], 2)
    rows[:, LAYER["matrix"]] = matrix.reshape(num, 12)


def _fill_effects(rng: np.random.Generator, rows: FloatArray, has_colour: npt.NDArray[np.bool_]) -> None:
    """Few tones, blur or sharpness, gamma, a shadow or an outline: what sets one hand apart from another."""
    num = len(rows)
    chance, amount = rng.random((5, num)), rng.random((5, num))
    # Two or three tones turn brown into red or black: not where the colour can be asked for.
    levels = np.where(has_colour, 4, 3 - (amount[4] < 0.15)) + np.floor(amount[0] * 4)
    rows[:, LAYER["levels"]] = np.where(chance[0] < 0.25, levels, 0)
    lod = rows[:, LAYER["lod"]]
    blurred = np.clip(lod + 0.4 + 0.9 * amount[1], lod, np.maximum(lod, COARSEST))
    rows[:, LAYER["lod"]] = np.where(chance[1] < 0.3, blurred, lod)
    rows[:, LAYER["sharpen"]] = np.where((chance[1] >= 0.3) & (chance[1] < 0.5), 1.5 * amount[1], 0)
    rows[:, LAYER["gamma"]] = np.where(chance[2] < 0.3, np.exp(0.5 * (amount[2] - 0.5)), 1)
    shadow, outline = chance[3] < 0.15, (chance[3] >= 0.15) & (chance[3] < 0.27)
    rows[:, LAYER["halo"]] = np.where(shadow, 0.2 + 0.4 * amount[3], np.where(outline, 1, 0))
    rows[:, LAYER["halo_offset"]] = np.where(shadow[:, None], 0.06 * rng.random((num, 2)) - [0.03, 0.0], 0)
    rows[:, LAYER["halo_lod"]] = np.where(shadow, 1 + 3 * amount[4], 3 + amount[4])
    rows[:, LAYER["halo_gain"]] = np.where(outline, 8, 1)
    rows[:, LAYER["halo_bias"]] = np.where(outline, -0.9, 0)
    rows[:, LAYER["halo_light"]] = np.where(outline & (chance[4] < 0.7), 1, 0)
