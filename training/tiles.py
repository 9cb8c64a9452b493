"""Procedural textures for backgrounds: clouds, cells, weaves, rubble, scribbles, ripples; always the same ones.

Owns: how they are made. Does not know: scenes, photographs, torch. Units: colours 0..1 inside, 0..255 in the result.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.colours import from_hsl

FloatArray = npt.NDArray[np.float32]

TEXTURE_SIDE = 512  # finest level of the texture pyramid
NUM_TILES = 24


def make_tiles(side: int = TEXTURE_SIDE, count: int = NUM_TILES) -> npt.NDArray[np.uint8]:
    """(count, side, side, 3) procedural textures, always the same: clouds, cells, weaves, rubble, scribbles."""
    makers = (_clouds, _cells, _weave, _rubble, _scribble, _ripples)
    tiles = []
    for i in range(count):
        rng = np.random.default_rng(1000 + i)
        small = makers[i % len(makers)](rng, 256)
        image = Image.fromarray((np.clip(small, 0, 1) * 255).astype(np.uint8))
        tiles.append(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(tiles)


def _palette(rng: np.random.Generator, count: int) -> FloatArray:
    """(count, 3) colours that go together, as those of one material do."""
    hue = rng.uniform(0, 360) + rng.normal(0, 35, count)
    return from_hsl(hue, rng.uniform(0.05, 0.7, count), rng.uniform(0.15, 0.9, count))


def _fractal(rng: np.random.Generator, side: int, falloff: float = 0.6) -> FloatArray:
    """(side, side) in 0..1: noise of several scales."""
    total = np.zeros((side, side), np.float32)
    for octave in range(2, 8):
        coarse = Image.fromarray(rng.random((2**octave, 2**octave), dtype=np.float32))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) * falloff**octave
    return (total - total.min()) / (total.max() - total.min())


def _blend(palette: FloatArray, amount: FloatArray) -> FloatArray:
    """(side, side, 3): the palette run through by `amount`."""
    place = np.clip(amount, 0, 0.999) * (len(palette) - 1)
    low = place.astype(int)
    part = (place - low)[..., None]
    return palette[low] * (1 - part) + palette[low + 1] * part


def _clouds(rng: np.random.Generator, side: int) -> FloatArray:
    return _blend(_palette(rng, 4), _fractal(rng, side, rng.uniform(0.45, 0.85)))


def _cells(rng: np.random.Generator, side: int) -> FloatArray:
    """Stones, leaves or scales: each place takes the colour of the nearest seed, darker towards the joints."""
    seeds = rng.random((int(rng.integers(30, 160)), 2)).astype(np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    far = np.stack([(x - sx) ** 2 + (y - sy) ** 2 for sx, sy in seeds])
    order = np.partition(far, 1, axis=0)
    joint = np.clip((np.sqrt(order[1]) - np.sqrt(order[0])) * 40, 0.3, 1)[..., None]
    return _palette(rng, len(seeds))[far.argmin(0)] * joint * (0.8 + 0.2 * _fractal(rng, side)[..., None])


def _weave(rng: np.random.Generator, side: int) -> FloatArray:
    """Cloth, tiles, boards: two crossing rhythms over a ground."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    across, along = rng.integers(3, 24, 2)
    first, second = (np.abs((v * n) % 1 - 0.5) * 2 for v, n in ((x, across), (y, along)))
    lines = np.where(rng.random() < 0.5, np.maximum(first, second) > 0.85, first * second)
    return _blend(_palette(rng, 3), 0.7 * lines + 0.3 * _fractal(rng, side))


def _rubble(rng: np.random.Generator, side: int) -> FloatArray:
    """Heaped rectangles of all sizes, like rooftops or shelves."""
    canvas = _blend(_palette(rng, 2), _fractal(rng, side))
    colours = _palette(rng, 8)
    for _ in range(int(rng.integers(60, 200))):
        x, y = rng.integers(0, side, 2)
        w, h = (4 + rng.exponential(side / 14, 2)).astype(int)
        canvas[y : y + h, x : x + w] = colours[rng.integers(8)] * rng.uniform(0.7, 1.1)
    return canvas * (0.85 + 0.15 * _fractal(rng, side)[..., None])


def _scribble(rng: np.random.Generator, side: int) -> FloatArray:
    """Grass, hair, scratches: many short strokes in one rough direction."""
    canvas = _blend(_palette(rng, 2), _fractal(rng, side))
    colours, lean = _palette(rng, 6), rng.uniform(0, math.pi)
    for _ in range(900):
        angle = lean + rng.normal(0, 0.5)
        steps = np.arange(int(rng.integers(5, 40)))
        x, y = rng.integers(0, side, 2)
        columns = (x + steps * math.cos(angle)).astype(int) % side
        rows = (y + steps * math.sin(angle)).astype(int) % side
        canvas[rows, columns] = colours[rng.integers(6)]
    return canvas


def _ripples(rng: np.random.Generator, side: int) -> FloatArray:
    """Wood, water, marble: stripes that noise has bent."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    lean = rng.uniform(0, math.pi)
    bent = x * math.cos(lean) + y * math.sin(lean) + rng.uniform(0.05, 0.5) * _fractal(rng, side)
    return _blend(_palette(rng, 3), 0.5 + 0.5 * np.sin(bent * rng.uniform(15, 90)))
