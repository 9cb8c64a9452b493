"""Draws sampled scenes as batches of pictures on a CPU or a GPU.

Owns: how the numbers of `scenes.LAYER` and `backgrounds.BACKGROUND` become pixels, and which thing owns which patch.
Does not know: nouns, texts, how scenes are sampled. Units: pixels 0..255 in the result, colours 0..1 inside.
Everything is arithmetic on (B, S, S) planes and reads from pyramids: on a GPU a few compiled kernels draw a
whole batch; on a CPU pictures are drawn one by one, each thing only where it lies. Same numbers, same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.backgrounds import (
    BACKGROUND,
    CORNERS,
    FILLS,
    NUM_PATCHES,
    NUM_SHAPES,
    NUM_TILES,
    PATCH,
    SHAPE,
    TEXTURE_SIDE,
    Textures,
    make_tiles,
)
from training.bank import Bank, Photos
from training.colours import LUMINANCE_WEIGHTS
from training.columns import Columns
from training.picture import degrade
from training.pyramid import Pyramid, read, read_level
from training.scenes import LAYER

PATCH_PX = 14
HALO_REACH = 0.25  # of the sprite's square: how far a shadow or outline may reach beyond it
Planes = tuple[Tensor, Tensor, Tensor]  # red, green, blue, each (B, H, W)
SHAPES_AT_ONCE = 2  # more in one kernel take longer to compile than they save


def textures_of(photos: Photos, split: str) -> Textures:
    """Which rows of the renderer's textures a split may use. Tiles are random anyway and belong to both."""
    first = len(photos.rgb)
    return Textures(photos.ids(split), tuple(range(first, first + NUM_TILES)))


