"""The nine colours that a thing can be painted in, and what a person would call a colour.

Owns: the colour words, the hue, saturation and lightness that each is painted with, and the naming of a colour.
Does not know: sprites, scenes. Units: hue in degrees, everything else 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)
LUMINANCE = np.array(LUMINANCE_WEIGHTS, np.float32)


@dataclass(frozen=True)
class Paint:
    """How a colour is painted: hue and saturation ranges, range of the mean lightness, limits of every pixel's."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    mean: tuple[float, float]
    limits: tuple[float, float]


# The limits keep apart what lightness alone turns into another colour: dark orange is brown, light red is pink.
PAINTS: dict[str, Paint] = {
    "red": Paint((-6, 5), (0.8, 0.95), (0.40, 0.48), (0.14, 0.64)),
    "orange": Paint((25, 33), (0.92, 1.0), (0.51, 0.56), (0.40, 0.80)),
    "yellow": Paint((50, 56), (0.9, 1.0), (0.50, 0.60), (0.34, 0.88)),
    "green": Paint((110, 145), (0.5, 0.8), (0.33, 0.44), (0.10, 0.80)),
    "blue": Paint((212, 232), (0.7, 0.95), (0.44, 0.56), (0.14, 0.82)),
    "purple": Paint((272, 286), (0.5, 0.8), (0.38, 0.48), (0.12, 0.76)),
    "pink": Paint((328, 342), (0.85, 1.0), (0.72, 0.80), (0.52, 0.94)),
    "brown": Paint((20, 28), (0.48, 0.65), (0.25, 0.31), (0.08, 0.44)),
    "gray": Paint((0, 360), (0.0, 0.03), (0.42, 0.58), (0.14, 0.84)),
}
COLOURS: tuple[str, ...] = tuple(PAINTS)

# (hue from, below) -> index of the colour, by the lightness that decides between two.
_HUES = ((14, "red", "pink", 0.70), (42, "brown", "orange", 0.42), (70, "brown", "yellow", 0.30))
_COLD_HUES = ((165, "green"), (255, "blue"), (298, "purple"), (345, "pink"))


def hue_direction(hue: npt.ArrayLike) -> FloatArray:
    """(..., 3): the fully saturated colour of a hue, minus one half."""
    sectors = np.asarray(hue, np.float32)[..., None] / 60 + np.array([0, 4, 2], np.float32)
    return np.clip(np.abs(sectors % 6 - 3) - 1, 0, 1).astype(np.float32) - 0.5


def from_hsl(hue: npt.ArrayLike, saturation: npt.ArrayLike, lightness: npt.ArrayLike) -> FloatArray:
    """(..., 3) RGB."""
    light = np.asarray(lightness, np.float32)[..., None]
    chroma = np.asarray(saturation, np.float32)[..., None] * (1 - np.abs(2 * light - 1))
    return light + chroma * hue_direction(hue)


def name_colours(rgb: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """(..., 3) RGB -> (...) index into COLOURS, -1 for black and white."""
    values = np.asarray(rgb, np.float32)
    top, bottom = values.max(-1), values.min(-1)
    light, chroma = (top + bottom) / 2, top - bottom
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    safe = np.maximum(chroma, 1e-6)
    sector = np.where(
        top == red, (green - blue) / safe, np.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    named = _name_hues((sector * 60) % 360, light)
    is_gray = (chroma < 0.10) | (light < 0.10)
    gray = np.where((light > 0.22) & (light < 0.84), COLOURS.index("gray"), -1)
    return np.where(is_gray, gray, np.where(light > 0.95, -1, named)).astype(np.int8)


def _name_hues(hue: FloatArray, light: FloatArray) -> npt.NDArray[np.int64]:
    named = np.full(hue.shape, -1)
    start = 0
    for end, dark, pale, border in _HUES:
        either = np.where(light < border, COLOURS.index(dark), COLOURS.index(pale))
        named = np.where((hue >= start) & (hue < end), either, named)
        start = end
    for end, colour in _COLD_HUES:
        named = np.where((hue >= start) & (hue < end), COLOURS.index(colour), named)
        start = end
    return np.where(hue >= 345, np.where(light < 0.7, COLOURS.index("red"), COLOURS.index("pink")), named)
