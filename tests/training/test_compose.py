"""Pictures made with Pillow: the same things in the same places as the renderer's, at any size."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from training import compose
from training.backgrounds import BACKGROUND
from training.bank import Photos
from training.colours import COLOURS, name_colours
from training.render import Renderer, textures_of
from training.scenes import SceneConfig, sample_scene


@pytest.fixture(scope="module")
def photos() -> Photos:
    return Photos.synthetic()


@pytest.fixture(scope="module")
def clean(photos: Photos) -> SceneConfig:
    return SceneConfig((0, 1), textures_of(photos, "train"), (1, 0, 0), augment=False, degrade=False)


def changed_box(picture: Image.Image) -> np.ndarray:
    """xyxy pixels of what is clearly not white."""
    moved = np.abs(255 - np.asarray(picture).astype(int)).max(2)
    rows, columns = np.nonzero(moved > 0.35 * moved.max())
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


@pytest.mark.parametrize("size", [(224, 224), (480, 320), (300, 640)])
def test_boxes_agree_with_the_pixels_of_each_thing(bank, clean, size):
    rng = np.random.default_rng(1)
    allowed = 1.5 * max(1, max(size) / 224)
    for _ in range(15):
        scene, layers, _ = sample_scene(rng, bank, clean)
        for thing, layer in zip(scene.things, layers, strict=False):
            picture = Image.new("RGB", size, "white")
            compose.draw_thing(picture, bank, layer)
            assert changed_box(picture) == pytest.approx(np.array(thing.box) * (*size, *size), abs=allowed)


def test_pillow_and_the_renderer_draw_the_same_things(bank, photos, clean):
    rng = np.random.default_rng(4)
    renderer = Renderer(bank, photos)
    white = torch.zeros(1, BACKGROUND.width)
    for name in ("first", "second", "contrast"):
        white[:, BACKGROUND[name]] = 1
    for _ in range(8):
        scene, layers, _ = sample_scene(rng, bank, clean)
        picture = Image.new("RGB", (224, 224), "white")
        for layer in layers[: len(scene.things)]:
            compose.draw_thing(picture, bank, layer)
        rendered = renderer.render(torch.from_numpy(layers)[None], white, 0)[0][0].permute(1, 2, 0).numpy()
        difference = np.abs(rendered.astype(int) - np.asarray(picture).astype(int))
        assert difference.mean() < 2.5
        assert (difference > 60).mean() < 0.01  # a few pixels along edges


def test_a_painted_thing_has_its_colour(bank, clean):
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(60):
        scene, layers, _ = sample_scene(rng, bank, clean)
        for thing, layer in zip(scene.things, layers, strict=False):
            if thing.colour < 0:
                continue
            picture = Image.new("RGB", (224, 224), "white")
            compose.draw_thing(picture, bank, layer)
            named = name_colours(np.asarray(picture) / 255)
            assert np.bincount(named[named >= 0]).argmax() == thing.colour
            seen.add(thing.colour)
    assert len(seen) >= len(COLOURS) - 1


@pytest.mark.parametrize("kind", ["plain", "photo", "clutter"])
def test_every_kind_of_background_is_drawn_at_the_size_asked_for(photos, kind):
    pictures = [compose.draw_background(np.random.default_rng(i), kind, photos, (320, 200), "test") for i in range(4)]
    assert all(picture.size == (320, 200) for picture in pictures)
    if kind != "plain":
        assert all(np.asarray(picture).std() > 2 for picture in pictures)


def test_the_command_writes_a_picture_and_what_it_shows(bank, photos, tmp_path):
    out = tmp_path / "x.png"
    arguments = ["--seed", "1", "--things", "4", "--size", "960x640", "--out", str(out)]
    compose.main(arguments, bank=bank, photos=photos)
    facts = json.loads((tmp_path / "x.json").read_text())
    with Image.open(out) as picture:
        assert picture.size == tuple(facts["size"]) == (960, 640)
    assert len(facts["things"]) == 4
    for thing in facts["things"]:
        x0, y0, x1, y1 = thing["box"]
        assert 0 <= x0 < x1 <= 960
        assert 0 <= y0 < y1 <= 640
        assert thing["noun"] in {noun.name for noun in bank.nouns}
        assert thing["colour"] in ("", *COLOURS)
    first = out.read_bytes()
    compose.main(arguments, bank=bank, photos=photos)
    assert out.read_bytes() == first


def test_things_keep_their_proportions_in_a_wide_picture(bank, photos):
    config = compose.plain_config(bank, size=(800, 400), things=1, kind="plain", style=None)
    rng = np.random.default_rng(0)
    for _ in range(30):
        scene, _, _ = sample_scene(rng, bank, config)
        thing = scene.things[0]
        x0, y0, x1, y1 = thing.box
        if bank.nouns[thing.noun].name == "disc":
            assert 0.6 < (x1 - x0) * 800 / ((y1 - y0) * 400) < 1.7


@pytest.mark.parametrize("text", ["960", "0x10", "axb", "-5x5"])
def test_a_size_that_is_none_is_refused(text, tmp_path):
    with pytest.raises(SystemExit) as stop:
        compose.parse_args(["--size", text, "--out", str(tmp_path / "x.png")])
    assert stop.value.code == 2
