"""What lies behind the things of a scene, as numbers: flat colours, gradients, photographs, clutter; and picture noise.

Owns: the layout of a background's parameters and how they are sampled.
Does not know: things, nouns, torch. Units: places are fractions of the picture, colours 0..1, blur in pixels.
Everything a background shows is never named: abstract shapes, strokes like text, cut-out patches, photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.colours import LUMINANCE, from_hsl
from training.columns import Columns
from training.tiles import TEXTURE_SIDE

FloatArray = npt.NDArray[np.float32]

NUM_SHAPES = 10
NUM_PATCHES = 3
CORNERS = 5  # half-planes that bound a polygon

SHAPE = Columns(
    present=1,
    centre=2,
    inverse=4,
    is_ellipse=1,
    normals=2 * CORNERS,
    ink=3,
    second=3,
    opacity=1,
    fill=1,
    repeats=1,
    edge=1,
)
FILLS = ("solid", "outline", "stripes", "text", "gradient")
# `inverse` maps a place in the picture to a place in the texture, (2, 3) row by row.
PATCH = Columns(present=1, centre=2, inverse=4, texture=1, texture_inverse=6, lod=1, opacity=1)
BACKGROUND = Columns(
    first=3, second=3, direction=3, radial=3,
    texture=1, inverse=6, lod=1, blend=1, matrix=12,
    grain_texture=1, grain_inverse=6, grain_lod=1, grain=1,
    shapes=NUM_SHAPES * SHAPE.width, patches=NUM_PATCHES * PATCH.width,
    brightness=1, contrast=1, vignette=1, blur=1, noise=1, jpeg=1, jpeg_chroma=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Textures:
    """Which textures a background may take: rows of the texture pyramid (photos first, then tiles)."""

    photos: tuple[int, ...]
    tiles: tuple[int, ...]


def sample_background(
    rng: np.random.Generator, kind: str, textures: Textures, *, avoid: FloatArray, distractors: bool, degrade: bool
) -> FloatArray:
    """(BACKGROUND.width,). `avoid` (n, 3): colours of the things, from which a plain background keeps away."""
    values = np.zeros(BACKGROUND.width, np.float32)
    values[BACKGROUND["matrix"]] = _IDENTITY
    values[BACKGROUND["contrast"]] = 1
    _paint_base(rng, values, avoid)
    if kind == "plain":
        _texture_plain(rng, values, textures)
    else:
        _texture_busy(rng, values, textures, kind)
    if distractors and kind != "plain":
        _add_distractors(rng, values, textures, kind)
    if degrade:
        _degrade(rng, values)
    return values


_IDENTITY = np.eye(3, 4, dtype=np.float32).ravel()


def _paint_base(rng: np.random.Generator, values: FloatArray, avoid: FloatArray) -> None:
    """Two colours and how they blend into one another; the same colour twice is a flat background."""
    chance = rng.random()
    if chance < 0.2:
        first = second = np.full(3, 1.0 if chance < 0.14 else rng.uniform(0.93, 1), np.float32)
    else:
        first = _far_colour(rng, avoid)
        second = first if chance < 0.5 else _far_colour(rng, avoid)
    values[BACKGROUND["first"]], values[BACKGROUND["second"]] = first, second
    angle = rng.uniform(0, 2 * math.pi)
    spread = rng.uniform(0.7, 1.3)
    along, across = math.cos(angle) * spread, math.sin(angle) * spread
    values[BACKGROUND["direction"]] = along, across, 0.5 - (along + across) / 2
    if rng.random() < 0.25:
        values[BACKGROUND["radial"]] = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.9, 1.8)


def _far_colour(rng: np.random.Generator, avoid: FloatArray, distance: float = 0.22) -> FloatArray:
    """Any colour, pale ones more often, not close to those of the things. A few tries, then whatever comes."""
    tries = rng.random((6, 3))
    colours = from_hsl(tries[:, 0] * 360, tries[:, 1] ** 1.5, 0.08 + 0.9 * tries[:, 2] ** 0.7)  # (6, 3)
    if not len(avoid):
        return colours[0]
    nearest = np.abs(colours[:, None] - avoid).max(-1).min(-1)  # (6,)
    return colours[int(np.argmax(nearest > distance))]


def _texture_plain(rng: np.random.Generator, values: FloatArray, textures: Textures) -> None:
    """Sometimes a faint tile over the colour, sometimes fine grain, mostly nothing."""
    if rng.random() < 0.3:
        _place_texture(
            rng, values, _pick(rng, textures.tiles), zoom=rng.uniform(0.3, 1.2), angle=rng.uniform(0, 2 * math.pi)
        )
        values[BACKGROUND["blend"]] = rng.uniform(0.06, 0.3)
        values[BACKGROUND["matrix"]] = _colour_matrix(rng, saturation=rng.uniform(0, 1), contrast=1)
    if rng.random() < 0.25:
        _add_grain(rng, values, textures, rng.uniform(0.04, 0.2))


def _texture_busy(rng: np.random.Generator, values: FloatArray, textures: Textures, kind: str) -> None:
    """A photograph, or for clutter also a strong tile or only the colours."""
    chance = 0.0 if kind == "photo" else rng.random()
    if chance > 0.75:
        return
    is_photo = chance < 0.4 and len(textures.photos) > 0
    # Photographs may be small: what is shown enlarged is soft, what is shown shrunk (and mirrored on) is sharp.
    zoom = math.exp(rng.uniform(math.log(0.4), math.log(1.6)))
    turned = rng.random()
    angle = (
        rng.normal(0, 0.05)
        if turned < 0.75
        else round(rng.uniform(0, 4)) * math.pi / 2
        if turned < 0.9
        else rng.uniform(0, 6.3)
    )
    _place_texture(rng, values, _pick(rng, textures.photos if is_photo else textures.tiles), zoom=zoom, angle=angle)
    values[BACKGROUND["blend"]] = 1.0 if rng.random() < 0.8 else rng.uniform(0.5, 1)
    values[BACKGROUND["matrix"]] = _colour_matrix(
        rng, saturation=rng.uniform(0.3, 1.35), contrast=rng.uniform(0.6, 1.15)
    )
    if rng.random() < 0.25:
        values[BACKGROUND["lod"]] += rng.uniform(0.5, 2.5)
    if rng.random() < 0.15:
        _add_grain(rng, values, textures, rng.uniform(0.05, 0.2))


def _pick(rng: np.random.Generator, rows: tuple[int, ...]) -> int:
    return rows[int(rng.integers(len(rows)))]


def _add_grain(rng: np.random.Generator, values: FloatArray, textures: Textures, amount: float) -> None:
    inverse, lod = _texture_view(rng, rng.uniform(0.5, 2.5), rng.uniform(0, 6.3))
    values[BACKGROUND["grain_texture"]] = _pick(rng, textures.tiles)
    values[BACKGROUND["grain_inverse"]] = inverse
    values[BACKGROUND["grain_lod"]] = lod
    values[BACKGROUND["grain"]] = amount


def _place_texture(rng: np.random.Generator, values: FloatArray, texture: int, *, zoom: float, angle: float) -> None:
    inverse, lod = _texture_view(rng, zoom, angle)
    values[BACKGROUND["texture"]] = texture
    values[BACKGROUND["inverse"]] = inverse
    values[BACKGROUND["lod"]] = lod


def _texture_view(rng: np.random.Generator, zoom: float, angle: float) -> tuple[list[float], float]:
    """Picture -> texture (2, 3) showing a `zoom` part of the texture, and its level for a picture one pixel large."""
    squash = math.exp(rng.uniform(-0.35, 0.35))
    wide, high = zoom * squash, zoom / squash
    if rng.random() < 0.5:
        wide = -wide
    cos, sin = math.cos(angle), math.sin(angle)
    a, b, c, d = wide * cos, -wide * sin, high * sin, high * cos
    # The crop stays inside the texture where it can; past its edge the texture goes on mirrored.
    room_x, room_y = max(0.0, 1 - abs(wide)), max(0.0, 1 - high)
    x, y = 0.5 + (rng.random() - 0.5) * room_x, 0.5 + (rng.random() - 0.5) * room_y
    return [a, b, x - (a + b) / 2, c, d, y - (c + d) / 2], math.log2(TEXTURE_SIDE * zoom)


def _colour_matrix(rng: np.random.Generator, *, saturation: float, contrast: float) -> FloatArray:
    """(12,): (3, 4) row by row; saturation and contrast as given, a random cast and brightness."""
    core = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMINANCE
    gain = rng.uniform(0.85, 1.12, 3) * rng.uniform(0.75, 1.1) * contrast
    bias = np.full((3, 1), (1 - contrast) * rng.uniform(0.35, 0.75), np.float32)
    return np.concatenate([core * gain[:, None], bias], 1).ravel()


def _add_distractors(rng: np.random.Generator, values: FloatArray, textures: Textures, kind: str) -> None:
    if kind == "clutter":
        num_shapes, num_patches = int(rng.integers(2, NUM_SHAPES + 1)), int(rng.integers(0, NUM_PATCHES + 1))
    else:
        num_shapes, num_patches = max(0, int(rng.integers(-6, 4))), int(rng.random() < 0.1)
    if num_shapes:
        values[BACKGROUND["shapes"]] = _sample_shapes(rng, num_shapes).ravel()
    for i in range(num_patches):
        start = BACKGROUND.start("patches") + i * PATCH.width
        values[start : start + PATCH.width] = _sample_patch(rng, textures)


def _sample_shapes(rng: np.random.Generator, count: int) -> FloatArray:
    """(NUM_SHAPES, SHAPE.width), the first `count` of them present."""
    draw = rng.random((NUM_SHAPES, 16))
    shapes = np.zeros((NUM_SHAPES, SHAPE.width), np.float32)
    shapes[:count, SHAPE["present"]] = 1
    shapes[:, SHAPE["centre"]] = draw[:, 0:2] * 1.1 - 0.05
    form = draw[:, 2]  # < .2 rectangle, < .35 text, < .5 ellipse, < .75 polygon, else line
    half_x = 0.03 * np.exp(draw[:, 3] * 2.2)  # 0.03 .. 0.27
    half_y = half_x * np.exp((draw[:, 4] - 0.5) * 2)
    is_line, is_text, is_ellipse = form >= 0.75, (form >= 0.2) & (form < 0.35), (form >= 0.35) & (form < 0.5)
    # A disc could be read as a ball or a moon: ellipses are long or cut by nothing but their own outline.
    half_y = np.where(is_ellipse, half_x * (0.3 + 0.3 * draw[:, 4]), half_y)
    half_x = np.where(is_line, 0.1 + 0.6 * draw[:, 3], half_x)
    half_y = np.where(is_line, 0.002 + 0.012 * draw[:, 4], half_y)
    turn = np.where(is_text & (draw[:, 5] < 0.7), 0, (draw[:, 5] - 0.5) * 2 * math.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    shapes[:, SHAPE["inverse"]] = np.stack([cos / half_x, sin / half_x, -sin / half_y, cos / half_y], 1)
    shapes[:, SHAPE["is_ellipse"]] = is_ellipse
    is_polygon = (form >= 0.5) & (form < 0.75)
    shapes[:, SHAPE["normals"]] = _normals(rng, is_polygon)
    colours = from_hsl(draw[:, 6:8] * 360, draw[:, 8:10], 0.08 + 0.86 * draw[:, 10:12])  # (NUM_SHAPES, 2, 3)
    shapes[:, SHAPE["ink"]], shapes[:, SHAPE["second"]] = colours[:, 0], colours[:, 1]
    shapes[:, SHAPE["opacity"]] = np.where(draw[:, 12] < 0.7, 1, 0.3 + 0.6 * draw[:, 13])
    fill = np.array((0, 0, 1, 2, 4))[(draw[:, 14] * 5).astype(int)]
    shapes[:, SHAPE["fill"]] = np.where(is_text, 3, np.where(is_line, 0, fill))
    shapes[:, SHAPE["repeats"]] = 2 + np.floor(draw[:, 15] * 6)
    shapes[:, SHAPE["edge"]] = np.minimum(half_x, half_y)
    return shapes


def _normals(rng: np.random.Generator, is_polygon: npt.NDArray[np.bool_]) -> FloatArray:
    """(n, 2 CORNERS): outward normals of the half-planes; four right angles unless it is a polygon."""
    spread = (np.arange(CORNERS) + rng.uniform(-0.35, 0.35, (len(is_polygon), CORNERS))) * (2 * math.pi / CORNERS)
    # Where two normals agree the polygon has a corner less.
    spread[:, 4] = np.where(rng.random(len(is_polygon)) < 0.5, spread[:, 3], spread[:, 4])
    square = np.array([0, 0.5, 1, 1.5, 0]) * math.pi
    angles = np.where(is_polygon[:, None], spread, square)
    return np.stack([np.cos(angles), np.sin(angles)], -1).reshape(len(is_polygon), -1).astype(np.float32)


def _sample_patch(rng: np.random.Generator, textures: Textures) -> FloatArray:
    """A rectangle cut from a photograph or tile, pasted with hard edges."""
    patch = np.zeros(PATCH.width, np.float32)
    half_x, half_y = rng.uniform(0.04, 0.2), rng.uniform(0.04, 0.2)
    turn = 0.0 if rng.random() < 0.7 else rng.normal(0, 0.3)
    cos, sin = math.cos(turn), math.sin(turn)
    rows = textures.photos if textures.photos and rng.random() < 0.7 else textures.tiles
    inverse, lod = _texture_view(rng, rng.uniform(0.3, 1.2), turn)
    patch[PATCH["present"]] = 1
    patch[PATCH["centre"]] = rng.random(2)
    patch[PATCH["inverse"]] = cos / half_x, sin / half_x, -sin / half_y, cos / half_y
    patch[PATCH["texture"]] = _pick(rng, rows)
    patch[PATCH["texture_inverse"]] = inverse
    patch[PATCH["lod"]] = lod
    patch[PATCH["opacity"]] = 1 if rng.random() < 0.8 else rng.uniform(0.4, 1)
    return patch


def _degrade(rng: np.random.Generator, values: FloatArray) -> None:
    """What cameras, screens and files do to a picture. Each by its own chance; a third of the pictures get nothing."""
    if rng.random() < 0.33:
        return
    chance = rng.random(6)
    if chance[0] < 0.5:
        values[BACKGROUND["brightness"]] = rng.uniform(-0.1, 0.1)
        values[BACKGROUND["contrast"]] = rng.uniform(0.7, 1.15)
    if chance[1] < 0.15:
        values[BACKGROUND["vignette"]] = rng.uniform(0.1, 0.5)
    if chance[2] < 0.3:
        values[BACKGROUND["blur"]] = rng.uniform(0.3, 1.2)
    if chance[3] < 0.55:
        values[BACKGROUND["noise"]] = 0.005 + 0.055 * rng.random() ** 2
    if chance[4] < 0.38:
        values[BACKGROUND["jpeg"]] = math.exp(rng.uniform(math.log(0.3), math.log(3.0)))
        values[BACKGROUND["jpeg_chroma"]] = chance[5] < 0.6
