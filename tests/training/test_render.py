"""The renderer: what it draws is where and what the scene says."""

import numpy as np
import pytest
import torch

from training.backgrounds import BACKGROUND
from training.bank import Bank, Photos
from training.colours import COLOURS, name_colours
from training.pyramid import Pyramid, read
from training.render import Renderer, textures_of
from training.scenes import LAYER, MAX_THINGS, Scene, SceneConfig, sample_scene


@pytest.fixture(scope="module")
def renderer(bank: Bank) -> Renderer:
    return Renderer(bank, Photos.synthetic())


@pytest.fixture(scope="module")
def clean() -> SceneConfig:
    return SceneConfig((0, 1), textures_of(Photos.synthetic(), "train"), (1, 0, 0), augment=False, degrade=False)


def sampled(
    bank: Bank, config: SceneConfig, count: int, seed: int = 0
) -> tuple[list[Scene], torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scenes, layers, backgrounds = zip(*(sample_scene(rng, bank, config) for _ in range(count)), strict=True)
    return list(scenes), torch.from_numpy(np.stack(layers)), torch.from_numpy(np.stack(backgrounds))


def on_white(backgrounds: torch.Tensor) -> torch.Tensor:
    """Plain white in place of whatever was sampled."""
    white = torch.zeros_like(backgrounds)
    white[:, BACKGROUND["first"]] = 1
    white[:, BACKGROUND["second"]] = 1
    white[:, BACKGROUND["contrast"]] = 1
    return white


def changed_box(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """xyxy pixels of what differs clearly between two pictures (3, S, S)."""
    moved = (before.int() - after.int()).abs().amax(0)
    rows, columns = torch.nonzero(moved > 0.35 * moved.max(), as_tuple=True)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def test_boxes_agree_with_the_pixels_that_a_thing_changes(bank, renderer, clean):
    scenes, layers, backgrounds = sampled(bank, clean, 20)
    white = on_white(backgrounds)
    empty = renderer.render(torch.zeros_like(layers[:1]), white[:1], 0)[0][0]
    checked = 0
    for scene, layer in zip(scenes, layers, strict=True):
        for k, thing in enumerate(scene.things):
            alone = torch.zeros_like(layer)[None]
            alone[0, 0] = layer[k]
            picture = renderer.render(alone, white[:1], 0)[0][0]
            assert changed_box(empty, picture) == pytest.approx(np.array(thing.box) * 224, abs=1.5)
            checked += 1
    assert checked > 40


def test_the_same_numbers_and_seed_give_the_same_pictures(bank, renderer):
    config = SceneConfig((0, 1), textures_of(Photos.synthetic(), "train"))
    _, layers, backgrounds = sampled(bank, config, 8)
    first, second, other = (renderer.render(layers, backgrounds, seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)  # some picture has noise


def test_a_picture_does_not_depend_on_its_batch(bank, renderer, clean):
    _, layers, backgrounds = sampled(bank, clean, 4)
    together = renderer.render(layers, backgrounds, 0)[0]
    assert torch.equal(together[2], renderer.render(layers[2:3], backgrounds[2:3], 0)[0][0])


def test_the_whole_batch_at_once_draws_what_one_by_one_draws(bank, renderer):
    """The way of a GPU (all slots, whole planes) and the way of a CPU (only what is there, in windows)."""
    config = SceneConfig((0, 1), textures_of(Photos.synthetic(), "train"))
    _, layers, backgrounds = sampled(bank, config, 6, seed=3)
    fitted = renderer._fitted(layers, backgrounds)
    batch = torch.stack(renderer._draw_batch(*fitted), 1)
    for i in range(len(layers)):
        one = torch.stack(renderer._draw_one(fitted[0][i : i + 1], fitted[1][i : i + 1]), 1)
        assert torch.allclose(batch[i : i + 1], one, atol=2e-3)


def test_pictures_have_the_promised_shape_and_type(bank, renderer, clean):
    _, layers, backgrounds = sampled(bank, clean, 3)
    pictures, owners = renderer.render(layers, backgrounds, 0)
    assert (pictures.shape, pictures.dtype) == ((3, 3, 224, 224), torch.uint8)
    assert (owners.shape, owners.dtype) == ((3, 16, 16), torch.int8)


def test_render_leaves_its_arguments_alone(bank, renderer, clean):
    _, layers, backgrounds = sampled(bank, clean, 2)
    kept = layers.clone(), backgrounds.clone()
    renderer.render(layers, backgrounds, 0)
    assert torch.equal(layers, kept[0])
    assert torch.equal(backgrounds, kept[1])


def placed(bank: Bank, noun: int, left: float, top: float, side: float) -> torch.Tensor:
    """(LAYER.width,) of an upright sprite whose square has these bounds."""
    layer = torch.zeros(LAYER.width)
    layer[LAYER["present"]] = 1
    layer[LAYER["sprite"]] = int(bank.table[0, noun])
    layer[LAYER["inverse"]] = torch.tensor([1 / side, 0, -left / side, 0, 1 / side, -top / side])
    layer[LAYER["lod"]] = float(np.log2(128 / side))
    layer[LAYER["matrix"]] = torch.eye(3, 4).flatten()
    layer[LAYER["gamma"]] = 1
    return layer


def test_owners_are_the_topmost_things_at_the_patches_middles(bank, renderer):
    layers = torch.zeros(1, MAX_THINGS, LAYER.width)
    layers[0, 0] = placed(bank, 1, 0.0, 0.0, 0.5)  # square over the top left quarter
    layers[0, 1] = placed(bank, 1, 0.25, 0.25, 0.5)  # over its corner
    owners = renderer.render(layers, on_white(torch.zeros(1, BACKGROUND.width)), 0)[1][0].numpy()
    expected = np.full((16, 16), -1)
    expected[0:8, 0:8] = 0
    expected[4:12, 4:12] = 1
    assert np.array_equal(owners, expected)


def test_owners_lie_inside_their_things_boxes(bank, renderer, clean):
    scenes, layers, backgrounds = sampled(bank, clean, 12)
    owners = renderer.render(layers, backgrounds, 0)[1].numpy()
    assert (owners >= 0).any()
    for scene, owner in zip(scenes, owners, strict=True):
        for row, column in np.argwhere(owner >= 0):
            x0, y0, x1, y1 = scene.things[owner[row, column]].box
            assert x0 - 0.02 < (column + 0.5) / 16 < x1 + 0.02
            assert y0 - 0.02 < (row + 0.5) / 16 < y1 + 0.02


def test_painted_things_show_their_colour(bank, renderer, clean):
    scenes, layers, backgrounds = sampled(bank, clean, 40, seed=9)
    pictures, owners = renderer.render(layers, on_white(backgrounds), 0)
    seen = set()
    for i, scene in enumerate(scenes):
        for k, thing in enumerate(scene.things):
            mask = (owners[i] == k).repeat_interleave(14, 0).repeat_interleave(14, 1)
            if thing.colour < 0 or mask.sum() < 6 * 196:
                continue
            named = name_colours(pictures[i][:, mask].numpy().T / 255)
            assert np.bincount(named[named >= 0]).argmax() == thing.colour
            seen.add(thing.colour)
    assert len(seen) >= len(COLOURS) - 1


@pytest.mark.parametrize(
    ("name", "value"), [("blur", 1.0), ("noise", 0.05), ("jpeg", 2.0), ("vignette", 0.5), ("brightness", 0.1)]
)
def test_each_picture_effect_changes_the_picture_but_not_what_it_shows(bank, renderer, clean, name, value):
    _, layers, backgrounds = sampled(bank, clean, 3, seed=2)
    before = renderer.render(layers, backgrounds, 0)[0].float()
    backgrounds[:, BACKGROUND[name]] = value
    after = renderer.render(layers, backgrounds, 0)[0].float()
    for old, new in zip(before, after, strict=True):
        assert 0.2 < (old - new).abs().mean() < 60
        assert np.corrcoef(old.flatten(), new.flatten())[0, 1] > 0.8


def test_mild_jpeg_and_no_jpeg_differ_little(bank, renderer, clean):
    _, layers, backgrounds = sampled(bank, clean, 3, seed=2)
    before = renderer.render(layers, backgrounds, 0)[0].float()
    backgrounds[:, BACKGROUND["jpeg"]] = 0.05
    after = renderer.render(layers, backgrounds, 0)[0].float()
    assert (before - after).abs().mean() < 1.0


def test_distractors_and_photographs_change_the_background(bank, renderer):
    textures = textures_of(Photos.synthetic(), "train")
    for kinds in ((0, 1, 0), (0, 0, 1)):
        config = SceneConfig((0,), textures, kinds, degrade=False, num_things=0)
        _, layers, backgrounds = sampled(bank, config, 6)
        pictures = renderer.render(layers, backgrounds, 0)[0].float()
        assert (pictures.flatten(1).std(1) > 5).all()


def test_a_pyramid_reads_back_the_middle_of_a_texel_and_nothing_outside():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (1, 16, 16, 4), dtype=np.uint8)
    picture[..., 3] = 255
    pyramid = Pyramid.build(picture, torch.device("cpu"))
    zero = torch.zeros(1, 1, 1)
    x, y = torch.tensor([[[(5 + 0.5) / 16, 1.5]]]), torch.tensor([[[(3 + 0.5) / 16, 0.5]]])
    values = torch.stack(read(pyramid, zero, zero, x, y, mirror=False))[:, 0, 0]
    assert values[:, 0].tolist() == pytest.approx(picture[0, 3, 5].tolist(), abs=0.01)
    assert values[:, 1].tolist() == [0, 0, 0, 0]
    mirrored = torch.stack(read(pyramid, zero, zero, torch.tensor([[[-5.5 / 16]]]), y[..., :1], mirror=True))[
        :, 0, 0, 0
    ]
    assert mirrored.tolist() == pytest.approx(picture[0, 3, 5].tolist(), abs=0.01)
