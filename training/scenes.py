"""Random scenes: which things, in which style and colour, where; as facts to talk about and as numbers to draw.

Owns: what a scene is, how scenes are sampled, and the layout of a layer's parameters (one layer draws one thing).
Does not know: words, torch, how pixels are made. Units: places are fractions of the picture, 0..1, origin top left.
The same generator state gives the same scene. A scene takes a fraction of a millisecond: workers feed a GPU with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.backgrounds import Textures, sample_background
from training.bank import Bank
from training.colours import COLOURS, LUMINANCE, PAINTS, hue_direction
from training.columns import Columns
from training.sprites import SIDE

__all__ = ["COLOURS", "LAYER", "MAX_THINGS", "Scene", "SceneConfig", "Thing", "sample_scene"]

FloatArray = npt.NDArray[np.float32]

MAX_THINGS = 8
SMALLEST = 0.13  # longest side that is still easy to recognise in 224 pixels
KINDS = ("plain", "photo", "clutter")

# `inverse` maps a place in the picture to a place in the sprite's square, both 0..1, (2, 3) row by row.
# `lod` is the pyramid level for a picture one pixel large. `halo` is a shadow or outline drawn under the thing.
LAYER = Columns(
    present=1, sprite=1, inverse=6, lod=1, sharpen=1, matrix=12, levels=1, gamma=1,
    painted=1, hue=3, saturation=1, light_gain=1, light_bias=1, light_low=1, light_high=1,
    halo=1, halo_offset=2, halo_lod=1, halo_gain=1, halo_bias=1, halo_light=1,
)  # fmt: skip

_COUNTS = np.cumsum((0.21, 0.22, 0.19, 0.14, 0.11, 0.07, 0.04, 0.02))  # 1..8 things, all different
_COPIES = np.cumsum((0.40, 0.28, 0.19, 0.13))  # 2..5 of one noun
_OTHERS = np.cumsum((0.26, 0.30, 0.21, 0.13, 0.06, 0.04))  # 0..5 more beside the copies
_PAINTED, _PAINTED_CHANCE = (0.0, 0.25, 0.6, 1.0), np.cumsum((0.42, 0.30, 0.20, 0.08))
_HUE_TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)


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
        forward, boxes, keep = _place(rng, bank, sprites, aspect)
        sprites, colours = sprites[keep], colours[keep]
        rows = layers[: len(sprites)]
        _fill_geometry(rows, forward, sprites)
        _fill_colours(rng, rows, bank, sprites, colours, config)
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
    rows = []
    for paint in PAINTS.values():
        light, saturation = sum(paint.mean) / 2, sum(paint.saturation) / 2
        rows.append(light + saturation * (1 - abs(2 * light - 1)) * hue_direction(sum(paint.hue) / 2))
    return np.array(rows, np.float32)


_PAINT_RGB = _paint_rgb()
_PAINT_TABLE = np.array([(*p.hue, *p.saturation, *p.mean, *p.limits) for p in PAINTS.values()], np.float32)


# --- where


def _place(
    rng: np.random.Generator, bank: Bank, sprites: npt.NDArray[np.int64], aspect: float
) -> tuple[FloatArray, list[tuple[float, float, float, float]], list[int]]:
    """(kept, 2, 3) sprite square -1..1 -> picture, boxes, and which sprites found room, in drawing order."""
    turn = _sample_turns(rng, bank, sprites, aspect)  # (K, 2, 2)
    hull = np.matmul(bank.hull[sprites], turn.transpose(0, 2, 1))  # (K, 48, 2)
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


# --- as numbers to draw


def _fill_geometry(rows: FloatArray, forward: FloatArray, sprites: npt.NDArray[np.int64]) -> None:
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


def _fill_colours(
    rng: np.random.Generator,
    rows: FloatArray,
    bank: Bank,
    sprites: npt.NDArray[np.int64],
    colours: npt.NDArray[np.int64],
    config: SceneConfig,
) -> None:
    """Colour matrix and effects: none for a third of the scenes, so that a drawing as it is stays in the domain."""
    rows[:, LAYER["matrix"]] = _IDENTITY
    rows[:, LAYER["gamma"]] = 1
    rows[:, LAYER["halo_gain"]] = 1
    _fill_paint(rng, rows, bank, sprites, colours)
    if config.augment and rng.random() < 0.67:
        has_colour = (bank.natural[bank.noun[sprites]] != -1) & (colours < 0)
        _fill_matrix(rng, rows, has_colour)
        _fill_effects(rng, rows)


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
    """Hue, saturation, brightness and each channel's contrast; gentle for things whose colour can be asked for."""
    num = len(rows)
    normal, uniform = rng.standard_normal(num), rng.random((num, 3))
    angle = np.radians(np.where(has_colour, 8, 18) * np.clip(normal, -2, 2))
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


def _fill_effects(rng: np.random.Generator, rows: FloatArray) -> None:
    """Few tones, blur or sharpness, gamma, a shadow or an outline: what sets one hand apart from another."""
    num = len(rows)
    chance, amount = rng.random((5, num)), rng.random((5, num))
    rows[:, LAYER["levels"]] = np.where(chance[0] < 0.25, 2 + np.floor(amount[0] * 5), 0)
    rows[:, LAYER["lod"]] += np.where(chance[1] < 0.3, 0.4 + 0.9 * amount[1], 0)
    rows[:, LAYER["sharpen"]] = np.where((chance[1] >= 0.3) & (chance[1] < 0.5), 1.5 * amount[1], 0)
    rows[:, LAYER["gamma"]] = np.where(chance[2] < 0.3, np.exp(0.5 * (amount[2] - 0.5)), 1)
    shadow, outline = chance[3] < 0.15, (chance[3] >= 0.15) & (chance[3] < 0.27)
    rows[:, LAYER["halo"]] = np.where(shadow, 0.2 + 0.4 * amount[3], np.where(outline, 1, 0))
    rows[:, LAYER["halo_offset"]] = np.where(shadow[:, None], 0.06 * rng.random((num, 2)) - [0.03, 0.0], 0)
    rows[:, LAYER["halo_lod"]] = np.where(shadow, 1 + 3 * amount[4], 3 + amount[4])
    rows[:, LAYER["halo_gain"]] = np.where(outline, 8, 1)
    rows[:, LAYER["halo_bias"]] = np.where(outline, -0.9, 0)
    rows[:, LAYER["halo_light"]] = np.where(outline & (chance[4] < 0.7), 1, 0)
