"""From parameters to planes of colour: backgrounds, shapes and things, as arithmetic on whole batches.

Owns: what each column of `backgrounds.BACKGROUND` and `layers.LAYER` does to a pixel. Does not know: devices, batches'
origin, nouns. Units: colours 0..1, places fractions of the picture; planes are (B, H, W).
Only pointwise operations and reads from pyramids, nothing that depends on values, so that all of it can be compiled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.backgrounds import BACKGROUND, CORNERS, FILLS, PATCH, SHAPE
from training.colours import LUMINANCE_WEIGHTS
from training.columns import Columns
from training.layers import LAYER
from training.pyramid import Pyramid, read, read_level
from training.waves import bent

Planes = tuple[Tensor, Tensor, Tensor]  # red, green, blue, each (B, H, W)


def plane(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1)."""
    return values[:, None, None]


def mapped(inverse: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Picture places (1, 1, W), (1, H, 1) through (B, 6) -> x, y (B, H, W)."""
    a, b, c, d, e, f = (plane(inverse[:, i]) for i in range(6))
    return a * u + b * v + c, d * u + e * v + f


def _recoloured(matrix: Tensor, red: Tensor, green: Tensor, blue: Tensor) -> list[Tensor]:
    """(B, 12) as (3, 4) on three planes."""
    m = [plane(matrix[:, i]) for i in range(12)]
    return [m[i] * red + m[i + 1] * green + m[i + 2] * blue + m[i + 3] for i in (0, 4, 8)]


def _over(planes: Planes, colours: list[Tensor], alpha: Tensor) -> Planes:
    red, green, blue = (under + (colour - under) * alpha for under, colour in zip(planes, colours, strict=True))
    return red, green, blue


def draw_base(textures: Pyramid, p: Tensor, u: Tensor, v: Tensor) -> Planes:
    """The two colours, the texture over them, the grain."""
    along, across, offset = (plane(p[:, BACKGROUND.start("direction") + i]) for i in range(3))
    centre_x, centre_y, spread = (plane(p[:, BACKGROUND.start("radial") + i]) for i in range(3))
    ray = ((u - centre_x) ** 2 + (v - centre_y) ** 2).sqrt() * spread
    mix = torch.where(spread > 0, ray, along * u + across * v + offset).clamp(0, 1)
    first, second = BACKGROUND.start("first"), BACKGROUND.start("second")
    planes = tuple(plane(p[:, first + i]) * (1 - mix) + plane(p[:, second + i]) * mix for i in range(3))
    seen = _texture(textures, p, "texture", "inverse", "lod", u, v)
    colours = _recoloured(p[:, BACKGROUND["matrix"]], *seen)
    red, green, blue = _over(planes, colours, plane(p[:, BACKGROUND["blend"]]))
    grain = _texture(textures, p, "grain_texture", "grain_inverse", "grain_lod", u, v)
    amount = plane(p[:, BACKGROUND["grain"]])
    red, green, blue = (
        (under + amount * (value - 0.5)).clamp(0, 1) for under, value in zip((red, green, blue), grain, strict=True)
    )
    return red, green, blue


def _texture(textures: Pyramid, p: Tensor, row: str, inverse: str, lod: str, u: Tensor, v: Tensor) -> list[Tensor]:
    """Red, green, blue 0..1 of a background's texture as seen in the picture."""
    x, y = mapped(p[:, BACKGROUND[inverse]], u, v)
    place, level = plane(p[:, BACKGROUND[row]]), plane(p[:, BACKGROUND[lod]])
    return [c / 255 for c in read(textures, place, level, x, y, mirror=True)[:3]]


def draw_shapes(planes: Planes, shapes: Tensor, u: Tensor, v: Tensor) -> Planes:
    """Abstract shapes one over the other. `shapes` (B, n, SHAPE.width)."""
    for i in range(shapes.shape[1]):
        p = shapes[:, i]
        x, y = _local(p, SHAPE, u, v)
        distance = (
            torch.where(plane(p[:, SHAPE["is_ellipse"]]) > 0, (x * x + y * y + 1e-9).sqrt(), _polygon(p, x, y)) - 1
        )
        # Local distance times the smaller half side is about the distance in the picture: an edge one pixel wide.
        cover = (0.5 - distance * plane(p[:, SHAPE["edge"]])).clamp(0, 1)
        second, kept = _filling(p, x, y, distance)
        alpha = cover * kept * plane(p[:, SHAPE["opacity"]] * p[:, SHAPE["present"]])
        ink, other = SHAPE.start("ink"), SHAPE.start("second")
        colours = [plane(p[:, ink + c]) * (1 - second) + plane(p[:, other + c]) * second for c in range(3)]
        planes = _over(planes, colours, alpha)
    return planes


def _local(p: Tensor, columns: Columns, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Places in a shape's own frame, where it reaches from -1 to 1."""
    start = columns.start("centre")
    right, down = u - plane(p[:, start]), v - plane(p[:, start + 1])
    turn = columns.start("inverse")
    a, b, c, d = (plane(p[:, turn + i]) for i in range(4))
    return a * right + b * down, c * right + d * down


def _polygon(p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """1 on the border of the convex polygon."""
    start = SHAPE.start("normals")
    sides = [plane(p[:, start + 2 * i]) * x + plane(p[:, start + 2 * i + 1]) * y for i in range(CORNERS)]
    furthest = sides[0]
    for side in sides[1:]:
        furthest = torch.maximum(furthest, side)
    return furthest


def _filling(p: Tensor, x: Tensor, y: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the second colour, and how much of the shape is there at all."""
    fill, repeats = plane(p[:, SHAPE["fill"]]), plane(p[:, SHAPE["repeats"]])
    stripes = ((x * repeats).remainder(1) < 0.5).float()
    fade = (x * 0.5 + 0.5).clamp(0, 1)
    zero = torch.zeros_like(x)
    second = torch.where(
        fill == FILLS.index("stripes"), stripes, torch.where(fill == FILLS.index("gradient"), fade, zero)
    )
    outline, text = (distance > -0.12).float(), _strokes(x, y, repeats)
    kept = torch.where(
        fill == FILLS.index("outline"), outline, torch.where(fill == FILLS.index("text"), text, zero + 1)
    )
    return second, kept


def _strokes(x: Tensor, y: Tensor, repeats: Tensor) -> Tensor:
    """Lines of small strokes with gaps between words: looks like writing from afar, says nothing."""
    line = (y + 1) * repeats
    letter = (x + 1) * repeats * 4
    row, column = line.floor(), letter.floor()
    inside = (line - row > 0.2) & (line - row < 0.75) & (letter - column > 0.12)
    part = ((line - row) * 6).floor() + 7 * ((letter - column) * 3).floor()
    is_word = _hash(column * 0.37 + row * 3.1) < 0.8
    has_ink = _hash(column * 1.7 + row * 5.3 + part * 0.9) < 0.62
    return (inside & is_word & has_ink).float()


def _hash(value: Tensor) -> Tensor:
    return ((value * 12.9898).sin() * 437.585).remainder(1)


def draw_patch(planes: Planes, textures: Pyramid, p: Tensor, u: Tensor, v: Tensor) -> Planes:
    """A rectangle of some texture. `p` (B, PATCH.width)."""
    x, y = _local(p, PATCH, u, v)
    inside = (torch.maximum(x.abs(), y.abs()) < 1).float()
    at_x, at_y = mapped(p[:, PATCH["texture_inverse"]], u, v)
    place, level = plane(p[:, PATCH["texture"]]), plane(p[:, PATCH["lod"]])
    seen = read(textures, place, level, at_x, at_y, mirror=True)[:3]
    return _over(planes, [c / 255 for c in seen], inside * plane(p[:, PATCH["opacity"]] * p[:, PATCH["present"]]))


def draw_layer(planes: Planes, sprites: Pyramid, p: Tensor, u: Tensor, v: Tensor) -> Planes:
    """One thing per picture over what is there, its halo first. `p` (B, LAYER.width)."""
    x, y = bent(*mapped(p[:, LAYER["inverse"]], u, v), p[:, LAYER["wave"]])
    present = plane(p[:, LAYER["present"]])
    planes = _with_halo(planes, sprites, p, x, y, present)
    lod, sharpen = plane(p[:, LAYER["lod"]]), plane(p[:, LAYER["sharpen"]])
    red, green, blue, alpha = read(sprites, plane(p[:, LAYER["sprite"]]), lod, x, y, mirror=False, sharpen=sharpen)
    alpha = alpha.clamp(0, 255)
    plain = [(c / alpha.clamp(min=1)).clamp(0, 1) for c in (red, green, blue)]
    return _over(planes, _painted(p, _toned(p, plain)), alpha / 255 * present)


def _with_halo(planes: Planes, sprites: Pyramid, p: Tensor, x: Tensor, y: Tensor, present: Tensor) -> Planes:
    """A soft shadow or a hard outline: the sprite's own blurred alpha, moved, stretched and filled with one gray."""
    right, down = (plane(p[:, LAYER.start("halo_offset") + i]) for i in range(2))
    level = plane(p[:, LAYER["halo_lod"]]).clamp(0, sprites.top).int()
    alpha = read_level(sprites, plane(p[:, LAYER["sprite"]]), level, x - right, y - down, mirror=False)[3] / 255
    cover = (alpha * plane(p[:, LAYER["halo_gain"]]) + plane(p[:, LAYER["halo_bias"]])).clamp(0, 1)
    light = plane(p[:, LAYER["halo_light"]])
    return _over(planes, [light, light, light], cover * plane(p[:, LAYER["halo"]]) * present)


def _toned(p: Tensor, colours: list[Tensor]) -> list[Tensor]:
    """Colour matrix, few tones, gamma."""
    levels, gamma = plane(p[:, LAYER["levels"]]), plane(p[:, LAYER["gamma"]])
    steps = (levels - 1).clamp(min=1)
    toned = []
    for value in _recoloured(p[:, LAYER["matrix"]], *colours):
        value = value.clamp(0, 1)
        value = torch.where(levels > 0, (value * steps).round() / steps, value)
        toned.append(value.clamp(min=1e-4) ** gamma)
    return toned


def _painted(p: Tensor, colours: list[Tensor]) -> list[Tensor]:
    """The drawing's light and dark in one hue, where the thing is painted."""
    light = sum(weight * value for weight, value in zip(LUMINANCE_WEIGHTS, colours, strict=True))
    light = light * plane(p[:, LAYER["light_gain"]]) + plane(p[:, LAYER["light_bias"]])
    light = torch.minimum(torch.maximum(light, plane(p[:, LAYER["light_low"]])), plane(p[:, LAYER["light_high"]]))
    chroma = plane(p[:, LAYER["saturation"]]) * (1 - (2 * light - 1).abs())
    is_painted = plane(p[:, LAYER["painted"]]) > 0
    hue = LAYER.start("hue")
    return [torch.where(is_painted, light + chroma * plane(p[:, hue + i]), value) for i, value in enumerate(colours)]
