"""Draws the demo's example pictures into assets/examples, with what they show: ``python -m training.examples``.

Owns the table of scenes and the questions asked about them. The pictures are arranged by hand from the sprite bank,
with none of the training renderer's code; the backgrounds are two colours and a hill, or a photograph.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.bank import Bank, Photos

OUT = Path(__file__).resolve().parents[1] / "assets" / "examples"
SIZE = (960, 640)
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """A thing, the middle of its place and its longest side, in pixels."""

    noun: str
    x: int
    y: int
    side: int


@dataclass(frozen=True, slots=True)
class Example:
    name: str
    style: str
    backdrop: tuple[Colour, Colour, Colour] | str  # sky above, sky below, ground; or a photograph's name
    items: tuple[Item, ...]


EXAMPLES = (
    Example(
        "park",
        "fluent-3d",
        ((126, 186, 232), (222, 240, 250), (121, 178, 96)),
        (
            Item("sun", 820, 110, 150),
            Item("tree", 150, 300, 260),
            Item("cloud", 430, 110, 170),
            Item("dog", 400, 470, 170),
            Item("cat", 600, 500, 130),
            Item("cat", 800, 470, 140),
            Item("butterfly", 620, 260, 110),
        ),
    ),
    Example(
        "table",
        "noto",
        ((240, 226, 205), (250, 242, 230), (176, 126, 86)),
        (
            Item("pizza", 230, 420, 220),
            Item("apple", 470, 460, 120),
            Item("apple", 600, 500, 120),
            Item("banana", 760, 420, 170),
            Item("wine glass", 500, 220, 170),
            Item("cake", 820, 200, 180),
        ),
    ),
    Example(
        "street",
        "fluent-color",
        ((196, 214, 230), (236, 240, 244), (148, 150, 154)),
        (
            Item("house", 170, 260, 260),
            Item("traffic light", 420, 290, 180),
            Item("bus", 680, 300, 240),
            Item("car", 330, 520, 170),
            Item("bicycle", 720, 530, 170),
        ),
    ),
    Example(
        "sea",
        "noto-2016",
        ((255, 214, 160), (255, 238, 214), (64, 132, 170)),
        (
            Item("sailboat", 230, 250, 230),
            Item("moon", 780, 110, 120),
            Item("whale", 660, 430, 220),
            Item("fish", 200, 540, 110),
            Item("fish", 400, 500, 110),
            Item("fish", 860, 570, 100),
        ),
    ),
    Example(
        "stage",
        "fluent-flat",
        ((92, 74, 120), (150, 120, 170), (58, 48, 76)),
        (
            Item("guitar", 190, 340, 260),
            Item("drum", 440, 450, 200),
            Item("trumpet", 680, 300, 210),
            Item("violin", 840, 480, 190),
            Item("microphone", 460, 170, 160),
        ),
    ),
    Example(
        "photo",
        "noto-2017",
        "park",
        (
            Item("balloon", 160, 180, 160),
            Item("balloon", 330, 130, 150),
            Item("robot", 620, 400, 230),
            Item("gift", 830, 500, 150),
            Item("balloon", 480, 230, 130),
        ),
    ),
)
QUESTIONS: tuple[dict[str, str], ...] = (
    {"file": "park.png", "tab": "chat", "question": "How many cats are there?"},
    {"file": "sea.png", "tab": "chat", "question": "Where is the whale?"},
    {"file": "stage.png", "tab": "chat", "question": "What is to the right of the drum?"},
    {"file": "table.png", "tab": "grounding", "phrase": "the apples"},
    {"file": "photo.png", "tab": "grounding", "phrase": "the balloon on the left"},
    {"file": "park.png", "tab": "grounding", "phrase": "the dog and the butterfly"},
    {"file": "street.png", "tab": "captioning", "style": "grounded"},
    {"file": "table.png", "tab": "captioning", "style": "short"},
    {"file": "sea.png", "tab": "captioning", "style": "detailed"},
)


def backdrop(example: Example, photos: Photos) -> Image.Image:
    if isinstance(example.backdrop, str):
        chosen = next(i for i, name in enumerate(photos.names) if example.backdrop in name)
        return Image.fromarray(photos.rgb[chosen]).resize(SIZE, Image.Resampling.LANCZOS)
    above, below, ground = example.backdrop
    ramp = Image.linear_gradient("L").resize(SIZE)
    picture = Image.composite(Image.new("RGB", SIZE, below), Image.new("RGB", SIZE, above), ramp)
    hill = Image.new("L", SIZE)
    ImageDraw.Draw(hill).ellipse((-500, 340, SIZE[0] + 500, 1400), fill=255)
    picture.paste(Image.new("RGB", SIZE, ground), (0, 0), hill.filter(ImageFilter.GaussianBlur(1)))
    return picture


def draw(example: Example, bank: Bank, photos: Photos) -> tuple[Image.Image, list[dict[str, object]]]:
    """The picture and its objects with tight boxes in pixels."""
    picture = backdrop(example, photos)
    nouns = [noun.name for noun in bank.nouns]
    objects: list[dict[str, object]] = []
    for item in example.items:
        row = bank.table[bank.styles.index(example.style), nouns.index(item.noun)]
        sprite = Image.fromarray(bank.rgba[row])
        sprite = sprite.resize((item.side, item.side), Image.Resampling.LANCZOS)
        left, top = item.x - item.side // 2, item.y - item.side // 2
        picture.paste(sprite, (left, top), sprite)
        ys, xs = np.nonzero(np.asarray(sprite)[..., 3] > 127)
        box = [left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1]
        objects.append({"name": item.noun, "box": [int(value) for value in box]})
    return picture, objects


def main() -> None:
    bank, photos = Bank.load(), Photos.load()
    OUT.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        picture, objects = draw(example, bank, photos)
        picture.save(OUT / f"{example.name}.png", optimize=True)
        (OUT / f"{example.name}.json").write_text(json.dumps({"objects": objects}, indent=1) + "\n")
    (OUT / "examples.json").write_text(json.dumps(list(QUESTIONS), indent=1) + "\n")


if __name__ == "__main__":
    main()
