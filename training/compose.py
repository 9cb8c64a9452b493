"""Draws scenes with Pillow at any size: example pictures, and a test set that owes nothing to the training renderer.

Owns: pasting sprites, Pillow's own backgrounds, the command line and the JSON beside a picture.
Does not know: torch, how the renderer does it. Units: pixels xyxy of the picture drawn, colours 0..255.
Pictures are as a person would make them: drawings on a colour, a gradient or a photograph, or among clutter.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import math
import string
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.backgrounds import Textures
from training.bank import Bank, Photos
from training.colours import COLOURS, LUMINANCE
from training.scenes import KINDS, LAYER, Scene, SceneConfig, sample_scene

FloatArray = npt.NDArray[np.float32]
Size = tuple[int, int]
Colour = tuple[int, int, int]


def compose(
    rng: np.random.Generator,
    bank: Bank,
    photos: Photos,
    scene: Scene,
    layers: FloatArray,
    *,
    size: Size,
    split: str = "test",
) -> Image.Image:
    """The scene's things on a fresh background of its kind, at `size`; photographs come from `split`."""
    picture = draw_background(rng, scene.kind, photos, size, split)
    for layer in layers[: len(scene.things)]:
        draw_thing(picture, bank, layer)
    return picture


def draw_thing(picture: Image.Image, bank: Bank, layer: FloatArray) -> None:
    """Pastes one thing where its layer puts it, painted if it is; other variations of the drawing are left out."""
    sprite = Image.fromarray(_painted(bank.rgba[int(layer[LAYER["sprite"]])], layer))
    forward, offset = _forward(layer, picture.size)
    # Shrink or enlarge along the sprite's own axes first, where the good filter is, then turn at that size.
    wide, high = (max(1, round(float(np.hypot(*forward[:, axis])))) for axis in (0, 1))
    sprite = sprite.resize((wide, high), Image.Resampling.LANCZOS)
    backward = np.linalg.inv(forward)
    backward *= np.array([[wide], [high]])
    shift = -backward @ offset
    turned = sprite.transform(
        picture.size, Image.Transform.AFFINE, (*backward[0], shift[0], *backward[1], shift[1]), Image.Resampling.BICUBIC
    )
    picture.paste(turned, (0, 0), turned)


def _forward(layer: FloatArray, size: Size) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(2, 2) and (2,): the sprite's square, 0..1, to pixels."""
    inverse = layer[LAYER["inverse"]].astype(np.float64).reshape(2, 3)
    scale = np.array(size, np.float64)
    forward = np.linalg.inv(inverse[:, :2])
    return forward * scale[:, None], -(forward @ inverse[:, 2]) * scale


def _painted(sprite: npt.NDArray[np.uint8], layer: FloatArray) -> npt.NDArray[np.uint8]:
    """The sprite in its layer's colour, where it has one."""
    if layer[LAYER["painted"]] <= 0:
        return sprite
    light = sprite[..., :3].astype(np.float32) / 255 @ LUMINANCE
    light = light * layer[LAYER["light_gain"]] + layer[LAYER["light_bias"]]
    light = np.clip(light, layer[LAYER["light_low"]], layer[LAYER["light_high"]])[..., None]
    chroma = layer[LAYER["saturation"]] * (1 - np.abs(2 * light - 1))
    rgb = np.clip(light + chroma * layer[LAYER["hue"]], 0, 1)
    return np.concatenate([(rgb * 255).round().astype(np.uint8), sprite[..., 3:]], 2)


# --- backgrounds


def draw_background(rng: np.random.Generator, kind: str, photos: Photos, size: Size, split: str) -> Image.Image:
    """White, one colour or a gradient; a photograph; or either with clutter on it."""
    rows = photos.ids(split)
    if rows and (kind == "photo" or (kind == "clutter" and rng.random() < 0.4)):
        picture = _photo(rng, photos.rgb[rows[int(rng.integers(len(rows)))]], size)
    else:
        picture = _plain(rng, size)
    if kind == "clutter":
        _draw_clutter(rng, picture)
    return picture


def _colour(rng: np.random.Generator, lightest: float = 1.0) -> Colour:
    rgb = colorsys.hls_to_rgb(rng.random(), rng.uniform(0.1, lightest), rng.random() ** 1.5)
    red, green, blue = (round(255 * value) for value in rgb)
    return red, green, blue


def _plain(rng: np.random.Generator, size: Size) -> Image.Image:
    chance = rng.random()
    if chance < 0.35:
        return Image.new("RGB", size, (255, 255, 255))
    first = Image.new("RGB", size, _colour(rng, 0.97))
    if chance < 0.7:
        return first
    ramp = Image.linear_gradient("L").rotate(90 * int(rng.integers(4))).resize(size)
    return Image.composite(first, Image.new("RGB", size, _colour(rng, 0.97)), ramp)


