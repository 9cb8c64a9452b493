"""The sampler: what scenes contain, where things lie, what things are painted."""

from collections import Counter

import numpy as np
import pytest

from training.backgrounds import BACKGROUND, Textures, sample_background
from training.bank import Bank, Photos
from training.colours import COLOURS, PAINTS, from_hsl, name_colours
from training.scenes import LAYER, MAX_THINGS, Scene, SceneConfig, sample_scene
from training.tiles import NUM_TILES, make_tiles

TEXTURES = Textures((0, 1), tuple(range(4, 4 + NUM_TILES)))
NUM_SCENES = 1500


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank.synthetic()


@pytest.fixture(scope="module")
def config() -> SceneConfig:
    return SceneConfig((0, 1), TEXTURES)


@pytest.fixture(scope="module")
def scenes(bank: Bank, config: SceneConfig) -> list[Scene]:
    rng = np.random.default_rng(7)
    return [sample_scene(rng, bank, config)[0] for _ in range(NUM_SCENES)]


def shared_area(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0, wide) * max(0, high) / smaller


def test_the_same_generator_state_gives_the_same_scene_and_numbers(bank, config):
    first, second = (sample_scene(np.random.default_rng(3), bank, config) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[2], second[2])
    assert sample_scene(np.random.default_rng(4), bank, config)[0] != first[0]


def test_scenes_hold_nothing_to_eight_things_and_about_three_and_a_half(scenes):
    counts = np.array([len(scene.things) for scene in scenes])
    assert counts.min() == 0
    assert counts.max() == MAX_THINGS
    assert 3.1 < counts.mean() < 3.9
    assert 0.03 < (counts == 0).mean() < 0.08


def test_two_scenes_of_five_repeat_a_noun_up_to_five_times(scenes):
    most = np.array([max(Counter(t.noun for t in s.things).values(), default=0) for s in scenes])
    assert 0.37 < (most > 1).mean() < 0.48
    assert most.max() == 5


def test_about_three_things_of_ten_are_painted(scenes):
    painted = np.mean([thing.colour >= 0 for scene in scenes for thing in scene.things])
    assert 0.24 < painted < 0.36


def test_most_scenes_keep_to_one_style(scenes):
    several = [scene for scene in scenes if len(scene.things) > 3]
    single = np.mean([len({t.style for t in scene.things}) == 1 for scene in several])
    assert 0.55 < single < 0.72


def test_backgrounds_come_in_the_shares_asked_for(scenes, config):
    kinds = Counter(scene.kind for scene in scenes)
    for kind, share in zip(("plain", "photo", "clutter"), config.kinds, strict=True):
        assert abs(kinds[kind] / NUM_SCENES - share) < 0.05


def test_boxes_lie_inside_the_picture_and_are_large_enough_to_see(scenes):
    boxes = np.array([thing.box for scene in scenes for thing in scene.things])
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    longest = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert longest.min() > 0.116  # 0.13, a tenth of it perhaps cut by the border
    assert longest.max() < 0.67


def test_things_hardly_ever_overlap_and_never_by_much(scenes):
    worst = np.array(
        [max((shared_area(a.box, b.box) for a in s.things for b in s.things if a is not b), default=0) for s in scenes]
    )
    assert worst.max() < 0.32  # 25 % of whole boxes, a little more where the border cuts one
    assert 0.86 < (worst <= 0.081).mean() < 1


def test_aspects_reach_from_tall_to_wide(scenes):
    aspects = np.array([scene.aspect for scene in scenes])
    assert aspects.min() > 1 / 2.21
    assert aspects.max() < 2.21
    assert (aspects < 0.8).mean() > 0.15
    assert (aspects > 1.25).mean() > 0.25


def test_a_thing_is_never_painted_its_own_colour(bank, config):
    rng = np.random.default_rng(1)
    for _ in range(400):
        for thing in sample_scene(rng, bank, config)[0].things:
            assert thing.colour == -1 or bank.natural[thing.noun] != thing.colour


