"""Draws sampled scenes as batches of pictures on a CPU or a GPU.

Owns: the textures and sprites on the device, the order of drawing, and which thing owns which patch.
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

from training.backgrounds import BACKGROUND, NUM_PATCHES, NUM_SHAPES, PATCH, SHAPE, Textures
from training.bank import Bank, Photos
from training.drawing import Planes, draw_base, draw_layer, draw_patch, draw_shapes, mapped, plane
from training.layers import LAYER
from training.picture import degrade
from training.pyramid import Pyramid, read
from training.tiles import NUM_TILES, TEXTURE_SIDE, make_tiles
from training.waves import bent

PATCH_PX = 14
HALO_REACH = 0.25  # of the sprite's square: how far a shadow or outline may reach beyond it
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
        inside = tuple(whole[:, rows, columns] for whole in planes)
        drawn = self._layer(inside, self._sprites, layer, self._u[..., columns], self._v[:, rows])
        for whole, part in zip(planes, drawn, strict=True):
            whole[:, rows, columns] = part

    def _owners(self, layers: Tensor) -> Tensor:
        """(B, S/14, S/14) int8. Reads each sprite's alpha coarsely, about the middle half of a patch at once."""
        num = self.size // PATCH_PX
        middles = (torch.arange(num, device=self.device) + 0.5) * PATCH_PX / self.size
        each = layers.flatten(0, 1)  # (B * K, LAYER.width)
        seen = mapped(each[:, LAYER["inverse"]], middles[None, None, :], middles[None, :, None])
        x, y = bent(*seen, each[:, LAYER["wave"]])
        lod = plane(each[:, LAYER["lod"]]) + 1.6
        alpha = read(self._sprites, plane(each[:, LAYER["sprite"]]), lod, x, y, mirror=False)[3]
        covers = (alpha > 127.5) & (plane(each[:, LAYER["present"]]) > 0)
        order = torch.arange(layers.shape[1], device=self.device, dtype=torch.int8).view(1, -1, 1, 1)
        return torch.where(covers.unflatten(0, layers.shape[:2]), order, -1).amax(1).to(torch.int8)


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
