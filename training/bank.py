"""The sprites and photos that scenes are made of, as arrays, with what the sampler needs to know of each sprite.

Owns: reading `cache/sprites.npz` and `cache/photos.npz`, and small synthetic ones for tests and smoke runs.
Does not know: where sprites come from, scenes, tensors. Units: pixels 0..255 with straight alpha, hull points -1..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from training.colours import COLOURS, LUMINANCE, from_hsl, name_colours
from training.nouns import Noun, load_nouns
from training.sprites import SIDE, hull_of

ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

CACHE = Path(__file__).resolve().parent / "cache"
# Mirrored letters and digits are seldom met, and look wrong.
HAVE_TEXT = frozenset((
    "alarm clock", "ambulance", "banknote", "book", "bus", "calendar", "clipboard", "compass", "credit card", "die",
    "keyboard", "map", "money bag", "musical note", "newspaper", "police car", "ruler", "scale", "stop sign",
    "taxi", "ticket", "watch", "billiard ball", "hospital", "floppy disk", "globe", "medal", "trophy", "yo-yo",
))  # fmt: skip
# Above this share of a sprite in a colour, the sprite is of that colour already.
ALREADY_SHARE = 0.3
COLOURLESS_CHROMA = 0.02


@dataclass(frozen=True, slots=True)
class Bank:
    """All sprites, one row each, and what is derived from them once."""

    rgba: ByteArray  # (N, SIDE, SIDE, 4)
    hull: FloatArray  # (N, 48, 2)
    style: IntArray  # (N,)
    noun: IntArray  # (N,)
    styles: tuple[str, ...]
    split: tuple[str, ...]  # one per style, "train" or "test"
    nouns: tuple[Noun, ...]
    table: IntArray  # (styles, nouns) -> row, -1 where the style lacks the noun
    natural: IntArray  # (nouns,) index into COLOURS of the natural colour, -1 none, -2 a colour that is no paint
    has_text: npt.NDArray[np.bool_]  # (nouns,)
    paintable: npt.NDArray[np.bool_]  # (N, colours): painting the sprite so changes what one would call it
    colourless: npt.NDArray[np.bool_]  # (styles,): drawn without colour, so natural colours cannot be seen
    luminance: FloatArray  # (N, 2) mean and deviation
    mean: FloatArray  # (N, 3) mean colour, 0..1

    @classmethod
    def load(cls, path: Path = CACHE / "sprites.npz") -> Bank:
        """The bank that `python -m training.sprites` wrote."""
        with np.load(path, allow_pickle=False) as file:
            styles, split = (tuple(str(text) for text in file[key]) for key in ("styles", "split"))
            return cls.of(file["rgba"], file["hull"], file["style"], file["noun"], styles, split, load_nouns())

    @classmethod
    def of(
        cls,
        rgba: ByteArray,
        hull: FloatArray,
        style: npt.NDArray[np.integer],
        noun: npt.NDArray[np.integer],
        styles: Sequence[str],
        split: Sequence[str],
        nouns: Sequence[Noun],
    ) -> Bank:
        """A bank with everything derived worked out."""
        style, noun = np.asarray(style, np.int64), np.asarray(noun, np.int64)
        table = np.full((len(styles), len(nouns)), -1, np.int64)
        table[style, noun] = np.arange(len(noun))
        natural = np.array([_natural(entry.colour) for entry in nouns], np.int64)
        looks = [_look(sprite) for sprite in rgba]
        luminance = np.array([look[0] for look in looks], np.float32)
        mean = np.array([look[1] for look in looks], np.float32)
        shares = np.array([look[2] for look in looks], np.float32)  # (N, colours)
        chroma = np.array([look[3] for look in looks], np.float32)
        paintable = (shares < ALREADY_SHARE) & (np.arange(len(COLOURS)) != natural[noun][:, None])
        colourless = np.array(
            [bool(chroma[style == i].sum() < COLOURLESS_CHROMA * (style == i).sum()) for i in range(len(styles))]
        )
        has_text = np.array([entry.name in HAVE_TEXT for entry in nouns])
        return cls(
            rgba,
            np.asarray(hull, np.float32),
            style,
            noun,
            tuple(styles),
            tuple(split),
            tuple(nouns),
            table,
            natural,
            has_text,
            paintable,
            colourless,
            luminance,
            mean,
        )

    @classmethod
    def synthetic(cls, nouns: int = 6, styles: int = 2) -> Bank:
        """Coloured shapes in place of emoji, for tests and smoke runs: nothing to download."""
        entries = _SHAPES[:nouns]
        rgba = np.stack([_drawn(i, s) for s in range(styles) for i in range(len(entries))])
        return cls.of(
            rgba,
            np.stack([hull_of(sprite) for sprite in rgba]),
            np.repeat(np.arange(styles), len(entries)),
            np.tile(np.arange(len(entries)), styles),
            [f"shapes-{s}" for s in range(styles)],
            ["train"] * styles,
            entries,
        )

    def style_ids(self, split: str) -> tuple[int, ...]:
        """The styles of a split that have any drawing."""
        return tuple(i for i, of in enumerate(self.split) if of == split and (self.style == i).any())


def _natural(colour: str) -> int:
    return -1 if not colour else COLOURS.index(colour) if colour in COLOURS else -2


def _look(sprite: ByteArray) -> tuple[tuple[float, float], FloatArray, FloatArray, float]:
    """Luminance (mean, deviation), mean colour, share of the visible area in each named colour, mean chroma."""
    small = sprite[1::3, 1::3].reshape(-1, 4).astype(np.float32) / 255
    visible = small[small[:, 3] > 0.5]
    rgb = visible[:, :3] if len(visible) else small[:, :3]
    light = rgb @ LUMINANCE
    named = name_colours(rgb)
    shares = np.bincount(named[named >= 0], minlength=len(COLOURS)) / len(rgb)
    chroma = float((rgb.max(-1) - rgb.min(-1)).mean())
    return (float(light.mean()), float(light.std())), rgb.mean(0), shares.astype(np.float32), chroma


@dataclass(frozen=True, slots=True)
class Photos:
    """Photographs for backgrounds, of any sizes, with a split each."""

    rgb: tuple[ByteArray, ...]  # (H, W, 3) each
    names: tuple[str, ...]
    split: tuple[str, ...]

    @classmethod
    def load(cls, path: Path = CACHE / "photos.npz") -> Photos:
        """The photographs that were fetched; see `load_pictures` for the file's form."""
        with np.load(path, allow_pickle=False) as file:
            names, split = (tuple(str(text) for text in file[key]) for key in ("names", "split"))
            return cls(tuple(file[f"photo{i}"] for i in range(len(names))), names, split)

    @classmethod
    def synthetic(cls, count: int = 4) -> Photos:
        """Blurred noise in place of photographs, two thirds for training."""
        rng = np.random.default_rng(5)
        rgb = []
        for _ in range(count):
            noise = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
            rgb.append(np.asarray(noise.resize((320, 240), Image.Resampling.BICUBIC)))
        split = ["test" if i % 3 == 2 else "train" for i in range(count)]
        return cls(tuple(rgb), tuple(f"noise-{i}" for i in range(count)), tuple(split))

    def ids(self, split: str) -> tuple[int, ...]:
        """The photos of a split."""
        return tuple(i for i, of in enumerate(self.split) if of == split)