def test_layers_tell_as_many_things_as_the_scene_and_the_same_ones(bank, config):
    rng = np.random.default_rng(2)
    for _ in range(50):
        scene, layers, background = sample_scene(rng, bank, config)
        assert layers.dtype == background.dtype == np.float32
        assert layers[:, LAYER["present"]].tolist() == [1] * len(scene.things) + [0] * (MAX_THINGS - len(scene.things))
        for thing, layer in zip(scene.things, layers, strict=False):
            sprite = int(layer[LAYER["sprite"]])
            assert (bank.noun[sprite], bank.style[sprite]) == (thing.noun, thing.style)
            assert layer[LAYER["painted"]] == (thing.colour >= 0)


@pytest.mark.parametrize("number", [0, 1, 5, 8])
def test_a_number_of_things_can_be_asked_for(bank, number):
    config = SceneConfig((0, 1), TEXTURES, num_things=number)
    rng = np.random.default_rng(number)
    counts = [len(sample_scene(rng, bank, config)[0].things) for _ in range(20)]
    assert max(counts) == number  # fewer only where there was no room
    assert np.mean(counts) >= number - 1


def test_without_augmentation_drawings_and_picture_are_left_as_they_are(bank):
    config = SceneConfig((0,), TEXTURES, augment=False, degrade=False)
    rng = np.random.default_rng(0)
    for _ in range(30):
        scene, layers, background = sample_scene(rng, bank, config)
        rows = layers[: len(scene.things)]
        assert np.allclose(rows[:, LAYER["matrix"]], np.eye(3, 4).ravel())
        for name in ("levels", "halo", "sharpen", "wave"):
            assert not rows[:, LAYER[name]].any()
        for name in ("noise", "blur", "jpeg", "vignette"):
            assert background[BACKGROUND[name]] == 0


def test_a_style_that_lacks_a_noun_never_draws_it():
    whole = Bank.synthetic()
    kept = np.arange(len(whole.noun)) != 7  # style 1 loses noun 1
    bank = Bank.of(
        whole.rgba[kept], whole.hull[kept], whole.style[kept], whole.noun[kept], whole.styles, whole.split, whole.nouns
    )
    rng = np.random.default_rng(0)
    things = [t for _ in range(300) for t in sample_scene(rng, bank, SceneConfig((0, 1), TEXTURES))[0].things]
    assert any(t.noun == 1 for t in things)
    assert all(t.style == 0 for t in things if t.noun == 1)


@pytest.mark.parametrize("name", COLOURS)
def test_every_paint_is_what_a_person_would_call_it(name):
    paint = PAINTS[name]
    rng = np.random.default_rng(0)
    hue, saturation, light = (rng.uniform(*span, 500) for span in (paint.hue, paint.saturation, paint.mean))
    assert (name_colours(from_hsl(hue, saturation, light)) == COLOURS.index(name)).all()


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((1, 0, 0), "red"), ((0, 0.5, 0), "green"), ((1, 0.75, 0.8), "pink"), ((0.55, 0.27, 0.07), "brown"),
     ((1, 0.6, 0), "orange"), ((0.5, 0.5, 0.5), "gray"), ((0.5, 0, 0.6), "purple"), ((1, 1, 0), "yellow")],
)  # fmt: skip
def test_well_known_colours_have_their_names(rgb, name):
    assert name_colours(rgb) == COLOURS.index(name)


def test_black_and_white_are_no_paint():
    assert (name_colours([(0, 0, 0), (1, 1, 1)]) == -1).all()


def test_only_the_textures_that_are_allowed_are_used():
    rng = np.random.default_rng(0)
    textures = Textures((1,), (6, 7))
    for kind in ("plain", "photo", "clutter"):
        for _ in range(60):
            values = sample_background(
                rng, kind, textures, avoid=np.zeros((0, 3), np.float32), distractors=True, degrade=True
            )
            if values[BACKGROUND["blend"]]:
                assert values[BACKGROUND["texture"]] in (
                    (1,) if kind == "photo" else (6, 7) if kind == "plain" else (1, 6, 7)
                )
            if values[BACKGROUND["grain"]]:
                assert values[BACKGROUND["grain_texture"]] in (6, 7)


def test_tiles_are_always_the_same_and_differ_from_one_another():
    tiles = make_tiles(32, 8)
    assert np.array_equal(tiles, make_tiles(32, 8))
    assert len({tile.tobytes() for tile in tiles}) == 8


def test_synthetic_photos_have_both_splits():
    photos = Photos.synthetic()
    assert photos.ids("train")
    assert photos.ids("test")
    assert not set(photos.ids("train")) & set(photos.ids("test"))