class Renderer:
    """Holds sprites and textures on a device; `render` is a pure function of its arguments."""

    def __init__(
        self,
        bank: Bank,
        photos: Photos,
        device: torch.device | str = "cpu",
        size: int = 224,
        *,
        compiled: bool | None = None,
    ) -> None:
        self.device, self.size = torch.device(device), size
        self._sprites = Pyramid.build(bank.rgba, self.device)
        self._textures = Pyramid.build(_texture_pictures(photos), self.device)
        places = (torch.arange(size, device=self.device) + 0.5) / size
        self._u, self._v = places[None, None, :], places[None, :, None]  # (1, 1, S), (1, S, 1)
        is_compiled = self.device.type == "cuda" if compiled is None else compiled
        wrap: Callable = torch.compile if is_compiled else _as_it_is
        self._base, self._shapes, self._patch = wrap(draw_base), wrap(draw_shapes), wrap(draw_patch)
        self._layer, self._degrade = wrap(draw_layer), wrap(degrade)

    @torch.no_grad()
    def render(self, layers: Tensor, backgrounds: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """(B, K, LAYER.width), (B, BACKGROUND.width) -> pictures uint8 (B, 3, S, S), owners int8 (B, S/14, S/14).

        An owner is the index of the topmost thing that covers the patch's middle by more than half, -1 for none.
        """
        layers, backgrounds = self._fitted(layers.to(self.device), backgrounds.to(self.device))
        if self.device.type == "cpu":
            drawn = [self._draw_one(layers[i : i + 1], backgrounds[i : i + 1]) for i in range(len(layers))]
            planes = tuple(torch.cat(channel) for channel in zip(*drawn, strict=True))
        else:
            planes = self._draw_batch(layers, backgrounds)
        generator = torch.Generator(self.device).manual_seed(seed)
        noise = torch.randn((len(layers), 3, self.size, self.size), generator=generator, device=self.device)
        pictures = self._degrade(torch.stack(planes, 1), backgrounds, noise)
        return pictures, self._owners(layers)

    def _fitted(self, layers: Tensor, backgrounds: Tensor) -> tuple[Tensor, Tensor]:
        """Copies whose pyramid levels and edges, given for a picture one pixel large, are those for our size."""
        layers, backgrounds = layers.clone(), backgrounds.clone()
        finer = math.log2(self.size)
        layers[..., LAYER["lod"]] -= finer
        for name in ("lod", "grain_lod"):
            backgrounds[:, BACKGROUND[name]] -= finer
        _patches_of(backgrounds)[..., PATCH["lod"]] -= finer
        _shapes_of(backgrounds)[..., SHAPE["edge"]] *= self.size
        return layers, backgrounds

    def _draw_batch(self, layers: Tensor, backgrounds: Tensor) -> Planes:
        """All pictures at once, every slot whether used or not, so that shapes never change."""
        planes = self._base(self._textures, backgrounds, self._u, self._v)
        shapes, patches = _shapes_of(backgrounds), _patches_of(backgrounds)
        for start in range(0, NUM_SHAPES, SHAPES_AT_ONCE):
            planes = self._shapes(planes, shapes[:, start : start + SHAPES_AT_ONCE], self._u, self._v)
        for i in range(NUM_PATCHES):
            planes = self._patch(planes, self._textures, patches[:, i], self._u, self._v)
        for k in range(layers.shape[1]):
            planes = self._layer(planes, self._sprites, layers[:, k], self._u, self._v)
        return planes

    def _draw_one(self, layers: Tensor, background: Tensor) -> Planes:
        """One picture, only what is there, each thing only inside its own window."""
        planes = self._base(self._textures, background, self._u, self._v)
        shapes, patches = _shapes_of(background), _patches_of(background)
        for i in range(NUM_SHAPES):
            if shapes[0, i, SHAPE["present"]] > 0:
                planes = self._shapes(planes, shapes[:, i : i + 1], self._u, self._v)
        for i in range(NUM_PATCHES):
            if patches[0, i, PATCH["present"]] > 0:
                planes = self._patch(planes, self._textures, patches[:, i], self._u, self._v)
        for k in range(layers.shape[1]):
            if layers[0, k, LAYER["present"]] > 0:
                self._draw_in_window(planes, layers[:, k])
        return planes

    def _draw_in_window(self, planes: Planes, layer: Tensor) -> None:
        rows, columns = _window(layer[0, LAYER["inverse"]], self.size)
        inside = tuple(plane[:, rows, columns] for plane in planes)
        drawn = self._layer(inside, self._sprites, layer, self._u[..., columns], self._v[:, rows])
        for plane, part in zip(planes, drawn, strict=True):
            plane[:, rows, columns] = part

    def _owners(self, layers: Tensor) -> Tensor:
        """(B, S/14, S/14) int8. Reads each sprite's alpha coarsely, about the middle half of a patch at once."""
        num = self.size // PATCH_PX
        middles = (torch.arange(num, device=self.device) + 0.5) * PATCH_PX / self.size
        owners = torch.full((len(layers), num, num), -1, dtype=torch.int8, device=self.device)
        for k in range(layers.shape[1]):
            layer = layers[:, k]
            x, y = _mapped(layer[:, LAYER["inverse"]], middles[None, None, :], middles[None, :, None])
            lod = _plane(layer[:, LAYER["lod"]]) + 1.6
            alpha = read(self._sprites, _plane(layer[:, LAYER["sprite"]]), lod, x, y, mirror=False)[3]
            covers = (alpha > 127.5) & (_plane(layer[:, LAYER["present"]]) > 0)
            owners = torch.where(covers, torch.full_like(owners, k), owners)
        return owners


def _as_it_is(function: Callable) -> Callable:
    return function


def _texture_pictures(photos: Photos) -> np.ndarray:
    """(photos + tiles, TEXTURE_SIDE, TEXTURE_SIDE, 4): photos squeezed to squares, then tiles; all opaque."""
    side = (TEXTURE_SIDE, TEXTURE_SIDE)
    squares = [np.asarray(Image.fromarray(rgb).resize(side, Image.Resampling.LANCZOS)) for rgb in photos.rgb]
    rgb = np.concatenate([np.stack(squares), make_tiles()]) if squares else make_tiles()
    return np.concatenate([rgb, np.full((*rgb.shape[:3], 1), 255, np.uint8)], 3)


def _shapes_of(backgrounds: Tensor) -> Tensor:
    return backgrounds[:, BACKGROUND["shapes"]].view(len(backgrounds), NUM_SHAPES, SHAPE.width)


def _patches_of(backgrounds: Tensor) -> Tensor:
    return backgrounds[:, BACKGROUND["patches"]].view(len(backgrounds), NUM_PATCHES, PATCH.width)


def _window(inverse: Tensor, size: int) -> tuple[slice, slice]:
    """Rows and columns of the picture that a sprite's square, with its halo, may touch."""
    a, b, c, d, e, f = inverse.double().tolist()
    det = a * e - b * d
    low, high = -HALO_REACH, 1 + HALO_REACH
    corners = [(x - c, y - f) for x in (low, high) for y in (low, high)]
    xs = [(e * x - b * y) / det * size for x, y in corners]
    ys = [(a * y - d * x) / det * size for x, y in corners]
    return _pixels(ys, size), _pixels(xs, size)


def _pixels(values: list[float], size: int) -> slice:
    return slice(max(0, math.floor(min(values))), max(0, min(size, math.ceil(max(values)))))


def _plane(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1)."""
    return values[:, None, None]


def _mapped(inverse: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Picture places (1, 1, W), (1, H, 1) through (B, 6) -> x, y (B, H, W)."""
    a, b, c, d, e, f = (_plane(inverse[:, i]) for i in range(6))
    return a * u + b * v + c, d * u + e * v + f


def _recoloured(matrix: Tensor, red: Tensor, green: Tensor, blue: Tensor) -> list[Tensor]:
    """(B, 12) as (3, 4) on three planes."""
    m = [_plane(matrix[:, i]) for i in range(12)]
    return [m[i] * red + m[i + 1] * green + m[i + 2] * blue + m[i + 3] for i in (0, 4, 8)]


def _over(planes: Planes, colours: list[Tensor], alpha: Tensor) -> Planes:
    red, green, blue = (under + (colour - under) * alpha for under, colour in zip(planes, colours, strict=True))
    return red, green, blue


def draw_base(textures: Pyramid, p: Tensor, u: Tensor, v: Tensor) -> Planes:
    """The two colours, the texture over them, the grain."""
    along, across, offset = (_plane(p[:, BACKGROUND.start("direction") + i]) for i in range(3))
    centre_x, centre_y, spread = (_plane(p[:, BACKGROUND.start("radial") + i]) for i in range(3))
    ray = ((u - centre_x) ** 2 + (v - centre_y) ** 2).sqrt() * spread
    mix = torch.where(spread > 0, ray, along * u + across * v + offset).clamp(0, 1)
    first, second = BACKGROUND.start("first"), BACKGROUND.start("second")
    planes = tuple(_plane(p[:, first + i]) * (1 - mix) + _plane(p[:, second + i]) * mix for i in range(3))
    seen = _texture(textures, p, "texture", "inverse", "lod", u, v)
    colours = _recoloured(p[:, BACKGROUND["matrix"]], *seen)
    red, green, blue = _over(planes, colours, _plane(p[:, BACKGROUND["blend"]]))
    grain = _texture(textures, p, "grain_texture", "grain_inverse", "grain_lod", u, v)
    amount = _plane(p[:, BACKGROUND["grain"]])
    red, green, blue = (
        (under + amount * (value - 0.5)).clamp(0, 1) for under, value in zip((red, green, blue), grain, strict=True)
    )
    return red, green, blue


def _texture(textures: Pyramid, p: Tensor, row: str, inverse: str, lod: str, u: Tensor, v: Tensor) -> list[Tensor]:
    """Red, green, blue 0..1 of a background's texture as seen in the picture."""
    x, y = _mapped(p[:, BACKGROUND[inverse]], u, v)
    place, level = _plane(p[:, BACKGROUND[row]]), _plane(p[:, BACKGROUND[lod]])
    return [c / 255 for c in read(textures, place, level, x, y, mirror=True)[:3]]


def draw_shapes(planes: Planes, shapes: Tensor, u: Tensor, v: Tensor) -> Planes:
    """Abstract shapes one over the other. `shapes` (B, n, SHAPE.width)."""
    for i in range(shapes.shape[1]):
        p = shapes[:, i]
        x, y = _local(p, SHAPE, u, v)
        distance = (
            torch.where(_plane(p[:, SHAPE["is_ellipse"]]) > 0, (x * x + y * y + 1e-9).sqrt(), _polygon(p, x, y)) - 1
        )
        # Local distance times the smaller half side is about the distance in the picture: an edge one pixel wide.
        cover = (0.5 - distance * _plane(p[:, SHAPE["edge"]])).clamp(0, 1)
        second, kept = _filling(p, x, y, distance)
        alpha = cover * kept * _plane(p[:, SHAPE["opacity"]] * p[:, SHAPE["present"]])
        ink, other = SHAPE.start("ink"), SHAPE.start("second")
        colours = [_plane(p[:, ink + c]) * (1 - second) + _plane(p[:, other + c]) * second for c in range(3)]
        planes = _over(planes, colours, alpha)
    return planes


def _local(p: Tensor, columns: Columns, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Places in a shape's own frame, where it reaches from -1 to 1."""
    start = columns.start("centre")
    right, down = u - _plane(p[:, start]), v - _plane(p[:, start + 1])
    turn = columns.start("inverse")
    a, b, c, d = (_plane(p[:, turn + i]) for i in range(4))
    return a * right + b * down, c * right + d * down


def _polygon(p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """1 on the border of the convex polygon."""
    start = SHAPE.start("normals")
    sides = [_plane(p[:, start + 2 * i]) * x + _plane(p[:, start + 2 * i + 1]) * y for i in range(CORNERS)]
    furthest = sides[0]
    for side in sides[1:]:
        furthest = torch.maximum(furthest, side)
    return furthest


def _filling(p: Tensor, x: Tensor, y: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the second colour, and how much of the shape is there at all."""
    fill, repeats = _plane(p[:, SHAPE["fill"]]), _plane(p[:, SHAPE["repeats"]])
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
    at_x, at_y = _mapped(p[:, PATCH["texture_inverse"]], u, v)
    place, level = _plane(p[:, PATCH["texture"]]), _plane(p[:, PATCH["lod"]])
    seen = read(textures, place, level, at_x, at_y, mirror=True)[:3]
    return _over(planes, [c / 255 for c in seen], inside * _plane(p[:, PATCH["opacity"]] * p[:, PATCH["present"]]))


def draw_layer(planes: Planes, sprites: Pyramid, p: Tensor, u: Tensor, v: Tensor) -> Planes:
    """One thing per picture over what is there, its halo first. `p` (B, LAYER.width)."""
    x, y = _mapped(p[:, LAYER["inverse"]], u, v)
    present = _plane(p[:, LAYER["present"]])
    planes = _with_halo(planes, sprites, p, x, y, present)
    lod, sharpen = _plane(p[:, LAYER["lod"]]), _plane(p[:, LAYER["sharpen"]])
    red, green, blue, alpha = read(sprites, _plane(p[:, LAYER["sprite"]]), lod, x, y, mirror=False, sharpen=sharpen)
    alpha = alpha.clamp(0, 255)
    plain = [(c / alpha.clamp(min=1)).clamp(0, 1) for c in (red, green, blue)]
    return _over(planes, _painted(p, _toned(p, plain)), alpha / 255 * present)


def _with_halo(planes: Planes, sprites: Pyramid, p: Tensor, x: Tensor, y: Tensor, present: Tensor) -> Planes:
    """A soft shadow or a hard outline: the sprite's own blurred alpha, moved, stretched and filled with one gray."""
    right, down = (_plane(p[:, LAYER.start("halo_offset") + i]) for i in range(2))
    level = _plane(p[:, LAYER["halo_lod"]]).clamp(0, sprites.top).int()
    alpha = read_level(sprites, _plane(p[:, LAYER["sprite"]]), level, x - right, y - down, mirror=False)[3] / 255
    cover = (alpha * _plane(p[:, LAYER["halo_gain"]]) + _plane(p[:, LAYER["halo_bias"]])).clamp(0, 1)
    light = _plane(p[:, LAYER["halo_light"]])
    return _over(planes, [light, light, light], cover * _plane(p[:, LAYER["halo"]]) * present)


def _toned(p: Tensor, colours: list[Tensor]) -> list[Tensor]:
    """Colour matrix, few tones, gamma."""
    levels, gamma = _plane(p[:, LAYER["levels"]]), _plane(p[:, LAYER["gamma"]])
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
    light = light * _plane(p[:, LAYER["light_gain"]]) + _plane(p[:, LAYER["light_bias"]])
    light = torch.minimum(torch.maximum(light, _plane(p[:, LAYER["light_low"]])), _plane(p[:, LAYER["light_high"]]))
    chroma = _plane(p[:, LAYER["saturation"]]) * (1 - (2 * light - 1).abs())
    is_painted = _plane(p[:, LAYER["painted"]]) > 0
    hue = LAYER.start("hue")
    return [torch.where(is_painted, light + chroma * _plane(p[:, hue + i]), value) for i, value in enumerate(colours)]
