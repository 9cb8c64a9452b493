"""Random scenes: which things, in which style and colour, where; as facts to talk about and as numbers to draw.

Owns: what a scene is, and which things in which styles and colours it holds. `placing` finds the places, `layers` and
`backgrounds` make the numbers. Does not know: words, torch, how pixels are made.
Units: places are fractions of the picture, 0..1, origin top left. The same generator state gives the same scene.
A scene takes about half a millisecond: worker processes feed a GPU with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.backgrounds import Textures, sample_background
from training.bank import Bank
from training.colours import COLOURS, PAINTS, from_hsl
from training.layers import LAYER, fill_colours, fill_geometry
from training.placing import place
from training.waves import sample_waves

__all__ = ["COLOURS", "LAYER", "MAX_THINGS", "Scene", "SceneConfig", "Thing", "sample_scene"]

FloatArray = npt.NDArray[np.float32]

MAX_THINGS = 8
KINDS = ("plain", "photo", "clutter")

_COUNTS = np.cumsum((0.21, 0.22, 0.19, 0.14, 0.11, 0.07, 0.04, 0.02))  # 1..8 things, all different
_COPIES = np.cumsum((0.40, 0.28, 0.19, 0.13))  # 2..5 of one noun
_OTHERS = np.cumsum((0.26, 0.30, 0.21, 0.13, 0.06, 0.04))  # 0..5 more beside the copies
_PAINTED, _PAINTED_CHANCE = (0.0, 0.25, 0.6, 1.0), np.cumsum((0.42, 0.30, 0.20, 0.08))


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing that can be named. `colour` indexes COLOURS, -1 is the thing's own colours."""

    noun: int
    style: int
    colour: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """`things[i]` is drawn by layer i, later ones on top. `aspect` is width / height before squashing."""

    things: tuple[Thing, ...]
    kind: str
    aspect: float


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What scenes may contain. `kinds` are the shares of plain, photographic and cluttered backgrounds."""

    styles: tuple[int, ...]
    textures: Textures
    kinds: tuple[float, float, float] = (0.55, 0.22, 0.23)
    max_things: int = MAX_THINGS
    augment: bool = True  # vary the drawings themselves
    degrade: bool = True  # vary the finished picture: noise, blur, JPEG
    distractors: bool = True
    empty: float = 0.05
    aspect: float | None = None  # None: any, 1:2.2 to 2.2:1
    num_things: int | None = None  # None: any, 0 to max_things


def sample_scene(rng: np.random.Generator, bank: Bank, config: SceneConfig) -> tuple[Scene, FloatArray, FloatArray]:
    """A scene, its layers (MAX_THINGS, LAYER.width), its background (BACKGROUND.width,)."""
    kind = KINDS[_pick(rng, np.cumsum(config.kinds))]
    aspect = _sample_aspect(rng) if config.aspect is None else config.aspect
    sprites = _sample_sprites(rng, bank, config)  # (K,)
    colours = _sample_colours(rng, bank, sprites)  # (K,)
    layers = np.zeros((MAX_THINGS, LAYER.width), np.float32)
    boxes: list[tuple[float, float, float, float]] = []
    if len(sprites):
        waves = sample_waves(rng, len(sprites)) if config.augment else np.zeros((len(sprites), 6), np.float32)
        forward, boxes, keep = place(rng, bank, sprites, aspect, waves)
        sprites, colours = sprites[keep], colours[keep]
        rows = layers[: len(sprites)]
        fill_geometry(rows, forward, sprites)
        rows[:, LAYER["wave"]] = waves[keep]
        fill_colours(rng, rows, bank, sprites, colours, augment=config.augment)
    things = tuple(
        Thing(int(bank.noun[s]), int(bank.style[s]), int(c), b) for s, c, b in zip(sprites, colours, boxes, strict=True)
    )
    avoid = _mean_colours(bank, sprites, colours)
    background = sample_background(
        rng, kind, config.textures, avoid=avoid, distractors=config.distractors, degrade=config.degrade
    )
    return Scene(things, kind, aspect), layers, background


def _pick(rng: np.random.Generator, cumulative: FloatArray) -> int:
    return min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), len(cumulative) - 1)


def _sample_aspect(rng: np.random.Generator) -> float:
    chance = rng.random()
    if chance < 0.3:
        return 1.0
    aspect = (4 / 3, 3 / 2, 16 / 9)[int(rng.integers(3))] if chance < 0.6 else math.exp(rng.uniform(0, math.log(2.2)))
    return aspect if rng.random() < 0.6 else 1 / aspect


# --- which things


def _sample_sprites(rng: np.random.Generator, bank: Bank, config: SceneConfig) -> npt.NDArray[np.int64]:
    """Rows of the bank, one per thing."""
    mixed = rng.random() < 0.4 and len(config.styles) > 1
    styles = np.array(config.styles if mixed else (config.styles[int(rng.integers(len(config.styles)))],))
    have = bank.table[styles]  # (styles, nouns)
    pool = np.flatnonzero((have >= 0).any(0))
    nouns = pool[_sample_nouns(rng, len(pool), config)]
    if not mixed:
        return have[0, nouns]
    rows = have[rng.integers(len(styles), size=len(nouns)), nouns]
    for i in np.flatnonzero(rows < 0):  # the style drawn lacks the noun: any that has it
        options = have[:, nouns[i]]
        rows[i] = rng.choice(options[options >= 0])
    return rows


def _sample_nouns(rng: np.random.Generator, pool: int, config: SceneConfig) -> npt.NDArray[np.int64]:
    """Indices below `pool`, in random order; two scenes of five repeat one (2-5 times), some of those another."""
    if config.num_things is None and rng.random() < config.empty:
        return np.zeros(0, np.int64)
    most = min(config.num_things or config.max_things, config.max_things)
    if rng.random() < 0.455 and most > 1:
        copies = min(2 + _pick(rng, _COPIES), most)
        others = _pick(rng, _OTHERS) if config.num_things is None else most - copies
        counts = [copies, *_split_others(rng, min(others, most - copies))]
    else:
        num = 1 + _pick(rng, _COUNTS) if config.num_things is None else most
        counts = [1] * min(num, most)
    if config.num_things == 0:
        counts = []
    kinds = rng.choice(pool, len(counts), replace=len(counts) > pool, shuffle=False)
    return rng.permutation(np.repeat(kinds, counts))


def _split_others(rng: np.random.Generator, others: int) -> list[int]:
    if others >= 2 and rng.random() < 0.35:
        return [2] + [1] * (others - 2)
    return [1] * others


def _sample_colours(rng: np.random.Generator, bank: Bank, sprites: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index into COLOURS for painted things, -1 for the rest. Scenes differ in how many are painted: 30 % in all."""
    share = _PAINTED[_pick(rng, _PAINTED_CHANCE)]
    colours = np.full(len(sprites), -1)
    draw = rng.random((len(sprites), 2))
    shared = int(rng.integers(len(COLOURS))) if rng.random() < 0.2 else -1
    for i, row in enumerate(sprites):
        noun = bank.noun[row]
        must = bank.colourless[bank.style[row]] and bank.natural[noun] != -1
        if draw[i, 0] < share or must:
            allowed = np.flatnonzero(bank.paintable[row])
            colours[i] = shared if shared in allowed else allowed[int(draw[i, 1] * len(allowed))]
    return colours


def _mean_colours(bank: Bank, sprites: npt.NDArray[np.int64], colours: npt.NDArray[np.int64]) -> FloatArray:
    """(K, 3) roughly what colour each thing shows."""
    if not len(sprites):
        return np.zeros((0, 3), np.float32)
    return np.where((colours >= 0)[:, None], _PAINT_RGB[colours], bank.mean[sprites])


def _paint_rgb() -> FloatArray:
    spans = [(paint.hue, paint.saturation, paint.mean) for paint in PAINTS.values()]
    return np.array([from_hsl(*(sum(span) / 2 for span in three)) for three in spans], np.float32)


_PAINT_RGB = _paint_rgb()