def _photo(rng: np.random.Generator, rgb: npt.NDArray[np.uint8], size: Size) -> Image.Image:
    """A crop of the picture's own proportions, mirrored half the time."""
    photo = Image.fromarray(rgb)
    part = min(photo.width / size[0], photo.height / size[1]) * rng.uniform(0.5, 1)
    wide, high = size[0] * part, size[1] * part
    left, top = rng.random() * (photo.width - wide), rng.random() * (photo.height - high)
    crop = photo.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + wide, top + high))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _draw_clutter(rng: np.random.Generator, picture: Image.Image) -> None:
    draw = ImageDraw.Draw(picture)
    makers = (_draw_box, _draw_line, _draw_polygon, _draw_ring, _draw_words)
    for _ in range(int(rng.integers(3, 12))):
        makers[int(rng.integers(len(makers)))](rng, draw, picture.size)


def _span(rng: np.random.Generator, size: Size, least: float, most: float) -> tuple[float, float, float, float]:
    """A random box of sides between two parts of the picture's."""
    wide, high = (side * rng.uniform(least, most) for side in size)
    x, y = (rng.uniform(-0.05, 1) * side for side in size)
    return x, y, x + wide, y + high


def _draw_box(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    draw.rectangle(_span(rng, size, 0.04, 0.35), fill=_colour(rng))


def _draw_line(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    ends = [(rng.random() * size[0], rng.random() * size[1]) for _ in range(2)]
    draw.line(ends, fill=_colour(rng), width=max(1, round(min(size) * rng.uniform(0.004, 0.02))))


def _draw_polygon(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    x0, y0, x1, y1 = _span(rng, size, 0.08, 0.3)
    angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
    points = [
        ((x0 + x1) / 2 + math.cos(a) * (x1 - x0) / 2, (y0 + y1) / 2 + math.sin(a) * (y1 - y0) / 2) for a in angles
    ]
    draw.polygon(points, fill=_colour(rng))


def _draw_ring(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    x0, y0, x1, y1 = _span(rng, size, 0.1, 0.3)
    draw.ellipse((x0, y0, x1, y0 + (y1 - y0) * 0.5), outline=_colour(rng), width=max(1, min(size) // 120))


def _draw_words(rng: np.random.Generator, draw: ImageDraw.ImageDraw, size: Size) -> None:
    letters = rng.choice(list(string.ascii_letters + "    "), int(rng.integers(6, 24)))
    font = ImageFont.load_default(size=float(min(size)) * rng.uniform(0.03, 0.08))
    place = (rng.uniform(0, 0.8) * size[0], rng.uniform(0, 0.95) * size[1])
    draw.text(place, "".join(letters), fill=_colour(rng), font=font)


# --- the command


def facts(scene: Scene, bank: Bank, size: Size) -> dict[str, object]:
    """What the picture shows, for the JSON file."""
    things = []
    for thing in scene.things:
        x0, y0, x1, y1 = thing.box
        box = [round(value, 1) for value in (x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1])]
        noun = bank.nouns[thing.noun]
        colour = COLOURS[thing.colour] if thing.colour >= 0 else noun.colour
        things.append({"noun": noun.name, "colour": colour, "style": bank.styles[thing.style], "box": box})
    return {"size": list(size), "background": scene.kind, "things": things}


def compose_scene(
    rng: np.random.Generator, bank: Bank, photos: Photos, config: SceneConfig, *, size: Size, split: str = "test"
) -> tuple[Scene, Image.Image]:
    """Samples and draws; when `config.num_things` is given, samples until that many found room."""
    while True:
        scene, layers, _ = sample_scene(rng, bank, config)
        if config.num_things is None or len(scene.things) == config.num_things:
            return scene, compose(rng, bank, photos, scene, layers, size=size, split=split)


def plain_config(bank: Bank, *, size: Size, things: int | None, kind: str, style: str | None) -> SceneConfig:
    """Drawings as they are, in one style or any that was trained."""
    styles = (bank.styles.index(style),) if style else bank.style_ids("train")
    kinds = tuple(float(kind == each) for each in KINDS)
    # Pillow draws its own backgrounds: the sampled one, and so its textures, are not looked at.
    return SceneConfig(
        styles, Textures((), (0,)), kinds, augment=False, degrade=False, aspect=size[0] / size[1], num_things=things
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw a random scene and write what it shows beside it, as JSON.")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same scene (default 0)")
    parser.add_argument("--things", type=int, help="how many things, 0 to 8 (default: any)")
    parser.add_argument("--size", type=_size, default=(960, 640), help="pixels, WIDTHxHEIGHT (default 960x640)")
    parser.add_argument("--kind", choices=KINDS, default="plain", help="background (default plain)")
    parser.add_argument("--style", help="one style of the bank (default: any that was trained)")
    parser.add_argument("--out", type=Path, required=True, help="picture to write; the JSON goes beside it")
    return parser.parse_args(argv)


def _size(text: str) -> Size:
    wide, _, high = text.partition("x")
    if not (wide.isdigit() and high.isdigit() and int(wide) and int(high)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, such as 960x640, but got {text!r}")
    return int(wide), int(high)


def main(argv: list[str] | None = None, *, bank: Bank | None = None, photos: Photos | None = None) -> None:
    options = parse_args(argv)
    bank, photos = bank or Bank.load(), photos or Photos.load()
    config = plain_config(bank, size=options.size, things=options.things, kind=options.kind, style=options.style)
    scene, picture = compose_scene(np.random.default_rng(options.seed), bank, photos, config, size=options.size)
    picture.save(options.out)
    text = json.dumps(facts(scene, bank, options.size), indent=1)
    options.out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