_SHAPES: tuple[Noun, ...] = (
    Noun("disc", "discs", "25cf", "red", "shape"),
    Noun("square", "squares", "25a0", "blue", "shape"),
    Noun("triangle", "triangles", "25b2", "", "shape"),
    Noun("cross", "crosses", "271a", "green", "shape"),
    Noun("ring", "rings", "25cb", "", "shape"),
    Noun("bar", "bars", "25ac", "", "shape"),
)
_SHAPE_HUES = (0, 225, 180, 130, 40, 280)


def _drawn(index: int, style: int) -> ByteArray:
    """A shape in its colour; each style has its own lightness and rim."""
    side, low, high = SIDE * 2, 4, SIDE * 2 - 5
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    third, two_thirds, middle = side // 3, 2 * side // 3, side // 2
    if index in (0, 4):
        draw.ellipse((low, low, high, high), fill=255)
    if index == 1:
        draw.rectangle((low, low, high, high), fill=255)
    if index == 2:
        draw.polygon([(middle, low), (high, high), (low, high)], fill=255)
    if index == 3:
        draw.rectangle((third, low, two_thirds, high), fill=255)
        draw.rectangle((low, third, high, two_thirds), fill=255)
    if index == 4:
        draw.ellipse((third, third, two_thirds, two_thirds), fill=0)
    if index == 5:
        draw.rectangle((low, third, high, two_thirds), fill=255)
    core = mask.filter(ImageFilter.MinFilter(17))
    light = 0.45 + 0.15 * style
    hue = _SHAPE_HUES[index]
    rim, inner = (tuple(int(255 * v) for v in from_hsl(hue, 0.8, value)) for value in (light - 0.2, light))
    image = Image.composite(Image.new("RGB", mask.size, inner), Image.new("RGB", mask.size, rim), core)
    image.putalpha(mask)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)).copy()
